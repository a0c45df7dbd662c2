# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers as gzip, the same bytes every time, and back; private, no stability promised."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
import zlib

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    CHUNK,
    canonical_json,
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Blob, Layout

GZIP_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL = 6
# zlib's own gzip header has no name and no time.
_GZIP = zlib.MAX_WBITS | 16
_RECIPE = f"zlib {zlib.ZLIB_RUNTIME_VERSION} level {_LEVEL}"
# A layer of text shrinks to a tenth; what unpacks to more than this was made to fill a disk.
_LARGEST_RATIO = 200
_FREE_SIZE = 64 << 20


def gzipped(path: str) -> t.Iterator[bytes]:
    """Return a file compressed; the bytes depend on nothing but its content and the zlib that is loaded."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            yield packer.compress(chunk)
    yield packer.flush()


def gunzipped(chunks: t.Iterable[bytes], what: str) -> t.Iterator[bytes]:
    """Return the content of a gzip stream of one or more members, in pieces of bounded size."""
    unpacker = zlib.decompressobj(_GZIP)
    read = written = 0
    try:
        for chunk in chunks:
            read += len(chunk)
            while chunk:
                if unpacker.eof:
                    unpacker = zlib.decompressobj(_GZIP)
                piece = unpacker.decompress(chunk, CHUNK)
                chunk = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                written += len(piece)
                if written > _FREE_SIZE and written > _LARGEST_RATIO * read:
                    raise StateError(f"{what}: unpacks to over {_LARGEST_RATIO} times its size")
                yield piece
        if not unpacker.eof:
            yield unpacker.flush()
    except zlib.error as error:
        raise StateError(f"{what}: is not gzip: {error}") from error
    if not unpacker.eof:
        raise StateError(f"{what}: ends within its gzip stream")


class CompressedLayers:
    """What layers of a layout are when compressed; compressing is slow, so what came out is noted beside the layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = os.path.join(layout.root, "compressed")

    def describe(self, layer: Blob) -> Blob:
        """Return digest and size of a layer once compressed, compressing it if that was never done."""
        path = os.path.join(self._folder, layer.digest.partition(":")[2] + ".json")
        known = self._noted(path)
        if known is not None:
            return known
        digest, size = hashlib.sha256(), 0
        for chunk in gzipped(self._layout.blob_path(layer.digest)):
            digest.update(chunk)
            size += len(chunk)
        made = Blob("sha256:" + digest.hexdigest(), size)
        os.makedirs(self._folder, exist_ok=True)
        note = {"digest": made.digest, "size": made.size, "with": _RECIPE}
        write_atomic(path, canonical_json(note))
        return made

    def _noted(self, path: str) -> Blob | None:
        try:
            with open(path, "rb") as stream:
                note = json.loads(stream.read())
            # Another zlib may give other bytes.
            return Blob(note["digest"], note["size"]) if note["with"] == _RECIPE else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
