# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    StateError,
    WaitTimeout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    SCHEMA,
    file_lock,
    private_folder,
    read_json,
    write_json,
)
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

NOBODY = 65534


def unprivileged(work: Callable[[], object]) -> str:
    """Run in a process that is not root; return what it raised, as type and text."""
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()

    def run() -> None:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        try:
            queue.put(repr(work()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            queue.put(f"{type(error).__name__}: {error}")

    process = context.Process(target=run)
    process.start()
    result = str(queue.get(timeout=20))
    process.join()
    return result


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder that everybody may look into and only its owner may write."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    place = tmp_path / "theirs"
    place.mkdir(mode=0o555)
    return place


def test_private_folder_is_made_and_closed_to_others(tmp_path: Path) -> None:
    path = private_folder(str(tmp_path), "a", "b")
    assert path == str(tmp_path / "a" / "b")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    os.chmod(path, 0o755)
    private_folder(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def plain_file(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("make", [link, dangling, plain_file])
def test_cr_09_what_is_no_plain_folder_is_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "state"
    make(path)
    with pytest.raises(StateError) as caught:
        private_folder(str(path))
    assert str(path) in caught.value.message


def test_cr_09_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(
        StateError, match=f"{tmp_path}: the state folder belongs to uid {mine}, not"
    ):
        private_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("folder", lambda place: private_folder(str(place / "apps"))),
        ("file", lambda place: write_json(str(place / "lease.json"), {})),
        (
            "lock",
            lambda place: file_lock(
                str(place / "lock"), shared=True, clock=FakeClock()
            ).__enter__(),
        ),
    ],
)
def test_cr_09_an_unwritable_place_is_refused_with_its_path(
    foreign: Path, name: str, work: Callable[[Path], object]
) -> None:
    if os.geteuid() != 0:
        foreign.chmod(0o555)
    said = unprivileged(lambda: work(foreign))
    assert said.startswith(f"StateError: {foreign}/"), said
    assert "ermission denied" in said


def test_a_file_is_written_whole_private_and_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "x.json")
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"schema": SCHEMA, "a": 1}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["x.json"]


class PowerCut(BaseException):
    """Everything ends here."""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_cr_14_a_crash_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = str(tmp_path / "x.json")
    write_json(path, {"a": 1})

    def cut(*_arguments: object) -> None:
        raise PowerCut

    monkeypatch.setattr(os, call, cut)
    with pytest.raises(PowerCut):
        write_json(path, {"a": 2})
    monkeypatch.undo()
    assert read_json(path) == {"schema": SCHEMA, "a": 1}
    write_json(path, {"a": 3})
    assert read_json(path) == {"schema": SCHEMA, "a": 3}
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "cannot be read", id="CR-13-empty"),
        pytest.param(b'{"schema": 1, "epo', "cannot be read", id="CR-13-truncated"),
        pytest.param(b"\xff\xfe", "cannot be read", id="CR-13-garbage"),
        pytest.param(b"[]", "is not one of our state files", id="CR-13-list"),
        pytest.param(b"{}", "is not one of our state files", id="CR-13-no-schema"),
        pytest.param(b'{"schema": "1"}', "is not one of our state files", id="CR-13-odd-schema"),
        pytest.param(b'{"schema": 4}', "state schema 4, this collection knows <= 1", id="B68"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(StateError) as caught:
        read_json(str(path))
    assert caught.value.message.startswith(f"{path}: ")
    assert says in caught.value.message
    assert caught.value.message.endswith("; nothing was changed")
    assert path.read_bytes() == content


def test_cr_09_a_link_is_not_read_or_written_through(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "x.json"
    target.write_text(json.dumps({"schema": 1}))
    path.symlink_to(target)
    with pytest.raises(StateError, match="cannot be read"):
        read_json(str(path))
    write_json(str(path), {"a": 1})
    assert not path.is_symlink()
    assert target.read_text() == '{"schema": 1}'


@pytest.mark.parametrize("make", [link, dangling])
def test_cr_09_a_lock_that_is_a_link_is_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "lock"
    make(path)
    with (
        pytest.raises(StateError, match=f"{path}: cannot open the lock file"),
        file_lock(str(path), shared=True, clock=FakeClock()),
    ):
        pass
    assert not (tmp_path / "nowhere").exists()


def test_cr_09_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(StateError, match="this file system has no locks: No locks available"),
        file_lock(str(tmp_path / "lock"), shared=False, clock=FakeClock()),
    ):
        pass


def test_a_lock_excludes_and_is_waited_for_a_bounded_time(tmp_path: Path) -> None:
    path, clock = str(tmp_path / "lock"), FakeClock()
    with file_lock(path, shared=True, clock=clock):
        with file_lock(path, shared=True, clock=clock):
            pass
        assert clock.sleeps == []
        with (
            pytest.raises(WaitTimeout, match="holds this lock for over 3 s"),
            file_lock(path, shared=False, clock=clock, timeout=3),
        ):
            pass
    assert 3 <= clock.elapsed < 3.1
    with file_lock(path, shared=False, clock=clock):
        pass


def test_cr_08_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path, context = str(tmp_path / "lock"), multiprocessing.get_context("fork")
    held = context.Event()

    def hold() -> None:
        with file_lock(path, shared=False, clock=FakeClock()):
            held.set()
            context.Event().wait()

    process = context.Process(target=hold)
    process.start()
    assert held.wait(20)
    with (
        pytest.raises(WaitTimeout),
        file_lock(path, shared=False, clock=FakeClock(), timeout=1),
    ):
        pass
    process.kill()
    process.join()
    with file_lock(path, shared=False, clock=FakeClock(), timeout=0):
        pass


def test_the_parents_of_a_private_folder_are_private_too(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "apps" / "shop"
    private_folder(str(folder))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents[:2])]
    assert modes == [0o700, 0o700, 0o700]
