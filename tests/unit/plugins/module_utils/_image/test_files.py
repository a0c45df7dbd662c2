# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the files of a context."""

from __future__ import annotations

import hashlib
import os
import pathlib
import socket

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import files as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    FileRule,
    ImageConfig,
    Recipe,
)


def recipe(context: pathlib.Path, *rules: FileRule) -> Recipe:
    """Return a recipe with these files and nothing else."""
    return Recipe(
        path=str(context / "bake.yml"),
        context=str(context),
        kind="app",
        name="x",
        version="1.0.0",
        base="",
        suite="",
        apt=(),
        python=None,
        files=rules,
        config=ImageConfig(),
        entrypoints=(),
        content={},
    )


def rule(src: str, dest: str, mode: str = "u=rwX,go=rX") -> FileRule:
    """Return a rule with the usual exclusions."""
    return FileRule(src, dest, mode, ("__pycache__", "*.pyc"))


def test_a_folder_goes_to_its_destination(tmp_path: pathlib.Path) -> None:
    (tmp_path / "src/pkg/__pycache__").mkdir(parents=True)
    (tmp_path / "src/pkg/a.py").write_text("a")
    (tmp_path / "src/pkg/__pycache__/a.cpython-311.pyc").write_text("x")
    (tmp_path / "src/run").write_text("r")
    os.chmod(tmp_path / "src/run", 0o700)
    os.chmod(tmp_path / "src/pkg/a.py", 0o600)
    found = subject.scan_files(recipe(tmp_path, rule("src/", "/app")))
    assert [(item.path, item.mode) for item in found] == [
        ("/app/pkg/a.py", 0o644),
        ("/app/run", 0o755),
    ]
    assert found[0].sha256 == hashlib.sha256(b"a").hexdigest()


@pytest.mark.parametrize(("dest", "path"), [("/etc/x.conf", "/etc/x.conf"), ("/etc/", "/etc/f")])
def test_a_file_goes_to_a_name_or_into_a_folder(
    tmp_path: pathlib.Path, dest: str, path: str
) -> None:
    (tmp_path / "f").write_text("1")
    assert [i.path for i in subject.scan_files(recipe(tmp_path, rule("f", dest)))] == [path]


@pytest.mark.parametrize("kind", ["link-out", "link-folder", "fifo", "socket", "top-link"])
def test_b48_only_plain_files(tmp_path: pathlib.Path, kind: str) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "ok").write_text("1")
    if kind == "link-out":
        (source / "bad").symlink_to("/etc/passwd")
    elif kind == "link-folder":
        (source / "bad").symlink_to("/etc")
    elif kind == "fifo":
        os.mkfifo(source / "bad")
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(source)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("bad")
        finally:
            os.chdir(here)
    else:
        (source / "ok").unlink()
        source.rmdir()
        source.symlink_to("/etc")
    with pytest.raises(CutoverError, match="is not a plain file inside the context"):
        subject.scan_files(recipe(tmp_path, rule("src", "/app")))


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_source_must_hold_something(tmp_path: pathlib.Path, kind: str) -> None:
    if kind == "empty":
        (tmp_path / "src").mkdir()
    with pytest.raises(CutoverError, match="does not exist|holds no file"):
        subject.scan_files(recipe(tmp_path, rule("src", "/app")))


def test_two_sources_of_one_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    with pytest.raises(CutoverError, match="/x comes from two places"):
        subject.scan_files(recipe(tmp_path, rule("a", "/x"), rule("b", "/x")))
