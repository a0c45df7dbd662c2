# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking into the layers of an image without unpacking them; private, no stability promised.

Nothing is ever extracted: an entry of a hostile layer can therefore lead nowhere, and what is
bounded here is only how much memory and time it may cost.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
import typing as t
import zlib
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import CHUNK

MAX_ENTRIES = 500_000
MAX_PATH = 4096
MAX_LAYER = 16 << 30
# Real layers compress ten times at most; a bomb does it a thousand times.
MAX_RATIO = 200
_RATIO_FROM = 64 << 20
_BUFFER = 1 << 16
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_CAPABILITY = "SCHILY.xattr.security.capability"
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class Region(io.RawIOBase):
    """A part of an open file as a file of its own; readers do not disturb each other."""

    def __init__(self, stream: t.IO[bytes], offset: int, size: int) -> None:
        super().__init__()
        self.stream, self.offset, self.size = stream, offset, size
        self.position = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the region."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = max(0, start + offset)
        return self.position

    def tell(self) -> int:
        """Return the position."""
        return self.position

    def readinto(self, buffer: t.Any) -> int:
        """Fill the buffer from the region."""
        wanted = max(0, min(len(buffer), self.size - self.position))
        data = os.pread(self.stream.fileno(), wanted, self.offset + self.position)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)


def whole(path: str) -> Region:
    """Open a file as a region."""
    stream = open(path, "rb")  # noqa: SIM115 - the region keeps it open
    return Region(stream, 0, os.fstat(stream.fileno()).st_size)


def unpacked(region: Region, name: str) -> Region:
    """Return the region itself, or what is in it if it is compressed by gzip."""
    region.seek(0)
    magic = region.read(4) or b""
    region.seek(0)
    if magic == _ZSTD:
        raise CutoverError(f"{name}: compressed by zstd, which is not supported; use gzip or none")
    if magic[:2] != _GZIP:
        return region
    # Nameless, so it is gone with the process however that ends.
    stream = tempfile.TemporaryFile()  # noqa: SIM115 - the region keeps it open
    size = 0
    try:
        for data in _gunzip(region):
            size += len(data)
            _refuse_bomb(size, region.size, name)
            stream.write(data)
    except zlib.error as error:
        raise CutoverError(f"{name}: damaged gzip data: {error}") from error
    stream.flush()
    return Region(stream, 0, size)


def _refuse_bomb(size: int, packed: int, name: str) -> None:
    too_dense = size > _RATIO_FROM and size > MAX_RATIO * packed
    if size > MAX_LAYER or too_dense:
        raise CutoverError(f"{name}: {packed} bytes unpack to {size} or more: refused")


def _gunzip(region: Region) -> t.Iterator[bytes]:
    """Yield bounded pieces: one read of a bomb must not become one huge string."""
    decoder = None
    while chunk := region.read(CHUNK):
        while chunk:
            # A gzip file may be several streams, one behind the other.
            decoder = decoder or zlib.decompressobj(31)
            yield decoder.decompress(chunk, CHUNK)
            chunk = decoder.unconsumed_tail
            if decoder.eof:
                chunk, decoder = decoder.unused_data, None
    if decoder is not None:
        raise zlib.error("ends too early")


@dataclass(frozen=True)
class Node:
    """One path of a layer. A hard link carries the mode, the owner and the content of what it links to."""

    path: str
    member: tarfile.TarInfo
    layer: int

    @property
    def is_file(self) -> bool:
        """Tell whether it has content."""
        return self.member.isreg()

    @property
    def is_dir(self) -> bool:
        """Tell whether it is a folder."""
        return self.member.isdir()

    @property
    def link(self) -> str:
        """Return where a symbolic link leads; empty for anything else."""
        return self.member.linkname if self.member.issym() else ""

    @property
    def mode(self) -> int:
        """Return the permission bits with setuid, setgid and sticky."""
        return self.member.mode & 0o7777

    @property
    def size(self) -> int:
        """Return the size of the content."""
        return self.member.size if self.is_file else 0

    @property
    def capability(self) -> bool:
        """Tell whether the file gives whoever starts it a capability."""
        return bool(self.member.pax_headers.get(_CAPABILITY))


class TarLayer:
    """The entries of one uncompressed layer."""

    def __init__(self, region: Region, number: int, name: str) -> None:
        self.region, self.number, self.name = region, number, name
        self.nodes: dict[str, Node] = {}
        self.whiteouts: set[str] = set()
        self.opaque: set[str] = set()
        self._digest = ""
        region.seek(0)
        try:
            self.tar = tarfile.open(  # noqa: SIM115 - read as long as the layer is looked at
                fileobj=io.BufferedReader(region, _BUFFER), mode="r:", encoding="utf-8"
            )
            self._index()
        except (tarfile.TarError, EOFError) as error:
            raise CutoverError(f"{name}: not a tar archive: {error}") from error

    @property
    def size(self) -> int:
        """Return the bytes of the layer, uncompressed."""
        return self.region.size

    @property
    def digest(self) -> str:
        """Return what an image configuration calls the layer."""
        if not self._digest:
            digest = hashlib.sha256()
            self.region.seek(0)
            while chunk := self.region.read(CHUNK):
                digest.update(chunk)
            self._digest = "sha256:" + digest.hexdigest()
        return self._digest

    def _index(self) -> None:
        links: list[tuple[str, tarfile.TarInfo]] = []
        content = 0
        for count, member in enumerate(self.tar):
            if count >= MAX_ENTRIES:
                raise CutoverError(f"{self.name}: more than {MAX_ENTRIES} entries: refused")
            # A sparse file may say it is larger than the whole archive.
            content += member.size
            _refuse_bomb(content, self.region.size, self.name)
            path = clean_path(member.name, self.name)
            folder, _slash, last = path.rpartition("/")
            if last == _OPAQUE:
                self.opaque.add(folder)
            elif last.startswith(_WHITEOUT):
                self.whiteouts.add(f"{folder}/{last[len(_WHITEOUT) :]}".strip("/"))
            elif member.islnk():
                links.append((path, member))
            elif path:
                self.nodes[path] = Node(path, member, self.number)
        for path, member in links:
            self._add_link(path, clean_path(member.linkname, self.name))

    def _add_link(self, path: str, target: str) -> None:
        # Every engine writes a hard link behind what it links to, and both into one layer.
        found = self.nodes.get(target)
        if found is None:
            raise CutoverError(f"{self.name}: hard link {path} to nothing: {target}")
        self.nodes[path] = Node(path, found.member, self.number)

    def chunks(self, node: Node) -> t.Iterator[bytes]:
        """Yield the content of a file piece by piece."""
        content = self.tar.extractfile(node.member)
        while content is not None and (chunk := content.read(CHUNK)):
            yield chunk

    def data(self, node: Node, limit: int) -> bytes:
        """Return the content of a file, at most this much of it."""
        content = self.tar.extractfile(node.member) if node.is_file else None
        return content.read(limit) if content is not None else b""

    def close(self) -> None:
        """Close what was opened for the layer."""
        self.tar.close()
        self.region.stream.close()


def clean_path(name: str, where: str) -> str:
    """Return a path without ./ and without the leading slash, as every engine reads it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise CutoverError(f"{where}: {name[:200]!r} leads out of the image: refused")
    if len(name) > MAX_PATH or "\0" in name:
        raise CutoverError(f"{where}: {name[:80]!r}... is no path: refused")
    return "/".join(parts)
