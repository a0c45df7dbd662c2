# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What refers to an image, on its way from a registry; private, no stability promised."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import (
    Descriptor,
    Registry,
)

_LARGEST = 32 << 20


@dataclass(frozen=True)
class PulledReferrer:
    """One document that refers to an image; its content is what its digest says, nothing more is promised."""

    artifact_type: str
    media_type: str
    payload: bytes


def pull_referrers(
    registry: Registry, repository: str, record: BakeRecord, types: t.Collection[str] = ()
) -> list[PulledReferrer]:
    """Return the documents that refer to an image, one of each type; only these types if any are named.

    Of several of one type the largest is taken: who signs again keeps the signatures that were there.
    """
    found: dict[str, PulledReferrer] = {}
    for described in registry.referrers(repository, record.manifest_digest):
        if types and described.get("artifactType", "") not in (*types, ""):
            continue
        pulled = _pull(registry, repository, record, described)
        if pulled is None or (types and pulled.artifact_type not in types):
            continue
        known = found.get(pulled.artifact_type)
        if known is None or _weight(pulled) > _weight(known):
            found[pulled.artifact_type] = pulled
    return [found[kind] for kind in sorted(found)]


def _weight(referrer: PulledReferrer) -> tuple[int, bytes]:
    return len(referrer.payload), referrer.payload


def _pull(
    registry: Registry, repository: str, record: BakeRecord, described: Descriptor
) -> PulledReferrer | None:
    """Read one; what is no single document about this image is somebody else's and left alone."""
    digest = described["digest"]
    data = registry.get_manifest(repository, digest)
    try:
        manifest = json.loads(data)
        (document,) = manifest["layers"]
        kind, media, size = manifest["artifactType"], document["mediaType"], document["size"]
        ours = manifest["subject"]["digest"] == record.manifest_digest
    except (ValueError, KeyError, TypeError):
        return None
    if not ours or not all(isinstance(text, str) for text in (kind, media, document["digest"])):
        return None
    if not isinstance(size, int) or size > _LARGEST:
        raise CutoverError(f"{digest} refers to {record.tag} and has more than {_LARGEST} bytes")
    payload = b"".join(registry.get_blob(repository, document["digest"], size))
    return PulledReferrer(kind, media, payload)
