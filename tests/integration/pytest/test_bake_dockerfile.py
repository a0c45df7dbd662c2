# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dockerfiles, built by a real engine into images of ours."""

from __future__ import annotations

import os
import pathlib
import shutil
import typing as t

import docker
import pytest

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
SHOP = """\
# The first stage makes, the second takes.
ARG MODE
RUN mkdir /out \\
 && echo "$MODE" > /out/mode
FROM {base}
LABEL vendor="us too" team=shop
ENV PORT=8000 NAME="a b"
WORKDIR /app
COPY . .
COPY --from=build --chown=10001:10001 /out/mode /app/mode
ARG WORD=none
RUN --mount=type=secret,id=token test -s /run/secrets/token && echo "$WORD $NAME $PWD" > said
RUN test ! -e /run/secrets/token && rm -rf /usr/share/doc/libc6 && test $(grep -c : /proc/net/dev) = 1
EXPOSE 8000 9000/udp
USER 10001:10001
STOPSIGNAL SIGINT
ENTRYPOINT ["cat"]
CMD ["said", "mode"]
"""
FILES = {
    "src/run": "#!/bin/sh\n",
    "notes.txt": "not in the image\n",
    ".dockerignore": "notes.txt\n",
}


@pytest.fixture(scope="module")
def client() -> t.Iterator[docker.DockerClient]:
    """Return the engine; nothing of a build may be left on it."""
    engine = docker.DockerClient(HOST, timeout=120)
    yield engine
    left = left_on(engine)
    remove_own(engine)
    mine = [row["Id"] for row in engine.api.images(all=True) if OWN in str(row)]
    engine.close()
    assert left == []
    assert mine == []


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the option that names a secret."""
    path = tmp_path_factory.mktemp("secret") / "token"
    path.write_text("canary-7b1d22\n")
    return {"token": str(path)}


@pytest.fixture(scope="module")
def shop(kitchen: BuildKitchen) -> str:
    """Return the recipe of an app that brings a Dockerfile of two stages."""
    recipe = kitchen.docker(
        "shop",
        SHOP.format(base=kitchen.base),
        written=FILES,
        dockerfile={"path": "Dockerfile", "args": {"MODE": "fast", "WORD": "hi"}},
        secrets=["token"],
        config={"env_required": ["DATABASE_URL"]},
    )
    path = pathlib.Path(recipe).parent / "Dockerfile"
    path.write_text(path.read_text().replace("\n", " AS build\n", 1))
    os.chmod(path.parent / "src/run", 0o755)
    return recipe


def test_a_dockerfile_becomes_one_layer_and_our_configuration(
    kitchen: BuildKitchen, client: docker.DockerClient, shop: str, token: dict[str, str]
) -> None:
    record = kitchen.record(shop, secrets=token)
    entries = kitchen.entries(record)
    assert sorted(entries) == [
        *("app", "app/Dockerfile", "app/mode", "app/said", "app/src", "app/src/run"),
        *("usr", "usr/share", "usr/share/doc", "usr/share/doc/.wh.libc6"),
    ]
    assert kitchen.content(record, "app/mode") == "fast\n"
    assert kitchen.content(record, "app/said") == "hi a b /app\n"
    assert (
        kitchen.content(record, "app/Dockerfile")
        == (pathlib.Path(shop).parent / "Dockerfile").read_text()
    )
    assert (entries["app/mode"].uid, entries["app/src/run"].mode) == (10001, 0o755)
    assert {entry.mtime for entry in entries.values()} == {1_600_000_003}
    config = kitchen.config(record)
    started = config["config"]
    labels = started.pop("Labels")
    assert started == {
        "Cmd": ["said", "mode"],
        "Entrypoint": ["cat"],
        "Env": [
            "NAME=a b",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PORT=8000",
        ],
        "ExposedPorts": {"8000/tcp": {}, "9000/udp": {}},
        "StopSignal": "SIGINT",
        "User": "10001:10001",
        "WorkingDir": "/app",
    }
    assert (labels["vendor"], labels["team"]) == ("us too", "shop")
    assert labels["immutable.cutover.env-required"] == "DATABASE_URL"
    assert "immutable.cutover.build" not in labels
    assert [item["created_by"] for item in config["history"]] == [
        "immutable.cutover packages",
        "immutable.cutover run",
        "immutable.cutover dockerfile",
    ]
    assert left_on(client) == []
    assert kitchen.check(shop)["images"][0]["passed"]


def test_the_image_runs_and_baking_again_changes_nothing(
    kitchen: BuildKitchen, client: docker.DockerClient, shop: str, token: dict[str, str]
) -> None:
    record = kitchen.record(shop, secrets=token, load=True)
    said = client.containers.run(
        record.image_id, remove=True, network_mode="none", read_only=True, name=f"{OWN}-docker"
    )
    assert said == b"hi a b /app\nfast\n"
    # What is there already needs no secret.
    again = kitchen.bake(shop, load=True)
    assert (again["changed"], again["actions"]) == (False, [])


def test_another_folder_gives_the_same_digest(
    kitchen: BuildKitchen, shop: str, token: dict[str, str], tmp_path: pathlib.Path
) -> None:
    record = kitchen.record(shop, secrets=token)
    moved = tmp_path / "elsewhere"
    shutil.copytree(pathlib.Path(shop).parent, moved)
    for path in moved.rglob("*"):
        os.utime(path, (5, 5))
    old_mask = os.umask(0o077)
    try:
        verified = kitchen.verify(str(moved / "bake.yml"), secrets=token)
    finally:
        os.umask(old_mask)
    assert (verified["again"], verified["difference"]) == (record.reference, "")


def test_b42_every_file_of_the_context_is_locked(kitchen: BuildKitchen) -> None:
    recipe = kitchen.docker("locked", "COPY . /app/\nUSER 10001\n", written=FILES)
    kitchen.lock(recipe)
    folder = pathlib.Path(recipe).parent
    for path, text in (("src/run", "other\n"), ("src/new", "new\n"), ("Dockerfile", None)):
        before = (folder / path).read_text() if (folder / path).exists() else None
        (folder / path).write_text(text or f"{before}RUN true\n")
        with pytest.raises(CutoverError, match="lock does not match files of the build"):
            kitchen.verify(recipe)
        if before is None:
            (folder / path).unlink()
        else:
            (folder / path).write_text(before)
    (folder / "notes.txt").write_text("not a part of it\n")
    assert not kitchen.lock(recipe)["changed"]


FAILURES = [
    pytest.param(
        "RUN echo out; exit 3\nUSER 1\n",
        "Dockerfile failed with exit code 3: Step 1/3 : FROM .*returned a non-zero code: 3",
        id="exit",
    ),
    pytest.param(
        "RUN sleep 600\nUSER 1\n", "Dockerfile exceeded its timeout of 4 s", id="B50-timeout"
    ),
    pytest.param("RUN read answer\nUSER 1\n", "Dockerfile failed with exit code 1", id="B50-stdin"),
    pytest.param(
        "RUN --mount=type=secret,id=token cp /run/secrets/token /t\nUSER 1\n",
        "secret token would be in the image, in /t",
        id="SE-06-copied",
    ),
    pytest.param(
        "RUN --mount=type=secret,id=token cat /run/secrets/token; exit 1\nUSER 1\n",
        r"Dockerfile:2 .* failed with exit code 1: \*{8}$",
        id="SE-06-said",
    ),
    pytest.param(
        "LABEL immutable.cutover.name=x\nUSER 1\n",
        "LABEL immutable.cutover.name: label prefix is reserved",
        id="B38",
    ),
    pytest.param(
        "ARG V=10001\nUSER 1\nENV A=$V\nLABEL org.opencontainers.image.title=x\n",
        "LABEL org.opencontainers.image.title: label prefix",
        id="B38-late",
    ),
    pytest.param(
        "COPY none /x\nUSER 1\n", "Dockerfile failed with exit code 1", id="COPY-of-nothing"
    ),
    pytest.param(
        "COPY ../../etc/passwd /x\nUSER 1\n",
        "Dockerfile failed with exit code 1",
        id="B48-out-of-the-context",
    ),
]


@pytest.mark.parametrize(("steps", "says"), FAILURES)
def test_a_build_that_fails_says_why_and_leaves_nothing(
    kitchen: BuildKitchen,
    client: docker.DockerClient,
    token: dict[str, str],
    request: pytest.FixtureRequest,
    steps: str,
    says: str,
) -> None:
    timeout = 4 if "sleep" in steps else 600
    recipe = kitchen.docker(
        request.node.callspec.id.lower(),
        steps,
        dockerfile={"path": "Dockerfile", "timeout": timeout},
        secrets=["token"],
    )
    blobs = sorted(os.listdir(kitchen.root / "output/blobs/sha256"))
    with pytest.raises(CutoverError, match=f"(?s){says}") as caught:
        kitchen.bake(recipe, secrets=token)
    assert "canary-7b1d22" not in f"{caught.value.message} {caught.value.details}"
    assert sorted(os.listdir(kitchen.root / "output/blobs/sha256")) == blobs
    assert left_on(client) == []


def test_a_secret_that_is_not_given_is_refused_before_anything_runs(kitchen: BuildKitchen) -> None:
    steps = "RUN --mount=type=secret,id=token true\nUSER 1\n"
    recipe = kitchen.docker("needs", steps, secrets=["token"])
    for check in (True, False):
        with pytest.raises(CutoverError, match=rf"secrets\.token: {OWN}/needs:1\.0\.0 needs this"):
            kitchen.bake(recipe, check=check)


def test_command_and_entrypoint_survive_a_step_with_a_secret(
    kitchen: BuildKitchen, token: dict[str, str]
) -> None:
    secret = "RUN --mount=type=secret,id=token true\n"
    for number, (steps, cmd, entrypoint) in enumerate(
        [
            (f'CMD ["a"]\n{secret}ENTRYPOINT ["b"]\nUSER 1\n', ["a"], ["b"]),
            (f'ENTRYPOINT ["b"]\nCMD ["a"]\n{secret}USER 1\n', ["a"], ["b"]),
            (f"USER 1\n{secret}", None, None),
            (f'SHELL ["/bin/sh", "-ec"]\n{secret}RUN false; true\nUSER 1\n', "fails", None),
        ]
    ):
        recipe = kitchen.docker(f"start-{number}", steps, secrets=["token"])
        if cmd == "fails":
            with pytest.raises(CutoverError, match="non-zero code"):
                kitchen.bake(recipe, secrets=token)
            continue
        started = kitchen.config(kitchen.record(recipe, secrets=token))["config"]
        assert (started.get("Cmd"), started.get("Entrypoint"), started["User"]) == (
            cmd,
            entrypoint,
            "1",
        )
