# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of folders for the time of some work: what a killed process left is taken away by the next."""

from __future__ import annotations

import ast
import os
import pathlib
import signal
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    work_folder as subject,
)

LEAVER = (
    "import os, signal, sys\n"
    f"from {subject.__name__} import work_folder\n"
    "with work_folder('.bake-', sys.argv[1]) as folder:\n"
    "    open(folder + '/half', 'w').close()\n"
    "    print(folder, flush=True)\n"
    "    sys.stdin.read() if sys.argv[2] == 'stay' else os.kill(os.getpid(), signal.SIGKILL)\n"
)


def other(parent: pathlib.Path, ending: str) -> tuple[subprocess.Popen[str], pathlib.Path]:
    """Start another process with such a folder; return it, and the folder."""
    root = pathlib.Path(subject.__file__).parents[6]
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVER, str(parent), ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    return process, pathlib.Path(process.stdout.readline().strip())


def test_se_26_the_next_takes_away_what_a_killed_one_left_whatever_it_did(
    tmp_path: pathlib.Path,
) -> None:
    killed, left = other(tmp_path, "die")
    assert killed.wait() == -signal.SIGKILL
    assert (left / "half").exists()
    with subject.work_folder("push-", str(tmp_path)) as folder:
        assert [str(path) for path in tmp_path.iterdir()] == [folder]
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_one_has_stays(tmp_path: pathlib.Path) -> None:
    living, held = other(tmp_path, "stay")
    with (
        subject.work_folder("push-", str(tmp_path)) as first,
        subject.work_folder("push-", str(tmp_path)) as second,
    ):
        assert {str(path) for path in tmp_path.iterdir()} == {first, second, str(held)}
    living.communicate("")
    assert not held.exists()


def test_what_is_of_somebody_else_stays(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, left = other(tmp_path, "die")
    killed.wait()
    namespace = left.name.split(".")[1].removeprefix("bake-")
    elsewhere = tmp_path / left.name.replace(namespace, "0" * 8)
    apart = [tmp_path / "fetch-mine", elsewhere, tmp_path / f"{left.name}.more"]
    for path in apart:
        path.mkdir()
    target = tmp_path / "kept"
    target.mkdir()
    link = tmp_path / f".link-{left.name.removeprefix('.bake-')}"
    link.symlink_to(target)
    with monkeypatch.context() as patch:
        user = os.geteuid()
        patch.setattr(os, "geteuid", lambda: user + 1)
        subject._sweep(str(tmp_path))
        assert left.exists()
    subject._sweep(str(tmp_path))
    assert not left.exists()
    assert all(path.exists() for path in [*apart, target, link])


def calls() -> t.Iterator[tuple[str, str]]:
    """Yield every use of tempfile below this package: the file, and what of tempfile."""
    for path in sorted(pathlib.Path(subject.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "tempfile":
                yield path.name, node.attr


def test_no_other_folder_is_made_by_what_bakes() -> None:
    made = {name for name, what in calls() if what in ("TemporaryDirectory", "mkdtemp")}
    assert made == {"build_secrets.py", "work_folder.py"}
