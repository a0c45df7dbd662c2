# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""in-toto statements about an image; private, no stability promised.

A host that only verifies needs this, so it imports nothing of the bake.
"""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

STATEMENT = "https://in-toto.io/Statement/v1"
IMAGE_ID = "immutable.cutover.image-id"


def statement(record: BakeRecord, predicate_type: str, predicate: t.Mapping[str, t.Any]) -> bytes:
    """Return an in-toto statement about an image, by its manifest digest and its image ID."""
    return canonical_json(
        {
            "_type": STATEMENT,
            "predicate": predicate,
            "predicateType": predicate_type,
            "subject": [
                {
                    "annotations": {IMAGE_ID: record.image_id},
                    "digest": {"sha256": record.manifest_digest.partition(":")[2]},
                    "name": record.name,
                }
            ],
        }
    )
