# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases a host remembers: what each was made of, and in which order they were completed.

Private, no stability promised. A record holds the whole spec (never a secret's value), so that a rollback
brings back image **and** configuration.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

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

    def is_called(self, name: str) -> bool:
        """Whether a person may mean it by this name."""
        return name in (self.id, self.version, self.image, self.image_id)


@dataclass(frozen=True)
class Begun:
    """A release that a run began and has not completed; C(to) is what the run was told to go back to."""

    release: str
    to: str
    passed: tuple[str, ...] = ()
    """The gates it was let through."""
    held: str = ""
    """The gate at which its run has ended, for somebody to promote or abort it."""


@dataclass(frozen=True)
class _Index:
    """What is noted of the order of releases."""

    completed: tuple[str, ...] = ()
    begun: Begun | None = None
    kept_since: float = 0
    """When the newest completed release took over, with the replicas before it kept; 0: they are gone."""


class Releases:
    """The release records of one app on one host."""

    def __init__(self, state_dir: str, app: str) -> None:
        self._app = app
        self._folder = os.path.join(state_dir, "apps", app, "releases")
        self._index = os.path.join(self._folder, "index.json")

    def seen(self) -> object:
        """Return all of it as one value: equal as long as no run has begun, completed or given up anything."""
        return self._read()

    def completed(self) -> list[str]:
        """Return the IDs of completed releases, the newest completion last."""
        return list(self._read().completed)

    def begun(self) -> Begun | None:
        """Return the release that a run began and that neither it nor a later run completed."""
        return self._read().begun

    def kept_since(self, release: str) -> float:
        """Return when this release took over, if what it replaced may still be kept; else 0."""
        index = self._read()
        return index.kept_since if index.completed[-1:] == (release,) else 0

    def begin(self, begun: Begun) -> None:
        """Note what a run works towards, so that a rollback after its death knows where it came from.

        A release that is begun again has passed the gates it had passed.
        """
        known = self._read().begun
        if known is not None and (known.release, known.to) == (begun.release, begun.to):
            return
        self._begun(begun)

    def pass_gate(self, gate: str) -> None:
        """Note that the begun release was let through a gate."""
        known = self.begun()
        if known is not None and gate not in known.passed:
            self._begun(replace(known, passed=(*known.passed, gate), held=""))

    def hold(self, gate: str) -> None:
        """Note at which gate the begun release waits for somebody."""
        known = self.begun()
        if known is not None and known.held != gate:
            self._begun(replace(known, held=gate))

    def close_gates(self) -> None:
        """Forget which gates were passed: the begun release is given up."""
        known = self.begun()
        if known is not None and (known.passed or known.held):
            self._begun(replace(known, passed=(), held=""))

    def nothing_runs(self) -> None:
        """Forget what was begun: it was taken away again."""
        if self.begun() is not None:
            self._begun(None)

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

    def complete(self, release: str, kept_since: float = 0) -> bool:
        """Note that this release now is the one that runs; False when it was noted already.

        C(kept_since): what it replaced is kept, since then, or since this was first noted.
        """
        index = self._read()
        new = index.completed[-1:] != (release,)
        if kept_since and not new and index.begun is None:
            kept_since = index.kept_since or kept_since
        others = tuple(item for item in index.completed if item != release)
        self._write(_Index((*others, release), None, kept_since))
        return new

    def forget(self, keep: int) -> list[ReleaseRecord]:
        """Drop all but the last C(keep) completed releases; return what was dropped."""
        index = self._read()
        dropped = [record for record in map(self.get, index.completed[:-keep]) if record]
        if len(index.completed) > keep:
            self._write(replace(index, completed=index.completed[-keep:]))
        for record in dropped:
            os.unlink(self._path(record.id))
        return dropped

    def previous(self) -> ReleaseRecord:
        """Return the last completed release before the one that runs now, or that was being brought about (B61).

        A rollback that was cut off goes on to where it was going.
        """
        index = self._read()
        begun = index.begun
        current = index.completed[-1] if index.completed else ""
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
            if record.is_called(name):
                return record
        kept = ", ".join(f"{record.version} ({record.id})" for record in self.all()) or "none"
        raise CutoverError(
            f"release {name!r} of {self._app} is not kept on this host; kept: {kept}"
        )

    def _read(self) -> _Index:
        data = read_json(self._index) or {}
        completed, begun = data.get("completed", []), data.get("begun")
        kept_since = data.get("kept_since", 0)
        if (
            not isinstance(completed, list)
            or not all(isinstance(item, str) for item in completed)
            or not (begun is None or isinstance(begun, dict))
            or not isinstance(kept_since, (int, float))
        ):
            raise StateError(f"{self._index}: is damaged; nothing was changed")
        return _Index(tuple(completed), _begun(begun) if begun else None, float(kept_since))

    def _begun(self, begun: Begun | None) -> None:
        self._write(replace(self._read(), begun=begun))

    def _write(self, index: _Index) -> None:
        """Write the index, and forget the record of a release that was begun and then given up."""
        private_folder(self._folder)
        known = self._read()
        if known != index:
            write_json(self._index, asdict(index))
        given_up = known.begun.release if known.begun else ""
        begun = index.begun.release if index.begun else ""
        if given_up and given_up not in (begun, *index.completed, *known.completed):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(given_up))

    def _path(self, release: str) -> str:
        if not re.fullmatch("[0-9a-f]{8}", release):
            raise StateError(f"{release!r} is not a release ID; nothing was changed")
        return os.path.join(self._folder, f"{release}.json")


def _begun(data: Mapping[str, object]) -> Begun:
    passed = data.get("passed")
    gates = tuple(str(gate) for gate in passed) if isinstance(passed, list) else ()
    texts = {key: str(data.get(key, "")) for key in ("release", "to", "held")}
    return Begun(passed=gates, **texts)


def images_in_use(state_dir: str) -> set[str]:
    """Return the image IDs that a kept release of any app on this host runs or could be rolled back to."""
    try:
        apps = os.listdir(os.path.join(state_dir, "apps"))
    except FileNotFoundError:
        return set()
    return {record.image_id for app in apps for record in Releases(state_dir, app).all()}
