# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases a host remembers: what each was made of, and in which order they were completed.

Private, no stability promised. A record holds the whole spec (never a secret's value), so that a rollback
brings back image **and** configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    private_folder,
    read_json,
    write_json,
)


@dataclass(frozen=True)
class ReleaseRecord:
    """One release: its ID, version, the image ID it runs, and the spec it came from."""

    id: str
    version: str
    image: str
    image_id: str
    spec: Mapping[str, object]


@dataclass(frozen=True)
class Begun:
    """A release that a run began and has not completed; C(to) is what the run was told to go back to."""

    release: str
    to: str


class Releases:
    """The release records of one app on one host."""

    def __init__(self, state_dir: str, app: str) -> None:
        self._app = app
        self._folder = os.path.join(state_dir, "apps", app, "releases")
        self._index = os.path.join(self._folder, "index.json")

    def completed(self) -> list[str]:
        """Return the IDs of completed releases, the newest completion last."""
        return self._read()[0]

    def begun(self) -> Begun | None:
        """Return the release that a run began and that neither it nor a later run completed."""
        return self._read()[1]

    def begin(self, begun: Begun) -> None:
        """Note what a run works towards, so that a rollback after its death knows where it came from."""
        completed, known = self._read()
        if known != begun:
            self._write(completed, begun)

    def nothing_runs(self) -> None:
        """Forget what was begun: it was taken away again."""
        completed, begun = self._read()
        if begun is not None:
            self._write(completed, None)

    def get(self, release: str) -> ReleaseRecord | None:
        """Return a record by release ID."""
        path = self._path(release)
        data = read_json(path)
        if data is None:
            return None
        spec = data.get("spec")
        if not isinstance(spec, dict):
            raise StateError(f"{path}: is damaged; nothing was changed")
        texts = {key: str(data.get(key, "")) for key in ("id", "version", "image", "image_id")}
        return ReleaseRecord(spec=spec, **texts)

    def all(self) -> list[ReleaseRecord]:
        """Return the records of completed releases, oldest first."""
        return [record for record in map(self.get, self.completed()) if record]

    def save(self, record: ReleaseRecord) -> None:
        """Write a record before anything of the release is started."""
        private_folder(self._folder)
        known = self.get(record.id)
        if known is None or known != record:
            write_json(
                self._path(record.id),
                {
                    "id": record.id,
                    "version": record.version,
                    "image": record.image,
                    "image_id": record.image_id,
                    "spec": dict(record.spec),
                },
            )

    def complete(self, release: str) -> bool:
        """Note that this release now is the one that runs; False when it was noted already."""
        completed, begun = self._read()
        new = completed[-1:] != [release]
        if new or begun is not None:
            self._write([item for item in completed if item != release] + [release], None)
        return new

    def forget(self, keep: int) -> list[ReleaseRecord]:
        """Drop all but the last C(keep) completed releases; return what was dropped."""
        completed = self.completed()
        dropped = [record for record in map(self.get, completed[:-keep]) if record]
        if len(completed) > keep:
            self._write(completed[-keep:], self.begun())
        for record in dropped:
            os.unlink(self._path(record.id))
        return dropped

    def previous(self) -> ReleaseRecord:
        """Return the last completed release before the one that runs now, or that was being brought about (B61).

        A rollback that was cut off goes on to where it was going.
        """
        completed, begun = self._read()
        current = completed[-1] if completed else ""
        if begun is not None and begun.to:
            towards = self.get(begun.release)
            if towards is not None:
                return towards
        if begun is not None and begun.release != current:
            current = begun.release
        earlier = [record for record in self.all() if record.id != current]
        if not earlier:
            raise CutoverError(
                f"no previous release of {self._app} is kept on this host; nothing to roll back to"
            )
        return earlier[-1]

    def named(self, name: str) -> ReleaseRecord:
        """Return a kept release by ID, version or image reference."""
        for record in reversed(self.all()):
            if name in (record.id, record.version, record.image, record.image_id):
                return record
        kept = ", ".join(f"{record.version} ({record.id})" for record in self.all()) or "none"
        raise CutoverError(
            f"release {name!r} of {self._app} is not kept on this host; kept: {kept}"
        )

    def _read(self) -> tuple[list[str], Begun | None]:
        data = read_json(self._index) or {}
        completed, begun = data.get("completed", []), data.get("begun")
        if (
            not isinstance(completed, list)
            or not all(isinstance(item, str) for item in completed)
            or not (begun is None or isinstance(begun, dict))
        ):
            raise StateError(f"{self._index}: is damaged; nothing was changed")
        known = Begun(str(begun.get("release")), str(begun.get("to", ""))) if begun else None
        return list(completed), known

    def _write(self, completed: list[str], begun: Begun | None) -> None:
        private_folder(self._folder)
        write_json(self._index, {"completed": completed, "begun": asdict(begun) if begun else None})

    def _path(self, release: str) -> str:
        if not re.fullmatch("[0-9a-f]{8}", release):
            raise StateError(f"{release!r} is not a release ID; nothing was changed")
        return os.path.join(self._folder, f"{release}.json")


def images_in_use(state_dir: str) -> set[str]:
    """Return the image IDs that a kept release of any app on this host runs or could be rolled back to."""
    try:
        apps = os.listdir(os.path.join(state_dir, "apps"))
    except FileNotFoundError:
        return set()
    return {record.image_id for app in apps for record in Releases(state_dir, app).all()}
