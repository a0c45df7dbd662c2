# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of a load over the connection: look, load an archive, note it; private, no stability promised."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._argspec import HOST_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import DEFAULT_OUTPUT
from ansible_collections.immutable.cutover.plugins.module_utils._image.pull_front import (
    IMAGES_SPEC,
    engine_images,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    find_host_record,
    write_host_record,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import (
    read_host_signature,
    write_host_signature,
)

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
        EngineImages,
    )

Params = t.Mapping[str, t.Any]
TURN_SPEC: dict[str, t.Any] = {
    "records": {"type": "list", "elements": "dict", "default": []},
    "signatures": {"type": "list", "elements": "str", "default": []},
    "archive": {"type": "path", "default": ""},
    "whole": {"type": "bool", "default": False},
    "look": {"type": "bool", "default": True},
}
LOAD_SPEC: dict[str, t.Any] = {
    **HOST_SPEC,
    **IMAGES_SPEC,
    "output": {"type": "path", "default": DEFAULT_OUTPUT},
    "turn": {"type": "dict", "options": TURN_SPEC, "default": {}},
}


def load_turn(params: Params) -> dict[str, t.Any]:
    """Do one call of the action plugin: look at every image, or take one."""
    turn = params["turn"]
    records = [BakeRecord.from_mapping(item, "turn.records") for item in turn["records"] or []]
    signatures = [text.encode() for text in turn["signatures"] or []]
    if not records or len(signatures) != len(records):
        raise InvalidInput("turn", None, "is filled in by the action plugin, which must be used")
    host = _Host(params["state_dir"], engine_images(params))
    pairs = list(zip(records, signatures, strict=True))
    if turn["look"]:
        return {"changed": False, "found": [host.look(*pair) for pair in pairs]}
    return host.take(*pairs[0], turn["archive"], turn["whole"])


class _Host:
    """The engine and the records of this host."""

    def __init__(self, state_dir: str, engine: EngineImages) -> None:
        self.state_dir = state_dir
        self.engine = engine

    def look(self, record: BakeRecord, signature: bytes) -> dict[str, t.Any]:
        """Return what this host has of an image."""
        loaded = self.engine.has(record.image_id)
        digests = [layer.digest for layer in record.layers]
        return {
            "loaded": loaded,
            "recorded": self._recorded(record, signature),
            "layers": [] if loaded else sorted(self.engine.shared_layers(digests)),
        }

    def take(
        self, record: BakeRecord, signature: bytes, archive: str, whole: bool
    ) -> dict[str, t.Any]:
        """Load an archive if one was sent, and note the image; a thin archive may be refused."""
        try:
            refused = bool(archive) and not self._load(record, archive, whole)
        finally:
            if archive:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(archive)
        if not refused:
            if not self.engine.has(record.image_id):
                raise CutoverError(f"{record.tag}: the image went away from the engine meanwhile")
            write_host_record(self.state_dir, record)
            if signature:
                write_host_signature(self.state_dir, record.image_id, signature)
        return {"changed": not refused, "refused": refused}

    def _load(self, record: BakeRecord, archive: str, whole: bool) -> bool:
        layers = {layer.digest: layer.size for layer in record.layers}
        self.engine.require_room(record, layers, self.engine.shared_layers(list(layers)))
        with open(archive, "rb") as stream:
            return self.engine.load_archive(stream, record, must=whole)

    def _recorded(self, record: BakeRecord, signature: bytes) -> bool:
        found = find_host_record(self.state_dir, record.image_id)
        if found is None or not set(record.digests) <= set(found.digests):
            return False
        # Where it was baked or pulled into is not known to another host.
        here = replace(found, layout="", archive="", compressed_digests=record.compressed_digests)
        if here != replace(record, layout="", archive=""):
            return False
        return not signature or read_host_signature(self.state_dir, record.image_id) == signature
