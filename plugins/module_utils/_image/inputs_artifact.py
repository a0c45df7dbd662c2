# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs of an image, kept beside it in a registry: an archive forgets them; private, no stability promised.

They are one artifact that refers to the image. Its manifest keeps a registry from collecting them; each is a blob
under the sha256 that the lock names, so fetching one back needs nothing but the lock.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import for_each
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    MANIFEST_TYPE,
    Layout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import (
    EMPTY,
    EMPTY_TYPE,
    LOCK_TYPE,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import (
    Descriptor,
    Registry,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store

INPUTS_TYPE = "application/vnd.immutable-cutover.inputs.v1"
_FILE_TYPE = "application/octet-stream"
_TITLE = "org.opencontainers.image.title"
_AT_ONCE = 4
# A wheel's size is in no lock; its hash decides. This only ends an answer that does not end.
_LARGEST = 8 << 30


@dataclass(frozen=True)
class Input:
    """One locked input as a registry has it."""

    title: str
    sha256: str
    path: str

    @property
    def digest(self) -> str:
        """Return what a registry calls it."""
        return f"sha256:{self.sha256}"


class InputsPush:
    """The inputs of one image on their way into the repository of the image."""

    def __init__(
        self, record: BakeRecord, lock: Lock, store: Store, layout: Layout, registry: Registry
    ) -> None:
        self.record, self.lock = record, lock
        self.store, self.layout, self.registry = store, layout, registry
        self.inputs = _inputs(lock, store)

    def ensure(self, repository: str, check: bool) -> list[str]:
        """Make sure that they are there; return what was done, or would be."""
        if not self.inputs:
            return []
        manifest = self._manifest()
        digest = "sha256:" + sha256_bytes(manifest)
        listed = self.registry.referrers(repository, self.record.manifest_digest)
        if digest not in {item["digest"] for item in listed}:
            if not check:
                self._push(repository, manifest, digest)
            return [f"attach {len(self.inputs)} inputs to {self.record.tag}"]
        return []

    def _manifest(self) -> bytes:
        lock = self.lock.to_bytes()
        files = [
            {
                **_described(item.digest, _FILE_TYPE, os.path.getsize(item.path)),
                **_titled(item.title),
            }
            for item in self.inputs
        ]
        image = self.layout.read_bytes(self.record.manifest_digest)
        return canonical_json(
            {
                "artifactType": INPUTS_TYPE,
                "config": _described(_digest(EMPTY), EMPTY_TYPE, len(EMPTY)),
                "layers": [_described(_digest(lock), LOCK_TYPE, len(lock)), *files],
                "mediaType": MANIFEST_TYPE,
                "schemaVersion": 2,
                "subject": _described(self.record.manifest_digest, MANIFEST_TYPE, len(image)),
            }
        )

    def _push(self, repository: str, manifest: bytes, digest: str) -> None:
        def send(item: tuple[str, bytes | str]) -> None:
            name, content = item
            if not self.registry.head_blob(repository, name):
                self.registry.upload_blob(repository, name, content)

        small: list[tuple[str, bytes | str]] = [
            (_digest(data), data) for data in (EMPTY, self.lock.to_bytes())
        ]
        verified = [
            (item.digest, self.store.verified(item.sha256, item.title)) for item in self.inputs
        ]
        for_each([*small, *verified], send, _AT_ONCE)
        if not self.registry.put_manifest(repository, digest, manifest):
            entry: Descriptor = {
                "artifactType": INPUTS_TYPE,
                "digest": digest,
                "mediaType": MANIFEST_TYPE,
                "size": len(manifest),
            }
            self.registry.add_to_fallback(repository, self.record.manifest_digest, entry)


def take_back(lock: Lock, store: Store, registry: Registry, repository: str) -> None:
    """Bring into the store what it lacks and the repository has."""

    def take(item: Input) -> None:
        if registry.head_blob(repository, item.digest):
            _take(item, store, registry, repository)

    missing = [item for item in _inputs(lock, store) if not store.has(item.sha256)]
    for_each(missing, take, _AT_ONCE)


def _take(item: Input, store: Store, registry: Registry, repository: str) -> None:
    with store.workspace() as folder:
        path = os.path.join(folder, item.sha256)
        with open(path, "wb") as stream:
            for chunk in registry.get_blob(repository, item.digest, _LARGEST):
                stream.write(chunk)
        store.adopt(path, item.sha256, item.title)


def _inputs(lock: Lock, store: Store) -> list[Input]:
    named = {deb.sha256: os.path.basename(deb.path) for deb in lock.apt}
    named |= {wheel.sha256: wheel.filename for wheel in lock.python}
    return [Input(named[digest], digest, store.path(digest)) for digest in sorted(named)]


def _described(digest: str, media_type: str, size: int) -> dict[str, t.Any]:
    return {"digest": digest, "mediaType": media_type, "size": size}


def _titled(title: str) -> dict[str, t.Any]:
    return {"annotations": {_TITLE: title}}


def _digest(data: bytes) -> str:
    return "sha256:" + sha256_bytes(data)
