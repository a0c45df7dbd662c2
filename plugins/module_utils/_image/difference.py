# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build changed in an image, as one layer; private, no stability promised.

The layer is computed from what there was before and what there is after, and from nothing between: not how many steps
it took, not which storage driver noted them. What looks as before is not in it, whatever was done to it on the way.
"""

from __future__ import annotations

import io
import tarfile
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import ImageContents
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    KEPT_XATTRS,
    MAX_REWRITTEN,
    HashingWriter,
    Layer,
    new_member,
    open_tar,
    parents_of,
    path_order,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import Node
from ansible_collections.immutable.cutover.plugins.module_utils._image.volatile import (
    is_volatile,
    pyc_source,
    settle,
)

_WHITEOUT = ".wh."
# Engines mount files of their own on these: what is below is an empty place for that.
_ENGINES = frozenset({"etc/hosts", "etc/hostname", "etc/resolv.conf"})


def write_difference(
    image: ImageContents,
    count: int,
    path: str,
    epoch: int,
    mountpoints: t.Collection[str] = (),
) -> Layer | None:
    """Write what an image has over its first layers, so many of them, as one layer; None if that is nothing."""
    difference = _Difference(image, count, mountpoints)
    if not difference.changed and not difference.gone:
        return None
    with open(path, "wb") as stream:
        writer = HashingWriter(stream)
        with open_tar(writer) as tar:
            for name in difference.names():
                difference.add(tar, name, epoch)
        return Layer(path, writer.digest.hexdigest(), writer.size)


class _Difference:
    """The paths that changed, the ones that are gone, and the folders on the way to both."""

    def __init__(self, image: ImageContents, count: int, mountpoints: t.Collection[str]) -> None:
        self.image, self.count = image, count
        self.before = ImageContents(image.name, image.config, image.layers[:count])
        self.changed = {
            path: node
            for path, node in image.nodes.items()
            if self._is_changed(path, node) and not self._is_mountpoint(path, mountpoints)
        }
        self.links = self._hard_links()
        self.gone = {self._whiteout(path) for path in self.before.nodes if self._is_gone(path)}
        above = {folder for path in (*self.changed, *self.gone) for folder in parents_of(path)}
        self.folders = above - self.changed.keys()

    def names(self) -> list[str]:
        """Return every entry of the layer in order."""
        return sorted({*self.changed, *self.gone, *self.folders}, key=path_order)

    def _is_changed(self, path: str, node: Node) -> bool:
        if node.layer < self.count or is_volatile(path) or path in _ENGINES:
            return False
        old = self.before.nodes.get(path)
        return old is None or not self._same(old, node)

    def _is_mountpoint(self, path: str, mountpoints: t.Collection[str]) -> bool:
        """Tell whether a folder is there only because something was mounted on it."""
        if path not in mountpoints or self.before.has(path):
            return False
        return not any(other.startswith(path + "/") for other in self.image.nodes)

    def _same(self, old: Node, new: Node) -> bool:
        if _look(old) != _look(new):
            return False
        return not new.is_file or self.image.sha256(old) == self.image.sha256(new)

    def _is_gone(self, path: str) -> bool:
        """Tell whether a path is to be hidden; what is below such a path, or below a file now, is hidden with it."""
        if self.image.has(path) or is_volatile(path):
            return False
        folder = path.rpartition("/")[0]
        node = self.image.nodes.get(folder)
        return (not folder or self.image.has(folder)) and (node is None or node.is_dir)

    @staticmethod
    def _whiteout(path: str) -> str:
        folder, slash, name = path.rpartition("/")
        return f"{folder}{slash}{_WHITEOUT}{name}"

    def _hard_links(self) -> dict[str, str]:
        """Return, for each name of a file with several, the first one; all are changed if one of them is."""
        groups: dict[int, list[str]] = {}
        for path, node in self.image.nodes.items():
            if node.layer >= self.count and node.is_file and not is_volatile(path):
                groups.setdefault(id(node.member), []).append(path)
        heads: dict[str, str] = {}
        for group in groups.values():
            if len(group) > 1 and any(path in self.changed for path in group):
                first = min(group, key=path_order)
                heads.update(dict.fromkeys(group, first))
                self.changed.update({path: self.image.nodes[path] for path in group})
        return heads

    def add(self, tar: tarfile.TarFile, name: str, epoch: int) -> None:
        """Write one entry."""
        if name in self.gone:
            tar.addfile(new_member(name, tarfile.REGTYPE, 0, 0, epoch))
        elif name in self.folders:
            self._add_folder(tar, name, self.image.nodes.get(name), epoch)
        else:
            node = self.changed[name]
            if node.is_dir:
                self._add_folder(tar, name, node, epoch)
            else:
                self._add_other(tar, name, node, epoch)

    @staticmethod
    def _add_folder(tar: tarfile.TarFile, name: str, node: Node | None, epoch: int) -> None:
        # The time of a folder says only when something in it came or went.
        member = new_member(name, tarfile.DIRTYPE, node.mode if node else 0o755, 0, epoch)
        if node is not None:
            member.uid, member.gid = node.member.uid, node.member.gid
        tar.addfile(member)

    def _add_other(self, tar: tarfile.TarFile, name: str, node: Node, epoch: int) -> None:
        old = node.member
        member = new_member(name, old.type, node.mode, 0, _clamped(node, epoch))
        member.uid, member.gid = old.uid, old.gid
        head = self.links.get(name, name)
        if head != name:
            member.type, member.linkname = tarfile.LNKTYPE, head
            tar.addfile(member)
        elif node.is_file:
            self._add_file(tar, member, node, epoch)
        else:
            member.linkname = old.linkname
            member.devmajor, member.devminor = old.devmajor, old.devminor
            tar.addfile(member)

    def _add_file(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, node: Node, epoch: int
    ) -> None:
        member.type, member.size = tarfile.REGTYPE, node.size
        member.pax_headers = _xattrs(node)
        if node.size > MAX_REWRITTEN:
            tar.addfile(member, self.image.layers[node.layer].tar.extractfile(node.member))
            return
        source = self.changed.get(pyc_source(node.path))
        time = None if source is None else _clamped(source, epoch)
        data = settle(member.name, self.image.data(node), epoch, time)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _look(node: Node) -> tuple[object, ...]:
    """Return everything about a path but its content and its time."""
    member = node.member
    device = (member.devmajor, member.devminor) if member.isdev() else ()
    kind = "file" if node.is_file else member.type
    return (kind, node.mode, member.uid, member.gid, node.link, node.size, device, _xattrs(node))


def _xattrs(node: Node) -> dict[str, str]:
    found = node.member.pax_headers
    return {key: found[key] for key in KEPT_XATTRS if key in found}


def _clamped(node: Node, epoch: int) -> int:
    return min(int(node.member.mtime), epoch)
