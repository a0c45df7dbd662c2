# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of baking again: equal, or the first difference by name."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import oci, reproduce_front
from ansible_collections.immutable.cutover.plugins.module_utils._image import reproduce as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    write_entries,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World


def verify(world: World) -> list[dict[str, t.Any]]:
    """Verify as the module does."""
    params = {
        "recipes": [world.recipe],
        "output": str(world.root / "output"),
        "store": str(world.root / "store"),
        "concurrency": 1,
    }
    images: list[dict[str, t.Any]] = reproduce_front.verify_images(params)["images"]
    return images


@pytest.fixture
def baked(world: World) -> BakeRecord:
    """Return the record of the app."""
    record = world.bake().record
    assert record is not None
    return record


def test_what_is_equal_is_said_so_and_nothing_changes(world: World, baked: BakeRecord) -> None:
    before = {path: path.read_bytes() for path in world.root.rglob("*") if path.is_file()}
    (image,) = verify(world)
    assert image == {
        "tag": "shop/web:1.0.0",
        "reference": baked.reference,
        "again": baked.reference,
        "same": True,
        "difference": "",
    }
    assert {path: path.read_bytes() for path in world.root.rglob("*") if path.is_file()} == before


def blob(world: World, digest: str) -> pathlib.Path:
    """Return a blob of the output."""
    return world.root / "output/blobs/sha256" / digest.partition(":")[2]


def test_a_damaged_layer_is_named_by_its_first_path(world: World, baked: BakeRecord) -> None:
    path = blob(world, baked.layers[2].digest)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"a = 1", b"a = 7"))
    with pytest.raises(CutoverError) as caught:
        verify(world)
    assert caught.value.message == (
        "shop/web:1.0.0 differs: layer 3 (files): the stored blob is damaged: /app/app.py: content"
    )


def test_an_image_of_other_content_under_its_version_is_named(
    world: World, baked: BakeRecord
) -> None:
    (world.root / "shop/src/app.py").write_text("a = 2\n")
    world.write_lock()
    with pytest.raises(CutoverError, match=r"differs: layer 3 \(files\): /app/app.py: content"):
        verify(world)


def test_another_configuration_is_named_by_its_key(world: World, baked: BakeRecord) -> None:
    path = pathlib.Path(world.recipe)
    path.write_text(path.read_text().replace("workdir: /app", "workdir: /opt"))
    world.write_lock()
    with pytest.raises(CutoverError, match='config.config.WorkingDir: "/app" -> "/opt"$'):
        verify(world)


def test_an_input_that_was_not_fetched_is_named(world: World, baked: BakeRecord) -> None:
    (world.root / "store/sha256" / world.wheel).unlink()
    with pytest.raises(CutoverError, match="1 locked inputs are not in the store"):
        verify(world)


def test_what_was_not_baked_cannot_be_verified(world: World) -> None:
    with pytest.raises(CutoverError, match="shop/web:1.0.0 is not in .*: bake it first"):
        verify(world)


def test_an_image_of_another_form_of_layers_is_said_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (oci, subject):
        monkeypatch.setattr(module, "LAYER_FORMAT", "1")
    world.bake()
    assert verify(world)[0]["same"]
    for module in (oci, subject):
        monkeypatch.setattr(module, "LAYER_FORMAT", "2")
    says = "layer format: 1 -> 2: another version of this collection baked it: bump its version"
    with pytest.raises(CutoverError, match=f"shop/web:1.0.0 differs: {says}"):
        verify(world)
    # It stays what it is, and is no reason for anything else to fail.
    assert not world.bake().changed


A = Entry("/a", 0o644, b"1")
DIFFERENCES = [
    pytest.param([A], [Entry("/a", 0o755, b"1")], "/a: mode '0644' -> '0755'", id="mode"),
    pytest.param([A], [Entry("/a", 0o644, b"12")], "/a: size 1 -> 2", id="size"),
    pytest.param([A], [Entry("/a", 0o644, b"2")], "/a: content", id="content"),
    pytest.param([A], [A, Entry("/b", 0o644)], "/b: nothing more -> b", id="more"),
    pytest.param([Entry("/c", 0o644)], [A], "/a: c -> a", id="other"),
    pytest.param([A], [A], "bytes outside of any file", id="equal"),
]


@pytest.mark.parametrize(("old", "new", "said"), DIFFERENCES)
def test_the_first_difference_of_layers(
    tmp_path: pathlib.Path, old: list[Entry], new: list[Entry], said: str
) -> None:
    paths = [str(tmp_path / "old"), str(tmp_path / "new")]
    for path, entries in zip(paths, (old, new), strict=True):
        write_entries(entries, path, 1)
    assert subject.first_difference(*paths) == said


def test_a_layer_that_is_no_tar_is_said_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1024)
    assert subject.first_difference(str(tmp_path / "x"), str(tmp_path / "x")).startswith(
        "not a readable layer"
    )


def test_keys_are_named_by_their_path() -> None:
    old, new = json.loads('{"a": [{"b": 1}]}'), json.loads('{"a": [{"b": 2}, 3]}')
    assert subject._json_difference(old, new, "config") == "config.a[0].b: 1 -> 2"
    assert subject._json_difference(old, old, "config") == ""
