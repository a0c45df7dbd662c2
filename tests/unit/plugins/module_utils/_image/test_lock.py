# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the lock file: what it holds, when it is stale, what is refused."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import lock as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import scan_files
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
    recipe_checksum,
)

BASE = "base/py311@sha256:" + "1" * 64
RECIPE = f"""
bake: 1
kind: app
name: shop/web
version: 1.0.0
base: {BASE}
python: {{requirements: requirements.in}}
files: [{{src: src/, dest: /app}}]
config: {{user: "10001"}}
"""


@pytest.fixture
def recipe(tmp_path: pathlib.Path) -> Recipe:
    """Return a recipe with its context."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text("a = 1\n")
    (tmp_path / "requirements.in").write_text("six\n")
    (tmp_path / "bake.yml").write_text(RECIPE)
    return load_recipe(str(tmp_path / "bake.yml"))


def fresh(recipe: Recipe) -> subject.Lock:
    """Return a lock that matches the recipe."""
    return subject.Lock(
        recipe_checksum=recipe_checksum(recipe),
        epoch=5,
        arch="amd64",
        base=subject.BaseLock(
            BASE, "sha256:" + "1" * 64, "sha256:" + "2" * 64, ("sha256:" + "3" * 64,)
        ),
        python=(subject.WheelLock("six", "1.0", "six-1.0-py3-none-any.whl", "a" * 64),),
        files=subject.lock_files(scan_files(recipe)),
        inputs=subject.input_checksums(recipe),
    )


def write(recipe: Recipe, lock: subject.Lock) -> None:
    """Write a lock beside its recipe."""
    pathlib.Path(recipe.lock_path).write_bytes(lock.to_bytes())


def test_round_trip_and_no_clock_or_host(recipe: Recipe) -> None:
    write(recipe, fresh(recipe))
    assert subject.read_lock(recipe.lock_path) == fresh(recipe)
    assert fresh(recipe).to_bytes() == fresh(recipe).to_bytes()
    text = fresh(recipe).to_bytes().decode()
    assert str(pathlib.Path(recipe.path).parent) not in text
    assert "://" not in text


def test_a_fresh_lock_is_accepted(recipe: Recipe) -> None:
    write(recipe, fresh(recipe))
    assert subject.require_fresh(recipe, scan_files(recipe)) == fresh(recipe)


def test_b42_a_missing_lock_is_named(recipe: Recipe) -> None:
    with pytest.raises(
        CutoverError,
        match="lock not found: .*bake.lock; run the bake playbook with bake_lock=always",
    ):
        subject.require_fresh(recipe, scan_files(recipe))


STALE: list[tuple[str, str, str, str]] = [
    ("B42-recipe", "bake.yml", RECIPE.replace("1.0.0", "1.0.1"), "recipe"),
    ("B42-base", "bake.yml", RECIPE.replace("1" * 64, "4" * 64), "recipe, base"),
    ("B42-requirements", "requirements.in", "six\nattrs\n", "packages"),
    ("B42-file", "src/a.py", "a = 2\n", "files"),
    ("B42-new-file", "src/b.py", "b = 1\n", "files"),
]


@pytest.mark.parametrize(
    ("name", "text", "stale"), [pytest.param(*row[1:], id=row[0]) for row in STALE]
)
def test_a_stale_lock_is_refused(recipe: Recipe, name: str, text: str, stale: str) -> None:
    write(recipe, fresh(recipe))
    pathlib.Path(recipe.context, name).write_text(text)
    now = load_recipe(recipe.path)
    with pytest.raises(
        CutoverError,
        match=f"lock does not match {stale}; run the bake playbook with bake_lock=always",
    ):
        subject.require_fresh(now, scan_files(now))


def test_a_mode_is_part_of_the_lock(recipe: Recipe) -> None:
    write(recipe, fresh(recipe))
    pathlib.Path(recipe.context, "src/a.py").chmod(0o755)
    with pytest.raises(CutoverError, match="does not match files"):
        subject.require_fresh(recipe, scan_files(recipe))


BROKEN: list[tuple[str, t.Callable[[dict[str, t.Any]], object], str]] = [
    ("B43-no-hash", lambda d: d["python"][0].update(sha256=""), "python six: no sha256"),
    ("B43-md5", lambda d: d["python"][0].update(sha256="a" * 32), "python six: no sha256"),
    ("B43-number", lambda d: d["python"][0].update(sha256=5), "python six: no sha256"),
    ("B43-twice", lambda d: d["python"].append(d["python"][0]), "python six: locked twice"),
    ("B43-file-twice", lambda d: d["files"].append(d["files"][0]), "locked twice"),
    ("B68", lambda d: d.update(version=2), "not a lock of version 1"),
    ("incomplete", lambda d: d.pop("apt"), "incomplete lock"),
    ("unknown", lambda d: d.update(extra=1), "incomplete lock"),
    ("shape", lambda d: d.update(inputs=[]), "incomplete lock"),
]


@pytest.mark.parametrize(("spoil", "says"), [pytest.param(*row[1:], id=row[0]) for row in BROKEN])
def test_a_broken_lock_is_refused(
    recipe: Recipe, spoil: t.Callable[[dict[str, t.Any]], object], says: str
) -> None:
    data = json.loads(fresh(recipe).to_bytes())
    spoil(data)
    pathlib.Path(recipe.lock_path).write_text(json.dumps(data))
    with pytest.raises(CutoverError, match=says) as caught:
        subject.read_lock(recipe.lock_path)
    assert recipe.lock_path in caught.value.message


def test_a_truncated_lock_is_refused(recipe: Recipe) -> None:
    pathlib.Path(recipe.lock_path).write_bytes(fresh(recipe).to_bytes()[:50])
    with pytest.raises(CutoverError, match="cannot read lock"):
        subject.read_lock(recipe.lock_path)


def test_the_hash_covers_every_input(recipe: Recipe) -> None:
    lock = fresh(recipe)
    wheel = dataclasses.replace(lock.python[0], sha256="b" * 64)
    item = dataclasses.replace(lock.files[0], mode="0755")
    variants = [
        lock,
        dataclasses.replace(lock, epoch=6),
        dataclasses.replace(lock, arch="arm64"),
        dataclasses.replace(lock, python=(wheel,)),
        dataclasses.replace(lock, files=(item,)),
        dataclasses.replace(lock, base=None),
    ]
    assert len({subject.recipe_hash(recipe, variant) for variant in variants}) == len(variants)
    assert subject.recipe_hash(recipe, lock) == subject.recipe_hash(recipe, fresh(recipe))
