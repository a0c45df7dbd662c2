# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which one-off tasks ran for which release, and what that forbids; private, no stability promised.

It is noted on the host that runs an app's tasks; another host of the fleet has no such file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ansible_collections.immutable.cutover.plugins.module_utils._apply.choice import (
    GIVE_UP,
    GOES_ON,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    ReleaseRecord,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.plugins.module_utils._release.task_spec import (
    BEFORE,
    TaskSpec,
)
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    private_folder,
    read_json,
    write_json,
)

REMEMBERED = 200
"""Releases of which it is known what ran for them."""


class TaskRecords:
    """The tasks of one app that have run well on this host."""

    def __init__(self, state_dir: str, app: str) -> None:
        self._folder = os.path.join(state_dir, "apps", app)
        self._file = os.path.join(self._folder, "tasks.json")

    def done(self, release: str) -> frozenset[str]:
        """Return the names of the tasks that ran for a release."""
        return frozenset(self._read().get(release, ()))

    def note(self, release: str, task: str) -> None:
        """Note that a task ran for a release."""
        known = self._read()
        if task in known.get(release, ()):
            return
        mine = {release: sorted({*known.pop(release, ()), task})}
        private_folder(self._folder)
        kept = list(known.items())[-REMEMBERED + 1 :]
        write_json(
            self._file, {"done": [[key, list(names)] for key, names in [*kept, *mine.items()]]}
        )

    def may_have_run(self, release: str, task: TaskSpec, *, completed: bool) -> bool:
        """Tell whether a task ran; where tasks run on another host, whether it would have by now."""
        known = self._read()
        if known:
            return task.name in known.get(release, ())
        return completed or task.when == BEFORE

    def _read(self) -> dict[str, Sequence[str]]:
        rows = (read_json(self._file) or {}).get("done", [])
        if not isinstance(rows, list) or not all(
            isinstance(row, list) and len(row) == 2 and isinstance(row[1], list) for row in rows
        ):
            raise StateError(f"{self._file}: is damaged; nothing was changed")
        return {str(release): [str(name) for name in names] for release, names in rows}


def refuse_unsafe(to: str, target: str, releases: Releases, records: TaskRecords) -> None:
    """Refuse to go back across a task that is not C(rollback_safe).

    C(to) is resolved, C(target) the release that it goes to, empty for none at all.
    """
    for record, completed in _left(to, target, releases):
        for task in parse_spec(record.spec).tasks:
            if not task.rollback_safe and records.may_have_run(
                record.id, task, completed=completed
            ):
                named = f"{record.version} ({record.id})" if record.version else record.id
                raise CutoverError(
                    f"task {task.name} of release {named} is not rollback_safe: the release before it may not work "
                    "with what it did to the data; nothing was changed by this. Deploy a release that mends it, or "
                    "go back anyway with release_rollback_unsafe (the module option rollback_unsafe)",
                    task=task.name,
                    release=record.id,
                )


def _left(to: str, target: str, releases: Releases) -> list[tuple[ReleaseRecord, bool]]:
    """Return the releases that would be left behind, and whether each was completed."""
    if not to or to in GOES_ON:
        return []
    begun = releases.begun()
    record = releases.get(begun.release) if begun and begun.release != target else None
    left = [(record, False)] if record else []
    if to not in GIVE_UP:
        newer: Mapping[str, ReleaseRecord] = {item.id: item for item in releases.all()}
        order = list(newer)
        after = order[order.index(target) + 1 :] if target in newer else order
        left += [(newer[key], True) for key in after]
    return left
