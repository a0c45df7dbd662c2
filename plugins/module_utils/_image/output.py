# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output folder of bakes: one layout, and one record for each name and version; private, no stability promised."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    locked,
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    Lock,
    read_lock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Layout
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    means,
    parse_reference,
    read_record,
    write_record,
)

DEFAULT_OUTPUT = "~/.cache/immutable-cutover/images"


class Output:
    """Where baked images are, and what is known about them."""

    def __init__(self, root: str) -> None:
        self.layout = Layout(root)
        self.root = self.layout.root
        self.records_dir = os.path.join(self.root, "records")

    def create(self) -> None:
        """Make the folders, if they are not there."""
        self.layout.create()
        os.makedirs(self.records_dir, exist_ok=True)

    def record_path(self, name: str, version: str) -> str:
        """Return the record file of one name and version."""
        return os.path.join(self.records_dir, *name.split("/"), f"{version}.json")

    def find(self, name: str, version: str) -> BakeRecord | None:
        """Return the record of a name and version, if it was baked into this folder."""
        path = self.record_path(name, version)
        return read_record(path) if os.path.exists(path) else None

    def records(self) -> list[BakeRecord]:
        """Return every record of the folder."""
        found: list[BakeRecord] = []
        for folder, _folders, names in os.walk(self.records_dir):
            found += [read_record(os.path.join(folder, n)) for n in names if n.endswith(".json")]
        return sorted(found, key=lambda record: (record.name, record.version))

    def known(self) -> list[BakeRecord]:
        """Return every record of the folder, or none where one cannot be read: for a refusal of something else."""
        try:
            return self.records()
        except StateError:
            return []

    def versions(self, name: str) -> list[BakeRecord]:
        """Return the record of every version of a repository."""
        folder = os.path.dirname(self.record_path(name, "x"))
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [read_record(os.path.join(folder, n)) for n in names if n.endswith(".json")]

    def find_reference(self, reference: str, what: str = "base") -> BakeRecord:
        """Return the record a pinned reference names, by either digest."""
        wanted = parse_reference(reference, what, self.known)
        same_name = [record for record in self.records() if means(wanted.name, record.name)]
        for record in same_name:
            if wanted.digest in record.digests:
                if not self.layout.complete(record):
                    raise StateError(
                        f"{self.root}: a blob of {reference} is missing; bake it again"
                    )
                return record
        known = ", ".join(record.reference for record in same_name) or "no version of it"
        raise CutoverError(
            f"{what} {reference} is not in {self.root}: it has {known}; bake it first"
        )

    def add(self, record: BakeRecord) -> None:
        """Publish a baked image: its record first, then the index of the layout."""
        with self.layout.guard():
            path = self.record_path(record.name, record.version)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_record(path, record)
            self.layout.write_index(self.records())

    def keep_lock(self, record: BakeRecord, lock: Lock) -> None:
        """Keep the lock an image was baked from: what checks, describes or rebases it later needs its inputs."""
        os.makedirs(os.path.join(self.root, "locks"), exist_ok=True)
        write_atomic(self._lock_path(record), lock.to_bytes())

    def lock_of(self, record: BakeRecord) -> Lock:
        """Return the lock an image in this folder was baked from."""
        lock = read_lock(self._lock_path(record))
        if lock is None:
            raise StateError(
                f"{self.root}: the lock of {record.reference} is not kept; bake it again"
            )
        return lock

    def _lock_path(self, record: BakeRecord) -> str:
        return os.path.join(self.root, "locks", record.manifest_digest.partition(":")[2] + ".json")

    def write_archive(self, record: BakeRecord, chunks: t.Iterator[bytes]) -> None:
        """Write the file that C(docker load) reads."""
        os.makedirs(os.path.dirname(record.archive), exist_ok=True)
        write_atomic(record.archive, b"")
        with open(record.archive, "wb") as stream:
            for chunk in chunks:
                stream.write(chunk)

    def archive_path(self, name: str, version: str) -> str:
        """Return where the archive of a name and version is or would be."""
        return os.path.join(self.root, "archives", *name.split("/"), f"{version}.tar")

    def exclusively(self, name: str, version: str) -> t.ContextManager[None]:
        """Let one run at a time bake a name and version."""
        folder = os.path.dirname(self.record_path(name, version))
        os.makedirs(folder, exist_ok=True)
        return locked(os.path.join(folder, f".{version}.lock"))
