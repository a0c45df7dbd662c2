# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a layer is put on: where a path really leads there, and how its folders are; private, no stability promised.

Reading the headers of a base's layers takes a tenth of a second, half as long as an app takes: so what matters of them
is kept beside the blobs of a layout, by the digest of the layer.
"""

from __future__ import annotations

import functools
import json
import os
import tarfile
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.merged import MergedTree
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Blob, Layout
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import (
    Node,
    TarLayer,
    whole,
)

_FORMAT = 1


@dataclass(frozen=True)
class Folder:
    """Permissions and owner of a folder."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class Ground:
    """The merged layers below a layer."""

    def __init__(self, tree: MergedTree, name: str = "") -> None:
        self.tree, self.name = tree, name
        self._real: dict[str, str] = {"": ""}

    def place(self, path: str) -> str:
        """Return where a file of this path really is: a folder on the way may be a link."""
        folder, _slash, name = os.path.normpath(path).strip("/").rpartition("/")
        place = f"{self._folder(folder, path)}/{name}".lstrip("/")
        real = self.tree.real_path(place)
        if real is not None and self.tree.is_folder(real):
            raise self._refused(
                path, f"/{place} is a folder of the base, which no file may replace"
            )
        return place

    def folder(self, name: str) -> Folder:
        """Return how a folder is: as it is there already, or new."""
        node = self.tree.nodes.get(name)
        return Folder() if node is None else Folder(node.mode, node.member.uid, node.member.gid)

    def _folder(self, folder: str, path: str) -> str:
        if folder not in self._real:
            above, _slash, name = folder.rpartition("/")
            self._real[folder] = self._step(f"{self._folder(above, path)}/{name}".lstrip("/"), path)
        return self._real[folder]

    def _step(self, place: str, path: str) -> str:
        if not self.tree.has(place) or self.tree.is_folder(place):
            return place
        real = self.tree.real_path(place)
        if real is None or not self.tree.is_folder(real):
            kind = "link that leads to no folder" if self.tree.nodes[place].link else "file"
            raise self._refused(
                path, f"/{place} is a {kind} in the base, so nothing can be below it"
            )
        return real

    def _refused(self, path: str, why: str) -> CutoverError:
        prefix = f"{self.name}: " if self.name else ""
        return CutoverError(f"{prefix}{path} cannot be put into the image: {why}")


@dataclass(frozen=True)
class _Kept:
    """The entries of one layer, without what only a reader of content needs."""

    nodes: t.Mapping[str, Node]
    whiteouts: t.Collection[str]
    opaque: t.Collection[str]


def ground_of(layout: Layout, layers: t.Sequence[Blob], name: str, keep: bool = True) -> Ground:
    """Return what these layers are to one that is put on them; keep: note it for the next time."""
    return Ground(_merged(layout.root, tuple(layer.digest for layer in layers), keep), name)


@functools.lru_cache(maxsize=4)
def _merged(root: str, digests: tuple[str, ...], keep: bool) -> MergedTree:
    # Many apps that are baked in one call stand on one base.
    layout = Layout(root)
    return MergedTree(_entries(layout, digest, keep) for digest in digests)


def _entries(layout: Layout, digest: str, keep: bool) -> _Kept:
    path = os.path.join(layout.root, "trees", digest.partition(":")[2] + ".json")
    try:
        with open(path, "rb") as stream:
            return _kept(json.loads(stream.read()))
    except (OSError, ValueError, KeyError, TypeError):
        # Not there, of another format, or damaged: it is made anew from the layer itself.
        pass
    layer = TarLayer(whole(layout.blob_path(digest)), 0, digest)
    try:
        data = _described(layer)
    finally:
        layer.close()
    if keep:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomic(path, canonical_json(data))
    return _kept(data)


def _described(layer: TarLayer) -> dict[str, t.Any]:
    folders, links, files = {}, {}, []
    for path, node in layer.nodes.items():
        if node.is_dir:
            folders[path] = [node.mode, node.member.uid, node.member.gid]
        elif node.link:
            links[path] = node.link
        else:
            files.append(path)
    return {
        "files": files,
        "folders": folders,
        "format": _FORMAT,
        "links": links,
        "opaque": sorted(layer.opaque),
        "whiteouts": sorted(layer.whiteouts),
    }


def _kept(data: t.Mapping[str, t.Any]) -> _Kept:
    if data["format"] != _FORMAT:
        raise ValueError("another format")
    # Nobody asks a node here for its path, so all that look alike are one.
    nodes = dict.fromkeys(data["files"], Node("", tarfile.TarInfo(), 0))
    nodes |= {path: _link(target) for path, target in data["links"].items()}
    nodes |= {path: _folder(*look) for path, look in data["folders"].items()}
    return _Kept(nodes, data["whiteouts"], data["opaque"])


@functools.lru_cache(maxsize=64)
def _folder(mode: int, uid: int, gid: int) -> Node:
    member = tarfile.TarInfo()
    member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, uid, gid
    return Node("", member, 0)


def _link(target: str) -> Node:
    member = tarfile.TarInfo()
    member.type, member.linkname = tarfile.SYMTYPE, target
    return Node("", member, 0)
