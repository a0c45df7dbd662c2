# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the files that a build sees."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import socket
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import build_files as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
)

BASE = "base/py311@sha256:" + "1" * 64
APP: dict[str, t.Any] = {
    "bake": 1,
    "kind": "app",
    "name": "shop/web",
    "version": "1.4.2",
    "base": BASE,
    "config": {"user": "10001"},
}


def write(root: pathlib.Path, *paths: str) -> None:
    """Write files that hold their own path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def runs(root: pathlib.Path, **keys: t.Any) -> Recipe:
    """Return a recipe that runs something."""
    (root / "bake.yml").write_text(yaml.safe_dump({**APP, "run": [["true"]], **keys}))
    return load_recipe(str(root / "bake.yml"))


def docker(root: pathlib.Path) -> Recipe:
    """Return a recipe that is built from a Dockerfile."""
    data = {key: value for key, value in APP.items() if key not in ("base", "config")}
    (root / "Dockerfile").write_text(f"FROM {BASE}\nUSER 10001\n")
    (root / "bake.yml").write_text(yaml.safe_dump({**data, "dockerfile": "Dockerfile"}))
    (root / "bake.lock").write_text("")
    return load_recipe(str(root / "bake.yml"))


def paths(recipe: Recipe) -> list[str]:
    """Return where a build sees its files."""
    return [item.path for item in subject.scan_build(recipe)]


def test_a_play_is_locked_with_everything_beside_it(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        "p/site.yml",
        "p/roles/a/tasks/main.yml",
        "p/.git/x",
        "other",
        "tools/sub/x",
        "one",
    )
    recipe = runs(tmp_path, play="p/site.yml", inputs=["tools", "one"])
    assert paths(recipe) == [
        *("inputs/one", "inputs/tools/sub/x"),
        *("play/roles/a/tasks/main.yml", "play/site.yml"),
    ]  # fmt: skip


def test_the_context_is_what_dockerignore_leaves(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        "src/a.py",
        "src/__pycache__/a.pyc",
        ".git/config",
        "notes/x.md",
        "notes/y.txt",
        "secret",
    )
    recipe = docker(tmp_path)
    (tmp_path / ".dockerignore").write_text("# no\nsecret\n**/*.md\n")
    assert paths(recipe) == ["Dockerfile", "context/Dockerfile", "context/notes/y.txt", "context/src/a.py"]  # fmt: skip
    (tmp_path / ".dockerignore").write_text("*\n!src\n")
    assert paths(recipe) == ["Dockerfile", "context/src/a.py"]


@pytest.mark.parametrize(
    ("text", "path", "ignored"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a", "ab", False),
        ("a", "x/a", False),
        ("/a/", "a/b", True),
        ("*", "a/b", True),
        ("*.md", "x.md", True),
        ("*.md", "d/x.md", False),
        ("**/*.md", "x.md", True),
        ("**/*.md", "d/e/x.md", True),
        ("d/**", "d/e/x", True),
        ("*/x", "d/x", True),
        ("*/x", "d/e/x", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab]x", "bx", True),
        ("[^ab]x", "bx", False),
        ("a.b", "axb", False),
        ("a\n!a/b", "a/b", False),
        ("a\n!a/b", "a/c", True),
        ("!a\na", "a", True),
        ("# a\n\n", "a", False),
    ],
)
def test_dockerignore(text: str, path: str, ignored: bool) -> None:
    assert subject.is_ignored(path, subject.ignored_by(text)) is ignored


@pytest.mark.parametrize("kind", ["link", "folder-link", "socket", "pipe"])
def test_b48_what_is_no_plain_file_is_refused(
    tmp_path: pathlib.Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "tools/x")
    odd = tmp_path / "tools/odd"
    monkeypatch.chdir(tmp_path / "tools")
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("odd")
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/etc/passwd" if kind == "link" else "/etc")
    for recipe in (runs(tmp_path, inputs=["tools"]), docker(tmp_path)):
        with pytest.raises(InvalidInput, match="tools/odd.*") as caught:
            subject.scan_build(recipe)
        assert "is not a plain file inside the context" in caught.value.message


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"play": "p/none.yml"}, "play.playbook: is not a plain file"),
        ({"play": "gone/site.yml"}, "play.playbook: is not a plain file"),
        ({"inputs": ["none"]}, r"inputs\[0\]: does not exist"),
        ({"inputs": ["tools", "other/tools"]}, "inputs: must not name a file twice"),
        ({"inputs": ["linked"]}, r"inputs\[0\]: is not a plain folder"),
    ],
    ids=["play", "folder", "input", "twice", "linked"],
)
def test_refused(tmp_path: pathlib.Path, keys: dict[str, t.Any], says: str) -> None:
    write(tmp_path, "p/site.yml", "tools/x", "other/tools/x")
    (tmp_path / "linked").symlink_to("tools")
    with pytest.raises(InvalidInput, match=says):
        subject.scan_build(runs(tmp_path, **keys))


def test_what_was_locked_is_copied_and_nothing_else(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "tools/x", "tools/run")
    os.chmod(tmp_path / "tools/run", 0o700)
    os.chmod(tmp_path / "tools/x", 0o600)
    files = subject.scan_build(runs(tmp_path, inputs=["tools"]))
    old = os.umask(0o077)
    try:
        subject.stage_files(files, str(tmp_path / "staged"))
    finally:
        os.umask(old)
    staged = tmp_path / "staged/inputs/tools"
    assert {path.name: path.stat().st_mode & 0o777 for path in staged.iterdir()} == {
        "x": 0o644,
        "run": 0o755,
    }
    changed = [dataclasses.replace(item, sha256="0" * 64) for item in files]
    with pytest.raises(CutoverError, match="changed while it was read"):
        subject.stage_files(changed, str(tmp_path / "again"))
