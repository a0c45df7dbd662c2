# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what a registry says an image is."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    remote_image as subject,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World

Json = dict[str, t.Any]


def parts(world: World) -> tuple[BakeRecord, bytes, bytes]:
    """Return the record, manifest and configuration of a baked app."""
    result = world.bake()
    assert result.record is not None
    blobs = world.root / "output/blobs/sha256"
    manifest = (blobs / result.record.manifest_digest[7:]).read_bytes()
    return result.record, manifest, (blobs / result.record.image_id[7:]).read_bytes()


def read(record: BakeRecord, manifest: bytes, config: bytes) -> subject.RemoteImage:
    """Return the image that these describe."""
    parsed = subject.parse_manifest(manifest, "x@y")
    return subject.remote_image("x@y", record.manifest_digest, parsed, config)


def test_the_record_follows_from_the_configuration(world: World) -> None:
    record, manifest, config = parts(world)
    image = read(record, manifest, config)
    sizes = {layer.digest: layer.size for layer in record.layers}
    assert image.record(sizes) == dataclasses.replace(record, layout="")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"mediaType": subject.DOCKER_MANIFEST_TYPE}, "", id="docker"),
        pytest.param(
            {"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []},
            "is no image but application/vnd.oci.image.index",
            id="index",
        ),
        pytest.param({"layers": [{"digest": "sha256:1"}]}, "cannot be read", id="no-digest"),
        pytest.param({"layers": None}, "cannot be read", id="no-layers"),
        pytest.param({"config": {"digest": "../x", "size": 1}}, "cannot be read", id="B48-path"),
        pytest.param({"zstd": True}, "are not supported", id="zstd"),
        pytest.param({"size": -1}, "cannot be read", id="size"),
    ],
)
def test_manifests(world: World, change: Json, says: str) -> None:
    record, manifest, config = parts(world)
    data: Json = {**json.loads(manifest), **change}
    if "zstd" in change:
        data["layers"][0]["mediaType"] += "+zstd"
    if "size" in change:
        data["layers"][0]["size"] = -1
    changed = json.dumps(data).encode()
    if not says:
        assert read(record, changed, config).image_id == record.image_id
        return
    with pytest.raises(CutoverError, match=says):
        read(record, changed, config)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("immutable.cutover.name", "../../etc"),
        ("immutable.cutover.name", None),
        ("immutable.cutover.version", "../1.0.0"),
        ("immutable.cutover.version", "1/0"),
        ("immutable.cutover.recipe-hash", None),
        ("immutable.cutover.kind", None),
    ],
)
def test_labels_that_would_leave_the_folder_are_refused_se_15(
    world: World, label: str, value: str | None
) -> None:
    record, manifest, config = parts(world)
    data = json.loads(config)
    labels = data["config"]["Labels"]
    labels.pop(label)
    if value is not None:
        labels[label] = value
    image = read(record, manifest, json.dumps(data).encode())
    with pytest.raises(CutoverError, match="was not baked by this collection"):
        image.record({layer.digest: layer.size for layer in record.layers})


@pytest.mark.parametrize("what", ["fewer", "other", "none"])
def test_layers_that_are_not_the_configurations_are_refused(world: World, what: str) -> None:
    record, manifest, config = parts(world)
    data = json.loads(config)
    found = data["rootfs"]["diff_ids"]
    wrong = {"fewer": found[1:], "other": ["sha256:" + "0" * 64, *found[1:]], "none": None}
    data["rootfs"]["diff_ids"] = wrong[what]
    with pytest.raises(CutoverError, match="digest mismatch|does not describe the layers"):
        read(record, manifest, json.dumps(data).encode())


def _foreign(world: World, **changes: t.Any) -> tuple[BakeRecord, subject.RemoteImage]:
    """Return the app as somebody else would have built it."""
    record, manifest, config = parts(world)
    data = {**json.loads(config), "config": None, **changes}
    return record, read(record, manifest, json.dumps(data).encode())


def test_an_image_of_somebody_else_is_named_by_its_digest_alone(world: World) -> None:
    record, image = _foreign(world)
    sizes = {layer.digest: layer.size for layer in record.layers}
    assert not image.ours
    with pytest.raises(CutoverError, match="was not baked by this collection"):
        image.record(sizes)
    found = image.foreign_record(sizes, "library/other")
    assert (found.name, found.kind) == ("library/other", "foreign")
    assert (found.recipe_hash, found.base) == ("", "")
    assert found.version == f"0.0.0-{record.manifest_digest[7:19]}"
    assert record.manifest_digest in found.digests
    assert [layer.digest for layer in found.layers] == [layer.digest for layer in record.layers]


def test_an_image_of_no_architecture_cannot_be_stood_on(world: World) -> None:
    record, image = _foreign(world, architecture=None)
    sizes = {layer.digest: layer.size for layer in record.layers}
    with pytest.raises(CutoverError, match="names no architecture"):
        image.foreign_record(sizes, "library/other")
