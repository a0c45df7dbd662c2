# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one layer writer behind every backend; private, no stability promised.

A layer is an uncompressed tar whose bytes depend on nothing but its content: entries sorted by
path, ids as numbers, no names of owners, no time later than the epoch, volatile files left out.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import (
    changed_meanwhile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.ground import Ground
from ansible_collections.immutable.cutover.plugins.module_utils._image.merged import MergedTree
from ansible_collections.immutable.cutover.plugins.module_utils._image.volatile import (
    is_volatile,
    pyc_source,
    settle,
)

KEPT_XATTRS = ("SCHILY.xattr.security.capability",)
MAX_REWRITTEN = 1 << 22


@dataclass(frozen=True)
class Entry:
    """A file to be put into a layer: absolute path, mode, and its bytes, or where they are and their hash."""

    path: str
    mode: int
    data: bytes = b""
    source: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Layer:
    """A written layer."""

    path: str
    sha256: str
    size: int


class HashingWriter(io.RawIOBase):
    """A file that knows the sha256 of what went through it."""

    def __init__(self, stream: t.BinaryIO) -> None:
        super().__init__()
        self.stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Return true: tarfile asks."""
        return True

    def tell(self) -> int:
        """Return how much was written."""
        return self.size

    def write(self, data: t.Any) -> int:
        """Write, hash and count."""
        self.digest.update(data)
        self.stream.write(data)
        self.size += len(data)
        return len(data)


class _HashingReader(io.RawIOBase):
    """A file that knows the sha256 of what was read of it."""

    def __init__(self, stream: t.BinaryIO) -> None:
        super().__init__()
        self.stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Read and hash."""
        data = self.stream.read(size)
        self.digest.update(data)
        return data


def write_entries(
    entries: t.Iterable[Entry], path: str, epoch: int, ground: Ground | None = None
) -> Layer:
    """Write files owned by root as a layer, each where it really is on what the layer is put on.

    The folders above them stay as they are there; new ones are root's.
    """
    ground = ground or Ground(MergedTree(()))
    by_path = _by_place(entries, ground)
    folders = {parent for name in by_path for parent in parents_of(name)}
    with open(path, "wb") as stream:
        writer = HashingWriter(stream)
        with open_tar(writer) as tar:
            for name in sorted([*by_path, *folders], key=path_order):
                if name in folders:
                    tar.addfile(_folder(name, ground, epoch))
                else:
                    _add_entry(tar, name, by_path[name], epoch)
        return Layer(path, writer.digest.hexdigest(), writer.size)


def _by_place(entries: t.Iterable[Entry], ground: Ground) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        place = ground.place(entry.path)
        if place in found:
            raise CutoverError(f"{found[place].path} and {entry.path} are one file: /{place}")
        found[place] = entry
    for place, entry in found.items():
        for parent in parents_of(place):
            if parent in found:
                raise CutoverError(f"{entry.path} is below a file: {found[parent].path}")
    return found


def _folder(name: str, ground: Ground, epoch: int) -> tarfile.TarInfo:
    # The time of a folder says only when something in it came or went.
    folder = ground.folder(name)
    member = new_member(name, tarfile.DIRTYPE, folder.mode, 0, epoch)
    member.uid, member.gid = folder.uid, folder.gid
    return member


def open_tar(writer: HashingWriter) -> tarfile.TarFile:
    """Return an archive to write a layer into."""
    return tarfile.open(
        fileobj=t.cast(t.BinaryIO, writer), mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8"
    )


def parents_of(name: str) -> t.Iterator[str]:
    """Yield the folders above a path, the nearest first."""
    while name := os.path.dirname(name):
        yield name


def path_order(name: str) -> list[str]:
    """Return what the entries of a layer are sorted by."""
    return name.split("/")


def new_member(name: str, kind: bytes, mode: int, size: int, mtime: int) -> tarfile.TarInfo:
    """Return an entry owned by root."""
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.mtime = kind, mode, size, mtime
    return member


def _add_entry(tar: tarfile.TarFile, name: str, entry: Entry, epoch: int) -> None:
    if not entry.source:
        member = new_member(name, tarfile.REGTYPE, entry.mode, len(entry.data), epoch)
        tar.addfile(member, io.BytesIO(entry.data))
        return
    with open(entry.source, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        content = _HashingReader(stream)
        try:
            tar.addfile(new_member(name, tarfile.REGTYPE, entry.mode, size, epoch), content)
        except OSError as error:
            # There is less of it than there was.
            raise changed_meanwhile(entry.source) from error
    if content.digest.hexdigest() != entry.sha256:
        raise changed_meanwhile(entry.source)


def normalise(source: str, path: str, epoch: int) -> Layer:
    """Rewrite a root file system's tar as a layer; the same content gives the same bytes."""
    with tarfile.open(source, "r:", encoding="utf-8") as archive, open(path, "wb") as stream:
        kept = {name: m for m in archive if (name := _clean(m.name)) and not is_volatile(name)}
        content = _link_heads(kept)
        writer = HashingWriter(stream)
        with open_tar(writer) as tar:
            for name in sorted(kept, key=path_order):
                _add_member(archive, tar, name, kept, content, epoch)
        return Layer(path, writer.digest.hexdigest(), writer.size)


def _clean(name: str) -> str:
    name = os.path.normpath(name).lstrip("/")
    return "" if name == "." else name


def _link_heads(kept: t.Mapping[str, tarfile.TarInfo]) -> dict[str, str]:
    """Return, for each hard-linked name, the name that carries the content: the first in order."""
    groups: dict[str, list[str]] = {}
    for name, member in kept.items():
        if member.islnk():
            groups.setdefault(_clean(member.linkname), []).append(name)
    heads: dict[str, str] = {}
    for target, names in groups.items():
        every = sorted([*names, target] if target in kept else names, key=path_order)
        heads.update({name: every[0] for name in every})
    return heads


def _add_member(
    archive: tarfile.TarFile,
    tar: tarfile.TarFile,
    name: str,
    kept: t.Mapping[str, tarfile.TarInfo],
    heads: t.Mapping[str, str],
    epoch: int,
) -> None:
    old = kept[name]
    head = heads.get(name, name)
    if head != name:
        member = new_member(name, tarfile.LNKTYPE, old.mode, 0, _clamp(old, epoch))
        member.linkname = head
        tar.addfile(_owned(member, old))
        return
    member = new_member(name, old.type, old.mode, old.size, _clamp(old, epoch))
    if not old.isreg() and not old.islnk():
        member.linkname = old.linkname
        member.devmajor, member.devminor = old.devmajor, old.devminor
        member.size = 0
        tar.addfile(_owned(member, old))
        return
    content = archive.extractfile(old)
    if content is None:
        raise ValueError(f"{name}: hard link to nothing")
    source = archive.getmember(old.linkname) if old.islnk() else old
    member.type, member.size = tarfile.REGTYPE, source.size
    member.pax_headers = {k: v for k, v in source.pax_headers.items() if k in KEPT_XATTRS}
    if source.size > MAX_REWRITTEN:
        tar.addfile(_owned(member, old), content)
        return
    settled = settle(name, content.read(), epoch, _source_time(name, kept, epoch))
    member.size = len(settled)
    tar.addfile(_owned(member, old), io.BytesIO(settled))


def _owned(member: tarfile.TarInfo, old: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid, member.gid = old.uid, old.gid
    return member


def _clamp(member: tarfile.TarInfo, epoch: int) -> int:
    return min(int(member.mtime), epoch)


def _source_time(name: str, kept: t.Mapping[str, tarfile.TarInfo], epoch: int) -> int | None:
    source = kept.get(pyc_source(name))
    return None if source is None else _clamp(source, epoch)
