# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes that run steps and plays, on a real engine."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import typing as t

import docker
import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from tests.integration.pytest.build_kitchen import (
    HOST,
    OWN,
    BuildKitchen,
    kitchen_fixture,
    left_on,
    remove_own,
)

__all__ = ["kitchen_fixture"]
ROOT = pathlib.Path(__file__).resolve().parents[3]
STEPS = [
    ["install", "-d", "-o", "10001", "-g", "10001", "/srv/data"],
    {
        "command": ["sh", "-c", "echo $WORD $PWD $(id -u) > word"],
        "env": {"WORD": "hi"},
        "workdir": "/srv",
    },
    [
        "sh",
        "-c",
        "cp /run/bake/inputs/tools/note /srv/note; ln /srv/note /srv/other; ln -s note /srv/link",
    ],
    ["sh", "-c", "chmod 4755 /usr/bin/tac; setcap cap_net_bind_service+ep /usr/bin/tail"],
    [
        "sh",
        "-c",
        "rm -r /usr/share/doc/libc6; rm /etc/issue; rm -r /usr/share/pam; mkdir /usr/share/pam",
    ],
    [
        "sh",
        "-c",
        "echo x > /var/log/x; echo x > /tmp/x; echo x > /run/x; chmod 644 /etc/fstab; touch /etc/passwd",
    ],
    # Nothing but the loopback interface, and nothing that could be asked for a name.
    [
        "sh",
        "-c",
        "test $(grep -c : /proc/net/dev) = 1; grep -q lo: /proc/net/dev; test ! -s /etc/resolv.conf",
    ],
    {"command": ["sh", "-c", "test $(id -u) = 10001"], "user": "10001"},
]


@pytest.fixture(scope="module")
def client() -> t.Iterator[docker.DockerClient]:
    """Return the engine; nothing of a build may be left on it."""
    engine = docker.DockerClient(HOST, timeout=120)
    yield engine
    left = left_on(engine)
    remove_own(engine)
    engine.close()
    assert left == []


@pytest.fixture(scope="module")
def steps(kitchen: BuildKitchen) -> str:
    """Return the recipe of an app that runs steps."""
    return kitchen.recipe("steps", {"tools/note": "note\n"}, run=STEPS, inputs=["tools"])


def test_a_layer_holds_what_the_steps_changed_and_nothing_else(
    kitchen: BuildKitchen, steps: str, client: docker.DockerClient
) -> None:
    record = kitchen.record(steps)
    entries = kitchen.entries(record)
    assert list(entries) == [
        *("etc", "etc/.wh.issue"),
        *("srv", "srv/data", "srv/link", "srv/note", "srv/other", "srv/word"),
        *("usr", "usr/bin", "usr/bin/tac", "usr/bin/tail"),
        *("usr/share", "usr/share/doc", "usr/share/doc/.wh.libc6"),
        *("usr/share/pam", *(name for name in entries if name.startswith("usr/share/pam/"))),
    ]
    assert all("/.wh." in name for name in entries if name.startswith("usr/share/pam/"))
    assert (entries["srv/data"].uid, entries["srv/data"].gid) == (10001, 10001)
    assert entries["srv/other"].islnk() and entries["srv/other"].linkname == "srv/note"
    assert entries["srv/link"].issym() and entries["srv/link"].linkname == "note"
    assert entries["usr/bin/tac"].mode == 0o4755
    assert list(entries["usr/bin/tail"].pax_headers) == ["SCHILY.xattr.security.capability"]
    assert {entry.mtime for entry in entries.values()} == {1_600_000_003}
    assert kitchen.content(record, "srv/word") == "hi /srv 0\n"
    assert kitchen.config(record)["config"]["User"] == "10001"
    assert [layer.purpose for layer in record.layers] == ["packages", "run", "run"]
    assert left_on(client) == []
    again = kitchen.bake(steps)
    assert (again["changed"], again["actions"]) == (False, [])


def test_another_folder_gives_the_same_digest(
    kitchen: BuildKitchen, steps: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = kitchen.record(steps)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    moved = tmp_path / "a" / "longer" / "path"
    shutil.copytree(pathlib.Path(steps).parent, moved)
    os.utime(moved / "tools/note", (1, 1))
    old_mask = os.umask(0o077)
    try:
        verified = kitchen.verify(str(moved / "bake.yml"))
    finally:
        os.umask(old_mask)
    assert (verified["same"], verified["difference"]) == (True, "")
    assert verified["again"] == record.reference


def test_the_image_of_a_build_runs_and_passes_the_check(
    kitchen: BuildKitchen, client: docker.DockerClient
) -> None:
    recipe = kitchen.recipe(
        "runs",
        {"src/hello": "hello\n"},
        files=[{"src": "src/", "dest": "/app"}],
        run=[["sh", "-c", "wc -c < /app/hello > /app/size; chmod 0600 /app/hello; chown 10001 /app/hello"]],
        entrypoints={"web": ["cat", "hello", "size"]},
    )  # fmt: skip
    record = kitchen.record(recipe, load=True)
    assert [layer.purpose for layer in record.layers[2:]] == ["files", "run"]
    said = client.containers.run(
        record.image_id, remove=True, network_mode="none", read_only=True, name=f"{OWN}-runs"
    )
    assert said == b"hello\n6\n"
    assert kitchen.check(recipe)["images"][0]["passed"]


PLAY = """
- name: Set the image up
  hosts: all
  roles: [motd]
  tasks:
    - name: Add the user
      ansible.builtin.user: {name: app, uid: 10001, group: app, create_home: false}
    - name: Write the configuration
      ansible.builtin.template: {src: app.conf.j2, dest: /etc/app.conf, mode: "0640", owner: app}
    - name: See that there is no Python but the one of the build, and no network
      ansible.builtin.shell: "! command -v python3 && ! ls /usr/lib/python3* && test $(grep -c : /proc/net/dev) = 1"
      changed_when: false
    - name: Use a secret
      ansible.builtin.command: sha256sum /run/secrets/token
      changed_when: false
"""
PLAY_FILES = {
    "play/site.yml": PLAY,
    "play/templates/app.conf.j2": "id={{ ansible_facts.distribution_version }}\n",
    "play/roles/motd/tasks/main.yml": (
        "- name: Say hello\n  ansible.builtin.copy: {src: motd, dest: /etc/motd, mode: '0644'}\n"
    ),
    "play/roles/motd/files/motd": "hello\n",
}


def test_a_play_is_applied_to_an_image_without_python_and_leaves_none(
    kitchen: BuildKitchen, client: docker.DockerClient, tmp_path: pathlib.Path
) -> None:
    token = tmp_path / "token"
    token.write_text("canary-5c9e1f\n")
    recipe = kitchen.recipe("play", PLAY_FILES, play="play/site.yml", secrets=["token"])
    record = kitchen.record(recipe, secrets={"token": str(token)})
    entries = kitchen.entries(record)
    assert sorted(entries) == [
        *("etc", "etc/app.conf", "etc/motd", "etc/passwd", "etc/shadow"),
        *(name for name in ("etc/subgid", "etc/subuid") if name in entries),
    ]
    assert (entries["etc/app.conf"].mode, entries["etc/app.conf"].uid) == (0o640, 10001)
    assert kitchen.content(record, "etc/app.conf").startswith("id=12")
    assert left_on(client) == []
    assert kitchen.verify(recipe, secrets={"token": str(token)})["same"]


FAILURES = [
    pytest.param(
        [["sh", "-c", "echo out; exit 3"]], r"run\[0\] sh failed with exit code 3: out", id="exit"
    ),
    pytest.param(
        [["true"], ["nothing"]], r"run\[1\] nothing failed with exit code 12\d", id="B33-missing"
    ),
    pytest.param(
        [{"command": ["sleep", "600"], "timeout": 1}],
        r"run\[0\] sleep exceeded its timeout of 1 s",
        id="B50",
    ),
    # A step that asks something gets no answer, at once.
    pytest.param(
        [["sh", "-c", "read answer"]], r"run\[0\] sh failed with exit code 1", id="B50-stdin"
    ),
    pytest.param(
        [["sh", "-c", "cp /run/secrets/token /etc/token"]],
        r"in the image, in /etc/token",
        id="SE-06-copied",
    ),
    pytest.param(
        [["sh", "-c", "base64 /run/secrets/token > /srv/x"]],
        r"in the image, in /srv/x",
        id="SE-06-base64",
    ),
    pytest.param(
        [["sh", "-c", "cat /run/secrets/token; exit 1"]], r"exit code 1: \*{8}$", id="SE-06-said"
    ),
]


@pytest.mark.parametrize(("run", "says"), FAILURES)
def test_a_build_that_fails_says_why_and_leaves_nothing(
    kitchen: BuildKitchen,
    client: docker.DockerClient,
    tmp_path: pathlib.Path,
    run: list[t.Any],
    says: str,
) -> None:
    token = tmp_path / "token"
    token.write_text("canary-5c9e1f\n")
    recipe = kitchen.recipe(f"fails-{abs(hash(says))}", {}, run=run, secrets=["token"])
    blobs = sorted(os.listdir(kitchen.root / "output/blobs/sha256"))
    with pytest.raises(CutoverError, match=says) as caught:
        kitchen.bake(recipe, secrets={"token": str(token)})
    assert "canary-5c9e1f" not in f"{caught.value.message} {caught.value.details}"
    assert sorted(os.listdir(kitchen.root / "output/blobs/sha256")) == blobs
    assert left_on(client) == []


def test_the_same_inputs_give_one_digest_from_every_backend(kitchen: BuildKitchen) -> None:
    files = {"src/app.py": "print(1)\n", "src/sub/run": "#!/bin/sh\n"}
    rules = [
        {"src": "src/", "dest": "/app", "mode": "0755"},
        # Through a link of the base, in the place of one, and into a folder that is not root's.
        {"src": "src/app.py", "dest": "/bin/tool"},
        {"src": "src/app.py", "dest": "/usr/bin/awk"},
        {"src": "src/app.py", "dest": "/srv/kept/new/app.py"},
    ]
    recipe = kitchen.recipe("three", files, files=rules)
    record = kitchen.record(recipe)
    entries = kitchen.entries(record)
    assert "bin" not in entries and entries["usr/bin/awk"].isreg()
    kept = entries["srv/kept"]
    assert (kept.mode, kept.uid, kept.gid) == (0o770, 10001, 10001)
    for backend in ("auto", "run", "dockerfile"):
        verified = kitchen.verify(recipe, backend=backend)
        assert (verified["again"], verified["difference"]) == (record.reference, ""), backend


def test_three_spellings_of_one_content_give_one_layer(kitchen: BuildKitchen) -> None:
    files = {"src/app.py": "print(1)\n", "src/sub/other.py": "print(2)\n"}
    assembled = kitchen.record(
        kitchen.recipe("spelt/a", files, files=[{"src": "src/", "dest": "/app"}])
    )
    ran = kitchen.record(
        kitchen.recipe(
            "spelt/b", files, inputs=["src"], run=[["cp", "-r", "/run/bake/inputs/src", "/app"]]
        )
    )
    steps = "COPY src/ /app/\nWORKDIR /app\nUSER 10001\n"
    built = kitchen.record(kitchen.docker("spelt/c", steps, written=files))
    assert assembled.layers[-1].digest == ran.layers[-1].digest == built.layers[-1].digest
    configs = [dict(kitchen.config(record)["config"]) for record in (assembled, ran, built)]
    for config in configs:
        config["Labels"] = {
            key: value
            for key, value in config["Labels"].items()
            if not key.endswith(("recipe-hash", ".name", ".title"))
        }
    assert configs[0] == configs[1] == configs[2]


def test_se_06_no_secret_is_seen_anywhere_at_vvvv(
    kitchen: BuildKitchen, client: docker.DockerClient, tmp_path: pathlib.Path
) -> None:
    canary = "canary-91d0c7a2"
    (tmp_path / "token").write_text(f"{canary}\n")
    uses = "sha256sum /run/secrets/token > /dev/null"
    play = PLAY.replace("  roles: [motd]\n", "").replace("app.conf.j2", "x.j2")
    recipes = [
        kitchen.recipe(
            "quiet/run",
            {"play/site.yml": play, "play/templates/x.j2": "x\n"},
            run=[["sh", "-c", uses]],
            play="play/site.yml",
            secrets=["token"],
        ),
        kitchen.docker(
            "quiet/dockerfile",
            f"RUN --mount=type=secret,id=token {uses}\nRUN echo done > /srv/done\nUSER 10001\n",
            secrets=["token"],
        ),
    ]
    for recipe in recipes:
        kitchen.lock(recipe)
    arguments = {
        **{
            key: kitchen.params(*recipes)[key]
            for key in ("recipes", "output", "store", "state_dir")
        },
        "secrets": {"token": str(tmp_path / "token")},
    }
    log = tmp_path / "ansible.log"
    done = subprocess.run(
        [
            *(str(pathlib.Path(sys.executable).parent / "ansible"), "localhost", "-vvvv"),
            *("-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"),
            *("-m", "immutable.cutover.image", "-a", json.dumps(arguments)),
        ],
        env={**os.environ, "ANSIBLE_LOG_PATH": str(log)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    seen = {"stdout": done.stdout, "stderr": done.stderr, "log": log.read_text()}
    for name in (f"{OWN}/run", f"{OWN}/dockerfile"):
        image = client.images.get(f"{name}:1.0.0")
        seen[f"{name} inspect"] = json.dumps(image.attrs)
        seen[f"{name} history"] = json.dumps(image.history())
        saved = tmp_path / "saved.tar"
        with open(saved, "wb") as stream:
            stream.writelines(image.save())
        with tarfile.open(saved) as archive:
            assert len(archive.getnames()) > 3
        seen[f"{name} layers"] = saved.read_bytes().decode("latin-1")
    for folder in (kitchen.root / "output", kitchen.root / "state", kitchen.root / "quiet"):
        for path in folder.rglob("*"):
            if path.is_file():
                seen[str(path)] = path.read_bytes().decode("latin-1")
    assert [where for where, text in seen.items() if canary in text] == []


def test_a_base_may_stand_on_another(kitchen: BuildKitchen, client: docker.DockerClient) -> None:
    middle = kitchen.recipe(
        "middle",
        {"site.conf": "mode = site\n"},
        kind="base",
        config=None,
        files=[{"src": "site.conf", "dest": "/etc/site.conf"}],
        run=[["sh", "-c", "groupadd --gid 10002 site; rm /etc/issue.net"]],
    )
    record = kitchen.record(middle)
    assert (record.kind, record.base) == ("base", kitchen.base)
    assert [layer.purpose for layer in record.layers] == ["packages", "run", "files", "run"]
    app = kitchen.recipe("on-middle", {"app.sh": "cat /etc/site.conf; getent group site\n"})
    content = yaml.safe_load(pathlib.Path(app).read_text())
    content |= {"base": record.reference, "files": [{"src": "app.sh", "dest": "/app/"}]}
    content["entrypoints"] = {"web": ["sh", "/app/app.sh"]}
    pathlib.Path(app).write_text(yaml.safe_dump(content))
    top = kitchen.record(app, load=True)
    assert top.layers[:4] == record.layers
    said = client.containers.run(top.image_id, network_mode="none", remove=True)
    assert said.decode() == "mode = site\nsite:x:10002:\n"
    for recipe in (middle, app):
        verified = kitchen.verify(recipe)
        assert (verified["same"], verified["difference"]) == (True, "")
    assert [image["passed"] for image in kitchen.check(middle, app)["images"]] == [True, True]
