# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of ours that a dead run has left half-way; private, no stability promised.

A state file is written under another name first, with the writer's pid, and the secrets of a release are placed before
it begins. Whoever is killed in between leaves the file. It serves nobody, and every run that completes removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection

from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import Releases
from ansible_collections.immutable.cutover.plugins.module_utils._process import identity
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    parse_spec,
)

PLACED = 86400
"""Seconds after which a secret that no release needs was not placed for a run that still waits for the lease."""

_TEMPORARY = re.compile(r".+\.new\.(?P<pid>[0-9]+)")


def files(state_dir: str, releases: Releases, current: AppSpec, now: float) -> list[str]:
    """Return what serves nobody any more: halves of state files, and secrets that no release needs."""
    found = temporary_files(state_dir, current.app)
    secrets = old_secrets(state_dir, current.app, now)
    if not secrets:
        return found
    begun = releases.begun()
    records = [*releases.all(), releases.get(begun.release) if begun else None]
    specs = [parse_spec(record.spec) for record in records if record]
    used = {secret.source for spec in (*specs, current) for secret in spec.secrets}
    return found + [path for path in secrets if path not in used]


def temporary_files(state_dir: str, app: str) -> list[str]:
    """Return files that a writer which is gone has not renamed."""
    folder = os.path.join(state_dir, "apps", app)
    found = []
    for place in (folder, os.path.join(folder, "releases")):
        with contextlib.suppress(OSError):
            found += [os.path.join(place, name) for name in os.listdir(place) if _is_left(name)]
    return sorted(found)


def old_secrets(state_dir: str, app: str, now: float) -> list[str]:
    """Return the secrets on this host that were placed long ago, whether a release names them or not."""
    folder = os.path.join(state_dir, "apps", app, "secrets")
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            old = now - entry.stat(follow_symlinks=False).st_mtime > PLACED
            if old and entry.is_file(follow_symlinks=False):
                found.append(entry.path)
    return sorted(found)


def remove(paths: Collection[str]) -> None:
    """Remove them; one that is gone already is no failure."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _is_left(name: str) -> bool:
    match = _TEMPORARY.fullmatch(name)
    return match is not None and not identity(int(match["pid"]))
