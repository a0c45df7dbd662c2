# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of compiled sources: used when it may be, never trusted when others could write, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils import _bytecode

SOURCE = Path(_bytecode.__file__)
MAIN = """
from {package}._bytecode import use_cache
use_cache({folder!r})
from {package}._sub.thing import WHERE
print(WHERE)
"""


class Payload:
    """A zip as Ansible makes one, run by a Python of its own."""

    def __init__(self, root: Path) -> None:
        self.zip = root / "payload.zip"
        self.folder = root / "cache"
        self.write("1")

    def write(self, content: str, says_where: bool = True) -> None:
        """Make the zip anew; its content differs. Without C(says_where) the module names no folder."""
        said = str(self.folder) if says_where else ""
        folders = _bytecode.PACKAGE.split(".")
        with zipfile.ZipFile(self.zip, "w") as opened:
            for depth in range(1, len(folders) + 1):
                opened.writestr("/".join([*folders[:depth], "__init__.py"]), "")
            inside = "/".join(folders)
            opened.writestr(f"{inside}/_bytecode.py", SOURCE.read_text())
            opened.writestr(f"{inside}/_sub/__init__.py", "")
            opened.writestr(f"{inside}/_sub/thing.py", f"WHERE = __file__  # {content}")
            text = MAIN.format(package=_bytecode.PACKAGE, folder=said)
            opened.writestr("__main__.py", text)

    def run(self) -> str:
        """Return where the module in it was imported from."""
        done = subprocess.run(
            [sys.executable, str(self.zip)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def kept(self) -> list[Path]:
        """Return what is in the cache."""
        return sorted(self.folder.iterdir())


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    return Payload(tmp_path)


def test_the_first_call_fills_it_and_the_second_one_reads_bytecode(payload: Payload) -> None:
    first = payload.run()
    (root,) = payload.kept
    assert first.startswith(str(root))
    compiled = sorted(path.name.partition(".")[0] for path in root.rglob("*.pyc"))
    assert compiled == ["__init__", "__init__", "_bytecode", "thing"]
    # Bytecode is what runs: the source beside it is not even looked at.
    Path(first).write_text("WHERE = 'compiled again'")
    assert payload.run() == first


def test_other_sources_are_never_taken_for_these(payload: Payload) -> None:
    first = payload.run()
    payload.write("2")
    second = payload.run()
    assert second != first
    assert len(payload.kept) == 2


def test_the_environment_can_say_where_it_is(
    payload: Payload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload.write("1", says_where=False)
    monkeypatch.setenv(_bytecode.VARIABLE, str(tmp_path / "said"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert payload.run().startswith(str(tmp_path / "said"))
    monkeypatch.setenv(_bytecode.VARIABLE, "")
    assert payload.run().startswith(str(tmp_path / "home" / ".cache"))


def test_what_nobody_used_for_a_week_is_removed(payload: Payload) -> None:
    old = Path(payload.run())
    (root,) = payload.kept
    payload.write("2")
    os.utime(root, (0, 0))
    payload.run()
    assert not old.exists()
    assert len(payload.kept) == 1


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_se_25_a_folder_that_others_can_write_is_not_used(payload: Payload, mode: int) -> None:
    payload.folder.mkdir()
    payload.folder.chmod(mode)
    assert payload.run().startswith(str(payload.zip))
    assert payload.kept == []


def test_se_25_a_link_is_not_followed(payload: Payload, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    payload.folder.symlink_to(tmp_path / "elsewhere")
    assert payload.run().startswith(str(payload.zip))
    assert payload.kept == []


def test_where_no_folder_can_be_made_the_zip_is_enough(payload: Payload) -> None:
    payload.folder.write_text("a file")
    assert payload.run().startswith(str(payload.zip))


def test_outside_of_a_zip_nothing_happens(tmp_path: Path) -> None:
    _bytecode.use_cache(str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
