# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is attached to an image: the image's digest never moves, and the index keeps what is attached."""

from __future__ import annotations

import json
import os
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._image import referrers as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
    from tests.unit.plugins.module_utils._image.conftest import World

SBOM, PROOF = "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"


@pytest.fixture
def baked(world: World) -> tuple[Output, BakeRecord]:
    """Return an output folder and the record of an app in it."""
    record = world.bake().record
    assert record is not None
    return Output(str(world.root / "output")), record


def index(output: Output) -> list[dict[str, t.Any]]:
    """Return what the index of the layout lists."""
    with open(f"{output.root}/index.json", encoding="ascii") as stream:
        return list(json.load(stream)["manifests"])


def test_an_attachment_is_an_artifact_manifest_about_the_image(
    baked: tuple[Output, BakeRecord],
) -> None:
    output, record = baked
    made = subject.attach(output, record, SBOM, SBOM, b'{"a":1}')
    assert output.layout.read_json(made.manifest_digest) == {
        "artifactType": SBOM,
        "config": {
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "mediaType": "application/vnd.oci.empty.v1+json",
            "size": 2,
        },
        "layers": [{"digest": made.payload_digest, "mediaType": SBOM, "size": 7}],
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "schemaVersion": 2,
        "subject": {
            "digest": record.manifest_digest,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": len(output.layout.read_bytes(record.manifest_digest)),
        },
    }
    assert output.layout.read_bytes(
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    ) == (b"{}")
    assert subject.attachments(output, record) == (made,)
    assert subject.payload(output, made) == b'{"a":1}'
    assert output.find(record.name, record.version) == record


def test_attaching_again_changes_nothing_and_another_payload_takes_its_place(
    baked: tuple[Output, BakeRecord],
) -> None:
    output, record = baked
    proof = subject.attach(output, record, PROOF, PROOF, b"[]")
    first = subject.attach(output, record, SBOM, SBOM, b"1")
    before = index(output)
    assert subject.attach(output, record, SBOM, SBOM, b"1") == first
    assert index(output) == before
    second = subject.attach(output, record, SBOM, SBOM, b"2")
    assert subject.attachments(output, record) == (second, proof)
    assert [item["digest"] for item in index(output) if item.get("artifactType") == SBOM] == [
        second.manifest_digest
    ]


def test_a_bake_afterwards_keeps_what_is_attached(world: World) -> None:
    record = world.bake().record
    assert record is not None
    output = Output(str(world.root / "output"))
    made = subject.attach(output, record, SBOM, SBOM, b"1")
    world.write_recipe("1.1.0")
    world.bake()
    listed = [item["digest"] for item in index(output)]
    assert len(listed) == 4
    assert listed[listed.index(record.manifest_digest) + 1] == made.manifest_digest


def test_a_lost_blob_is_written_again(baked: tuple[Output, BakeRecord]) -> None:
    output, record = baked
    made = subject.attach(output, record, SBOM, SBOM, b"1")
    for digest in (made.manifest_digest, made.payload_digest):
        os.unlink(output.layout.blob_path(digest))
        assert subject.attach(output, record, SBOM, SBOM, b"1") == made
        assert subject.payload(output, made) == b"1"
        assert subject.attachments(output, record) == (made,)


def test_a_payload_that_was_changed_is_refused(baked: tuple[Output, BakeRecord]) -> None:
    output, record = baked
    made = subject.attach(output, record, SBOM, SBOM, b"1")
    with open(output.layout.blob_path(made.payload_digest), "wb") as stream:
        stream.write(b"2")
    with pytest.raises(StateError, match="blob is not what its name says"):
        subject.payload(output, made)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_list_of_referrers_is_named(
    baked: tuple[Output, BakeRecord], content: str
) -> None:
    output, record = baked
    subject.attach(output, record, SBOM, SBOM, b"1")
    path = output.layout.referrers_path(record.manifest_digest)
    with open(path, "w", encoding="ascii") as stream:
        stream.write(content)
    with pytest.raises(StateError, match="cannot read what is attached"):
        subject.attachments(output, record)
