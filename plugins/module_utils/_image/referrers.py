# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is attached to an image as OCI referrers, so that its digest never moves; private, no stability promised.

C(<output>/referrers/<hex of the image's manifest digest>.json) is the index that a registry answers when it is
asked for the referrers of an image, and the content of the fallback tag of one that cannot answer.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
    sha256_bytes,
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Layout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

# With its lock an image can be stood on where it was not baked: the policy and the bill of materials need all locks.
LOCK_TYPE = "application/vnd.immutable-cutover.lock.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"


@dataclass(frozen=True)
class Attachment:
    """One document attached to an image; size is the payload's, in bytes."""

    artifact_type: str
    media_type: str
    manifest_digest: str
    payload_digest: str
    size: int


def attach(
    output: Output, record: BakeRecord, artifact_type: str, media_type: str, payload: bytes
) -> Attachment:
    """Attach a document, in the place of the one of this artifact type that is there."""
    manifest = _manifest(output.layout, record, artifact_type, media_type, payload)
    wanted = Attachment(
        artifact_type=artifact_type,
        media_type=media_type,
        manifest_digest="sha256:" + sha256_bytes(manifest),
        payload_digest="sha256:" + sha256_bytes(payload),
        size=len(payload),
    )
    described = {
        "artifactType": artifact_type,
        "digest": wanted.manifest_digest,
        "mediaType": MANIFEST_TYPE,
        "size": len(manifest),
    }
    with output.layout.guard():
        listed = output.layout.referrers(record.manifest_digest)
        blobs = (EMPTY, payload, manifest)
        if described not in listed or not all(_has(output.layout, blob) for blob in blobs):
            for blob in blobs:
                output.layout.add_bytes(blob)
            kept = [item for item in listed if item["artifactType"] != artifact_type]
            _write_referrers(output.layout, record, [*kept, described])
            output.layout.write_index(output.records())
    return wanted


def attachments(output: Output, record: BakeRecord) -> tuple[Attachment, ...]:
    """Return what is attached to an image, in the order of artifact types."""
    listed = output.layout.referrers(record.manifest_digest)
    return tuple(_attachment(output.layout, item) for item in listed)


def payload(output: Output, attachment: Attachment) -> bytes:
    """Return an attached document after checking that it still is what its digest says."""
    return output.layout.read_bytes(attachment.payload_digest)


def _manifest(
    layout: Layout, record: BakeRecord, artifact_type: str, media_type: str, payload: bytes
) -> bytes:
    return canonical_json(
        {
            "artifactType": artifact_type,
            "config": _descriptor(EMPTY_TYPE, EMPTY),
            "layers": [_descriptor(media_type, payload)],
            "mediaType": MANIFEST_TYPE,
            "schemaVersion": 2,
            "subject": _descriptor(MANIFEST_TYPE, layout.read_bytes(record.manifest_digest)),
        }
    )


def _descriptor(media_type: str, data: bytes) -> dict[str, t.Any]:
    return {"digest": "sha256:" + sha256_bytes(data), "mediaType": media_type, "size": len(data)}


def _has(layout: Layout, data: bytes) -> bool:
    return layout.has("sha256:" + sha256_bytes(data), len(data))


def _write_referrers(
    layout: Layout, record: BakeRecord, described: t.Sequence[dict[str, t.Any]]
) -> None:
    manifests = sorted(described, key=lambda item: str(item["artifactType"]))
    path = layout.referrers_path(record.manifest_digest)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    index = {"manifests": manifests, "mediaType": INDEX_TYPE, "schemaVersion": 2}
    write_atomic(path, canonical_json(index))


def _attachment(layout: Layout, described: t.Mapping[str, t.Any]) -> Attachment:
    manifest = layout.read_json(described["digest"])
    try:
        (document,) = manifest["layers"]
        return Attachment(
            artifact_type=manifest["artifactType"],
            media_type=document["mediaType"],
            manifest_digest=described["digest"],
            payload_digest=document["digest"],
            size=document["size"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"{layout.blob_path(described['digest'])}: not the manifest of an attachment: {error}"
        ) from error
