# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What clean takes for this checkout's own; test_engine_role.py lets it loose on a real engine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils import _bytecode
from tools import clean
from tools.made import Made, note_run
from tools.sample import BYTECODE, environment

BAKED, FOREIGN, SHARED = ("sha256:" + letter * 64 for letter in "abc")
MADE = Made(frozenset({"shop"}), frozenset({"it0123abcd"}), frozenset({BAKED}))
SHOP = {"immutable.cutover.app": "shop"}
BALANCER = {"immutable.cutover.role": "load_balancer"}
NETWORK = {"immutable.cutover.network": "1"}


@pytest.mark.parametrize(
    ("name", "image", "labels", "ours"),
    [
        ("shop-web-01234567-1", BAKED, SHOP, True),
        ("shop-lb", BAKED, BALANCER, True),
        ("it0123abcd-bad", FOREIGN, {"immutable.cutover.app": "it0123abcd"}, True),
        ("shop-web-01234567-1", FOREIGN, SHOP, False),  # somebody's real app of that name
        ("blog-web-01234567-1", BAKED, {"immutable.cutover.app": "blog"}, False),
        ("shop-lb", FOREIGN, BALANCER, False),
        ("cutover-lb", BAKED, BALANCER, False),
        ("shop-lb", BAKED, {}, False),
        ("it0123abcdef", FOREIGN, {}, False),
        ("it99999999-bad", FOREIGN, {"immutable.cutover.app": "it99999999"}, False),
        ("inherits", BAKED, {"immutable.cutover.name": "shop/web"}, False),
        ("db", FOREIGN, None, False),
    ],
)
def test_a_container_is_ours_by_its_site_and_its_image(
    name: str, image: str, labels: dict[str, str] | None, ours: bool
) -> None:
    listing = [{"Id": "1", "Names": [f"/{name}"], "ImageID": image, "Labels": labels}]
    found = [item.title for item in clean.selected(clean.KINDS[0], listing, MADE)]
    assert found == [name] * ours


@pytest.mark.parametrize(
    ("name", "labels", "ours"),
    [
        ("shop-net", NETWORK, True),
        ("it0123abcd-net", {}, True),
        ("shop-net", {}, False),
        ("cutover", NETWORK, False),
        ("bridge", None, False),
    ],
)
def test_a_network_is_ours_by_its_site(
    name: str, labels: dict[str, str] | None, ours: bool
) -> None:
    listing = [{"Id": "1", "Name": name, "Labels": labels}]
    assert [item.title for item in clean.selected(clean.KINDS[1], listing, MADE)] == [name] * ours


def test_an_image_is_ours_by_its_id() -> None:
    rows = [(BAKED, None), (FOREIGN, ["shop/web:1.0.0"]), ("sha256:c", ["it0123abcd:app"])]
    listing = [{"Id": identity, "RepoTags": tags, "Labels": SHOP} for identity, tags in rows]
    found = [item.identity for item in clean.selected(clean.KINDS[2], listing, MADE)]
    assert found == [BAKED, "sha256:c"]


def test_an_engine_in_which_something_runs_is_in_use() -> None:
    listing = [
        {"Id": "1", "Names": ["/db"], "State": "running", "Labels": {}},
        {"Id": "2", "Names": ["/old"], "State": "exited", "Labels": {}},
        {"Id": "3", "Names": ["/blog"], "State": "running", "Labels": SHOP},
    ]
    assert clean.running(listing) == ["db", "blog"]


def touched(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}", encoding="ascii")


def test_what_was_made_is_read_off_the_folders_of_the_checkout(tmp_path: Path) -> None:
    assert Made.by(tmp_path) == Made()
    record = tmp_path / "build/sample/images/records/shop/web/1.0.0.json"
    touched(tmp_path, "build/demo/receipt.json", "build/molecule/default/x", str(record))
    touched(
        tmp_path,
        "build/kill/x",
        "build/chaos-2/x",
        "build/sample/images/records/torn.json",
        "build/x.json",
    )
    record.write_text(f'{{"image_id": "{BAKED}"}}', encoding="ascii")
    (tmp_path / "build/engine.pid").write_text("17\n", encoding="ascii")
    note_run("it0123abcd", tmp_path)
    checkout = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:6]
    sites = {"shop", "mol-default", "mol-default-new", f"kill-{checkout}", f"chaos-{checkout}-2"}
    assert Made.by(tmp_path) == Made(
        frozenset(sites), frozenset({"it0123abcd"}), frozenset({BAKED}), 17
    )


def test_an_engine_that_a_killed_harness_left_is_stopped(tmp_path: Path) -> None:
    pid_file = tmp_path / "var/lib/immutable-cutover-test-shop/engine/dockerd.pid"
    other = tmp_path / "var/lib/immutable-cutover-test-blog/engine/dockerd.pid"
    running = []
    for path in (pid_file, other):
        path.parent.mkdir(parents=True)
        # A name that only says what an engine's command line says.
        command = ["python3", "-c", "import time; time.sleep(60)", f"--pidfile={path}"]
        running.append(subprocess.Popen(command))
        path.write_text(f"{running[-1].pid}\n", encoding="ascii")
    try:
        running[0].send_signal(signal.SIGSTOP)
        assert clean.stop_own_engines(MADE, tmp_path) == []
        assert running[0].wait(10) == -signal.SIGTERM
        assert running[1].poll() is None
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_the_state_of_other_apps_stays(tmp_path: Path) -> None:
    ours = (
        "var/lib/immutable-cutover/apps/shop/journal.jsonl",
        *(
            f"var/lib/immutable-cutover/images/{'a' * 64}{end}"
            for end in (".json", ".engine", ".dsse")
        ),
        "var/lib/immutable-cutover-test-shop/lease.json",
        "var/lib/immutable-cutover-test-it0123abcd/x",
        "var/lib/immutable-cutover/apps/it0123abcd/journal.jsonl",
        "etc/immutable-cutover/it0123abcd-lb/haproxy.cfg",
        "etc/immutable-cutover/shop-lb/haproxy.cfg",
        "run/immutable-cutover/shop-lb/admin.sock",
        "etc/tmpfiles.d/immutable-cutover-shop-lb.conf",
    )
    theirs = (
        "var/lib/immutable-cutover/apps/blog/journal.jsonl",
        *(
            f"var/lib/immutable-cutover/images/{'b' * 64}{end}"
            for end in (".json", ".engine", ".dsse")
        ),
        "var/lib/immutable-cutover/engine/dockerd.pid",
        "var/lib/immutable-cutover-test-it99999999/x",
        "var/lib/immutable-cutover/apps/it99999999/journal.jsonl",
        "etc/immutable-cutover/cutover-lb/haproxy.cfg",
        "etc/tmpfiles.d/immutable-cutover-cutover-lb.conf",
    )
    touched(tmp_path, *ours, *theirs)
    clean.clean_state(MADE, tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(theirs)
    assert not (tmp_path / "run/immutable-cutover").exists(), "an empty folder of ours goes too"


def test_where_nobody_else_has_anything_no_folder_stays(tmp_path: Path) -> None:
    state = tmp_path / "var/lib/immutable-cutover"
    touched(state, "apps/shop/lease.json", f"images/{'a' * 64}.json", f"images/{'a' * 64}.engine")
    clean.clean_state(MADE, tmp_path)
    assert not state.exists()


class AnEngine:
    """An engine in which somebody's container uses one of two images that were baked here."""

    removed: list[str]

    def __init__(self, _path: str) -> None:
        type(self).removed = []

    def call(self, method: str, path: str) -> Any:
        if method == "DELETE":
            self.removed.append(path)
            return None
        image = {"Id": BAKED, "RepoTags": ["shop/web:1.0.0"]}
        return {
            "/containers/json?all=1": [{"Id": "1", "Names": ["/db"], "ImageID": SHARED}],
            "/images/json": [image, {"Id": SHARED, "RepoTags": ["base/py311:1.0.0"]}],
        }.get(path, [])


def test_an_image_that_stays_keeps_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "Engine", AnEngine)
    monkeypatch.setattr(clean, "SYSTEM", tmp_path)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    records = tmp_path / "var/lib/immutable-cutover/images"
    touched(records, *(f"{identity[7:]}.json" for identity in (BAKED, SHARED)))
    assert clean.clean_host(Made(images=frozenset({BAKED, SHARED}))) == []
    assert AnEngine.removed == [f"/images/{BAKED}?force=1"]
    assert [path.stem for path in records.iterdir()] == [SHARED[7:]]


def test_bytecode_of_modules_stays_in_a_folder_that_clean_removes() -> None:
    folder = environment()[BYTECODE]
    inside = Path(folder).relative_to(clean.ROOT)
    assert inside.parts[0] in clean.LOCAL
    assert f"export {BYTECODE} := $(CURDIR)/{inside}\n" in (clean.ROOT / "Makefile").read_text()
    molecule = (clean.ROOT / ".config/molecule/config.yml").read_text()
    assert f"{BYTECODE}: ${{MOLECULE_PROJECT_DIRECTORY}}/{inside}\n" in molecule
    assert BYTECODE == _bytecode.VARIABLE


def test_what_could_not_be_cleaned_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched(tmp_path, "build/demo/x", ".cache/x")
    monkeypatch.setattr(clean, "ROOT", tmp_path)
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:1")
    assert clean.main(["--help"]) == 2
    assert (tmp_path / ".cache").exists(), "asking for help removes nothing"
    assert clean.main([]) == 1
    assert (tmp_path / "build/demo/x").exists(), "it says what was made"
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (None, "/var/run/docker.sock"),
        ("", "/var/run/docker.sock"),
        ("unix:///run/x.sock", "/run/x.sock"),
        ("tcp://h:1", None),
    ],
)
def test_cleans_only_an_engine_of_this_machine(host: str | None, path: str | None) -> None:
    assert clean.engine_socket(host) == path


@pytest.mark.parametrize(
    "content", ["", "x", "0", str(os.getpid())], ids=["empty", "no number", "none", "someone else"]
)
def test_a_pid_file_that_names_no_engine_of_ours_is_not_followed(
    tmp_path: Path, content: str
) -> None:
    pid_file = tmp_path / "dockerd.pid"
    pid_file.write_text(content, encoding="ascii")
    assert clean.our_engine(pid_file) is None


def test_a_missing_pid_file_means_no_engine_of_ours(tmp_path: Path) -> None:
    assert clean.our_engine(tmp_path / "dockerd.pid") is None


def test_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(kept)
    assert clean.remove_path(link)
    assert (kept / "file").exists()
    assert not link.is_symlink()
    assert not clean.remove_path(link)


def test_finds_byte_code_outside_the_protected_folders(tmp_path: Path) -> None:
    for name in ("a/__pycache__", ".git/__pycache__", ".venv/x/__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    assert list(clean.caches(tmp_path)) == [tmp_path / "a" / "__pycache__"]
