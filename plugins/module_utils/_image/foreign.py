# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that somebody else built: saved archives, OCI layouts, an engine; private, no stability promised."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import tarfile
import tempfile
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import ImageContents
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import (
    MAX_ENTRIES,
    Region,
    TarLayer,
    clean_path,
    unpacked,
    whole,
)

_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_REF_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_DIGEST = re.compile(r"\Asha256:[0-9a-f]{64}\Z")
_JSON_LIMIT = 16 << 20
_MAX_LAYERS = 512
_MAX_NESTING = 3


@dataclass(frozen=True)
class ForeignImage:
    """A foreign image, open, with the tags it came with."""

    contents: ImageContents
    image_id: str
    tags: tuple[str, ...]


class Files(t.Protocol):
    """The files of an archive or a folder."""

    source: str

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""

    def open(self, name: str) -> Region:
        """Open a file."""


class FolderFiles:
    """The files below a folder; a link that leads out of it is refused."""

    def __init__(self, root: str) -> None:
        self.source = root
        self.root = os.path.realpath(root)

    def _path(self, name: str) -> str:
        path = os.path.realpath(os.path.join(self.root, clean_path(name, self.source)))
        if not path.startswith(self.root + os.sep):
            raise CutoverError(f"{self.source}: {name} leads out of the layout: refused")
        return path

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return os.path.isfile(self._path(name))

    def open(self, name: str) -> Region:
        """Open a file."""
        try:
            return whole(self._path(name))
        except OSError as error:
            raise CutoverError(f"{self.source}: {name}: {error.strerror}") from error


class TarFiles:
    """The files in a tar archive, read in place; links lead only to other entries."""

    def __init__(self, region: Region, source: str) -> None:
        self.source, self.region = source, region
        self.members: dict[str, tarfile.TarInfo] = {}
        region.seek(0)
        try:
            with tarfile.open(fileobj=t.cast(t.BinaryIO, region), mode="r:") as tar:
                for count, member in enumerate(tar):
                    if count >= MAX_ENTRIES:
                        raise CutoverError(f"{source}: more than {MAX_ENTRIES} entries: refused")
                    self.members[clean_path(member.name, source)] = member
        except (tarfile.TarError, EOFError) as error:
            raise CutoverError(f"{source}: not a tar archive: {error}") from error

    def _member(self, name: str) -> tarfile.TarInfo | None:
        # Old engines save a layer that is there twice as a link to the first.
        for _hop in range(8):
            member = self.members.get(clean_path(name, self.source))
            if member is None or not (member.issym() or member.islnk()):
                return (
                    member if member is not None and member.type in tarfile.REGULAR_TYPES else None
                )
            folder = posixpath.dirname(name) if member.issym() else ""
            name = posixpath.normpath(posixpath.join(folder, member.linkname))
        return None

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return self._member(name) is not None

    def open(self, name: str) -> Region:
        """Open a file."""
        member = self._member(name)
        if member is None or member.issparse():
            raise CutoverError(f"{self.source}: {name} is missing")
        offset = self.region.offset + member.offset_data
        # A descriptor of its own: closing one layer must not close the archive.
        stream = os.fdopen(os.dup(self.region.stream.fileno()), "rb")
        return Region(stream, offset, min(member.size, self.region.size - member.offset_data))


@contextlib.contextmanager
def open_archive(path: str) -> t.Iterator[list[ForeignImage]]:
    """Open every image of an archive that C(docker save) or another tool wrote, compressed or not."""
    try:
        packed = whole(path)
    except OSError as error:
        raise InvalidInput("images.archive", path, f"cannot be read: {error.strerror}") from error
    with _archive(packed, path) as images:
        yield images


@contextlib.contextmanager
def _archive(packed: Region, source: str) -> t.Iterator[list[ForeignImage]]:
    with contextlib.ExitStack() as stack:
        stack.callback(packed.stream.close)
        region = unpacked(packed, source)
        stack.callback(region.stream.close)
        with _images(TarFiles(region, source)) as images:
            yield images


@contextlib.contextmanager
def open_layout(path: str) -> t.Iterator[list[ForeignImage]]:
    """Open every image of an OCI layout, a folder or a tar archive of one."""
    if not os.path.isdir(path):
        with open_archive(path) as images:
            yield images
        return
    with _images(FolderFiles(path)) as images:
        yield images


@contextlib.contextmanager
def open_engine(
    save: t.Callable[[str], t.Iterator[bytes]], reference: str
) -> t.Iterator[list[ForeignImage]]:
    """Open an image of an engine; what the engine sends goes into a nameless file."""
    with tempfile.TemporaryFile() as stream:
        for chunk in save(reference):
            stream.write(chunk)
        stream.flush()
        copied = os.fdopen(os.dup(stream.fileno()), "rb")
        size = os.fstat(stream.fileno()).st_size
        with _archive(Region(copied, 0, size), reference) as images:
            yield images


@contextlib.contextmanager
def _images(files: Files) -> t.Iterator[list[ForeignImage]]:
    with contextlib.ExitStack() as stack:
        found: list[ForeignImage] = []
        for described in _described(files):
            found.append(_open(files, described, stack))
        if not found:
            raise CutoverError(f"{files.source}: holds no image")
        yield found


@dataclass(frozen=True)
class _Described:
    """Where the parts of one image are, as an archive describes it."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]
    image_id: str = ""


def _described(files: Files) -> t.Iterator[_Described]:
    if files.has("manifest.json"):
        for item in _json(files, "manifest.json", list):
            yield _saved(files, item)
    elif files.has("index.json"):
        yield from _indexed(files, _json(files, "index.json", dict), (), 0)
    else:
        raise CutoverError(
            f"{files.source}: neither manifest.json nor index.json in it: not a saved image"
        )


def _saved(files: Files, item: t.Any) -> _Described:
    try:
        tags = tuple(str(tag) for tag in item["RepoTags"] or ())
        return _Described(str(item["Config"]), tuple(map(str, item["Layers"])), tags)
    except (KeyError, TypeError) as error:
        raise CutoverError(f"{files.source}: manifest.json: incomplete: {error}") from error


def _indexed(
    files: Files, index: t.Mapping[str, t.Any], tags: tuple[str, ...], depth: int
) -> t.Iterator[_Described]:
    if depth > _MAX_NESTING:
        raise CutoverError(f"{files.source}: an index in an index in an index: refused")
    for item in index.get("manifests") or []:
        notes = item.get("annotations") or {}
        named = tuple(notes[key] for key in _REF_NAMES if key in notes)[:1] or tags
        if (item.get("platform") or {}).get("os") == "unknown":
            # Attestations that some builders put beside an image.
            continue
        content = _blob(files, item.get("digest"))
        if item.get("mediaType") in _INDEX_TYPES or "manifests" in content:
            yield from _indexed(files, content, named, depth + 1)
        else:
            yield _manifest(files, content, named)


def _manifest(files: Files, content: t.Mapping[str, t.Any], tags: tuple[str, ...]) -> _Described:
    try:
        config = content["config"]["digest"]
        layers = [layer["digest"] for layer in content["layers"]]
    except (KeyError, TypeError) as error:
        raise CutoverError(f"{files.source}: incomplete manifest: {error}") from error
    paths = tuple(_blob_path(files, digest) for digest in layers)
    return _Described(_blob_path(files, config), paths, tags, config)


def _open(files: Files, described: _Described, stack: contextlib.ExitStack) -> ForeignImage:
    data = _bytes(files, described.config)
    image_id = "sha256:" + sha256_bytes(data)
    if described.image_id not in ("", image_id):
        raise CutoverError(f"{files.source}: {described.config} is not what its name says")
    name = (described.tags or (image_id,))[0]
    if len(described.layers) > _MAX_LAYERS:
        raise CutoverError(f"{files.source}: {name} has more than {_MAX_LAYERS} layers: refused")
    layers = []
    for number, path in enumerate(described.layers):
        label = f"{name}: layer {number + 1}"
        packed = files.open(path)
        stack.callback(packed.stream.close)
        layer = TarLayer(unpacked(packed, label), number, label)
        stack.callback(layer.close)
        layers.append(layer)
    contents = ImageContents(
        name, _parse(data, f"{files.source}: {described.config}", dict), layers
    )
    contents.verify()
    return ForeignImage(contents, image_id, described.tags)


def _blob_path(files: Files, digest: object) -> str:
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise CutoverError(f"{files.source}: bad digest in a manifest: {str(digest)[:80]!r}")
    return "blobs/sha256/" + digest.partition(":")[2]


def _blob(files: Files, digest: object) -> dict[str, t.Any]:
    path = _blob_path(files, digest)
    data = _bytes(files, path)
    if "sha256:" + sha256_bytes(data) != digest:
        raise CutoverError(f"{files.source}: {path} is not what its name says")
    return t.cast("dict[str, t.Any]", _parse(data, f"{files.source}: {path}", dict))


def _bytes(files: Files, name: str) -> bytes:
    region = files.open(name)
    try:
        if region.size > _JSON_LIMIT:
            raise CutoverError(f"{files.source}: {name} is too large for a description: refused")
        return region.read(region.size) or b""
    finally:
        region.stream.close()


def _json(files: Files, name: str, kind: type) -> t.Any:
    return _parse(_bytes(files, name), f"{files.source}: {name}", kind)


def _parse(data: bytes, where: str, kind: type) -> t.Any:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CutoverError(f"{where}: not JSON: {error}") from error
    if not isinstance(value, kind):
        raise CutoverError(f"{where}: must be a {'list' if kind is list else 'mapping'}")
    return value
