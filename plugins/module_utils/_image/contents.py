# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image as one root file system, read only, over its layers; private, no stability promised."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import posixpath
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.merged import MergedTree
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Layout
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import (
    Node,
    TarLayer,
    whole,
)

try:
    from debian.deb822 import Deb822
except ImportError as error:
    DEBIAN_ERROR: ImportError | None = error
else:
    DEBIAN_ERROR = None

READ_LIMIT = 64 << 20
_INFO = "var/lib/dpkg/info/"
_MD5 = re.compile(r"\A([0-9a-f]{32})\s+\.?/?(.+)\Z")


@dataclass(frozen=True)
class InstalledDeb:
    """A Debian package as the image's own database describes it."""

    name: str
    version: str
    arch: str
    conffiles: str = ""


@dataclass(frozen=True)
class InstalledPython:
    """A Python distribution by its .dist-info folder."""

    name: str
    version: str
    folder: str


class ImageContents(MergedTree):
    """The configuration of an image and what a process in it would see."""

    def __init__(
        self, name: str, config: t.Mapping[str, t.Any], layers: t.Sequence[TarLayer]
    ) -> None:
        self.name, self.config, self.layers = name, config, tuple(layers)
        super().__init__(self.layers)
        self._real_folders: dict[str, str | None] = {}

    @property
    def run_config(self) -> t.Mapping[str, t.Any]:
        """Return the part of the configuration that says how a container starts."""
        return self.config.get("config") or {}

    @property
    def env(self) -> dict[str, str]:
        """Return the environment every container of the image has."""
        items = [str(item).partition("=") for item in self.run_config.get("Env") or []]
        return {name: value for name, _equals, value in items}

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels."""
        return dict(self.run_config.get("Labels") or {})

    @property
    def history(self) -> list[str]:
        """Return the commands the image says it was made by, oldest first."""
        return [str(item.get("created_by") or "") for item in self.config.get("history") or []]

    @property
    def diff_ids(self) -> list[str]:
        """Return the digests of the layers as the configuration names them."""
        return list((self.config.get("rootfs") or {}).get("diff_ids") or [])

    @property
    def size(self) -> int:
        """Return the size of all layers, uncompressed."""
        return sum(layer.size for layer in self.layers)

    def verify(self) -> None:
        """Make sure the layers are what the configuration names: what is checked is what would run."""
        found = [layer.digest for layer in self.layers]
        if found != self.diff_ids:
            raise CutoverError(
                f"{self.name}: the layers are not those the configuration names",
                expected=self.diff_ids,
                found=found,
            )

    def read(self, path: str, limit: int = READ_LIMIT) -> bytes | None:
        """Return the content of a file, links followed; None if there is none."""
        node = self.find(path)
        return self.data(node, limit) if node is not None and node.is_file else None

    def data(self, node: Node, limit: int = READ_LIMIT) -> bytes:
        """Return the content of a file of any layer."""
        return self.layers[node.layer].data(node, limit)

    def sha256(self, node: Node) -> str:
        """Return the hash of a file's content."""
        digest = hashlib.sha256()
        for chunk in self.layers[node.layer].chunks(node):
            digest.update(chunk)
        return digest.hexdigest()

    def files_below(self, folder: str) -> list[Node]:
        """Return the files of the merged view below a folder, in order; the folder may be a link."""
        real = self.real_path(folder)
        if not real:
            return []
        prefix = real + "/"
        return [self.nodes[path] for path in sorted(self.nodes) if path.startswith(prefix)]

    def installed_debs(self) -> list[InstalledDeb]:
        """Return the packages dpkg has installed, and those a distroless image names in status.d."""
        texts = [self.read("var/lib/dpkg/status") or b""]
        texts += [
            self.data(node)
            for node in self.files_below("var/lib/dpkg/status.d")
            if node.is_file and not node.path.endswith(".md5sums")
        ]
        found = [_deb(paragraph) for text in texts if text for paragraph in paragraphs(text)]
        return sorted((deb for deb in found if deb), key=lambda deb: (deb.name, deb.arch))

    def installed_python(self) -> list[InstalledPython]:
        """Return every Python distribution, wherever it is installed."""
        found = []
        for path in sorted(self.nodes):
            folder, _slash, name = path.rpartition("/")
            if name == "METADATA" and folder.endswith(".dist-info"):
                fields = metadata_fields(self.data(self.nodes[path], 1 << 20))
                dist = fields.get("name", [""])[0], fields.get("version", [""])[0]
                found.append(InstalledPython(dist[0], dist[1], folder))
        return found

    def recorded(self, dist: InstalledPython) -> dict[str, str]:
        """Return every path a distribution's RECORD names, with its sha256 where it says one."""
        data = self.read(f"{dist.folder}/RECORD") or b""
        site = posixpath.dirname(dist.folder)
        found: dict[str, str] = {}
        for row in csv.reader(data.decode("utf-8", "replace").splitlines()):
            if row:
                path = posixpath.normpath(posixpath.join("/", site, row[0])).lstrip("/")
                found[path] = _record_hash(row[1]) if len(row) > 1 else ""
        return found

    def deb_paths(self) -> set[str]:
        """Return every path that belongs to an installed Debian package."""
        found = set()
        for node in self.files_below(_INFO.rstrip("/")):
            if node.path.endswith(".list"):
                for line in self.data(node).decode("utf-8", "replace").splitlines():
                    found.add(self.canonical(line))
        return found

    def distribution_hashes(self) -> dict[str, str]:
        """Return the MD5 that the distribution says its own files have; only for telling them apart."""
        found: dict[str, str] = {}
        for node in [
            *self.files_below(_INFO.rstrip("/")),
            *self.files_below("var/lib/dpkg/status.d"),
        ]:
            if node.path.endswith(".md5sums"):
                for line in self.data(node).decode("utf-8", "replace").splitlines():
                    match = _MD5.match(line)
                    if match:
                        found[self.canonical(match.group(2))] = match.group(1)
        for deb in self.installed_debs():
            for line in deb.conffiles.splitlines():
                path, _space, rest = line.strip().partition(" ")
                if rest:
                    found[self.canonical(path)] = rest.split(" ")[0]
        return found

    def canonical(self, path: str) -> str:
        """Return where a path that a package or a lock names really is: /lib may be a link to usr/lib."""
        folder, _slash, name = path.strip("/").rpartition("/")
        if folder not in self._real_folders:
            self._real_folders[folder] = self.real_path(folder)
        real = self._real_folders[folder]
        return f"{real}/{name}".lstrip("/") if real is not None else path.strip("/")

    def close(self) -> None:
        """Close the layers."""
        for layer in self.layers:
            layer.close()


def paragraphs(text: bytes) -> t.Iterator[t.Mapping[str, str]]:
    """Yield the paragraphs of a Debian control file."""
    if DEBIAN_ERROR is not None:
        raise CutoverError(
            "reading a package database needs python-debian: install python-debian",
            cause=str(DEBIAN_ERROR),
        )
    yield from Deb822.iter_paragraphs(
        text.decode("utf-8", "replace").splitlines(True), use_apt_pkg=False
    )


def _deb(paragraph: t.Mapping[str, str]) -> InstalledDeb | None:
    # Distroless images leave the status out: what is there is installed.
    status = paragraph.get("Status", "install ok installed")
    if "Package" not in paragraph or status.split()[-1:] != ["installed"]:
        return None
    return InstalledDeb(
        paragraph["Package"],
        paragraph.get("Version", ""),
        paragraph.get("Architecture", ""),
        paragraph.get("Conffiles", ""),
    )


def _record_hash(text: str) -> str:
    name, _equals, value = text.partition("=")
    try:
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except ValueError:
        return ""
    return digest.hex() if name == "sha256" else ""


def metadata_fields(data: bytes) -> dict[str, list[str]]:
    """Return the header fields of a METADATA file by lower-case name."""
    found: dict[str, list[str]] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if not line.strip():
            break
        name, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            found.setdefault(name.lower(), []).append(value.strip())
    return found


@contextlib.contextmanager
def baked_contents(layout: Layout, record: BakeRecord) -> t.Iterator[ImageContents]:
    """Look into an image of our own layout."""
    config = layout.read_json(record.image_id)
    layers: list[TarLayer] = []
    try:
        for number, layer in enumerate(record.layers):
            name = f"{record.tag}: layer {number + 1} ({layer.purpose})"
            layers.append(TarLayer(whole(layout.blob_path(layer.digest)), number, name))
        contents = ImageContents(record.tag, config, layers)
        contents.verify()
        yield contents
    finally:
        for opened in layers:
            opened.close()
