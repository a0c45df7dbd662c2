# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A docker-archive of an image in the layout, written by us; private, no stability promised."""

from __future__ import annotations

import io
import tarfile
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    CHUNK,
    canonical_json,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Layout
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord


def docker_archive(
    layout: Layout, record: BakeRecord, omit: t.Collection[str] = ()
) -> t.Iterator[bytes]:
    """Stream an image as C(docker load) wants it; layers the engine has may be left out."""
    config = layout.read_json(record.image_id)
    layers = [digest.partition(":")[2] for digest in config["rootfs"]["diff_ids"]]
    config_name = record.image_id.partition(":")[2] + ".json"
    manifest = [
        {
            "Config": config_name,
            "Layers": [f"{layer}/layer.tar" for layer in layers],
            "RepoTags": [record.tag],
        }
    ]
    yield from _archive_file(config_name, layout.blob_path(record.image_id), record.epoch)
    for layer in dict.fromkeys(layers):
        if "sha256:" + layer not in omit:
            path = layout.blob_path("sha256:" + layer)
            yield from _archive_file(f"{layer}/layer.tar", path, record.epoch)
    data = canonical_json(manifest)
    yield _archive_header("manifest.json", len(data), record.epoch)
    yield data + bytes(-len(data) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _archive_header(name: str, size: int, epoch: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, epoch, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _archive_file(name: str, path: str, epoch: int) -> t.Iterator[bytes]:
    with open(path, "rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        yield _archive_header(name, size, epoch)
        while chunk := stream.read(CHUNK):
            yield chunk
        yield bytes(-size % tarfile.BLOCKSIZE)
