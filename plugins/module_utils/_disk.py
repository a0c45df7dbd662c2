# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an engine's disk has room for what is about to be put there; private, no stability promised.

An engine whose disk is full fails in the middle of what it does, and so may whatever else runs there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

RESERVE = 64 << 20
"""Bytes that stay free: logs, records and what replicas that run write need some, too."""


@dataclass(frozen=True)
class Space:
    """A folder on this host, and the bytes that are free there."""

    path: str
    free: int


def space(path: str) -> Space | None:
    """Return what is free there; None when there is no such folder on this host."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return Space(path, found.f_bavail * found.f_frsize)


def require(found: Space | None, needed: int, what: str) -> None:
    """Refuse what would not fit; what is not known is not refused."""
    if found is None or found.free >= needed + RESERVE:
        return
    raise EngineError(
        f"{found.path}: {megabytes(found.free)} free, {what} needs {megabytes(needed + RESERVE)}; nothing was changed. "
        "Make room there (docker image prune), or keep fewer releases (release_retain)",
        kind="disk_full",
        path=found.path,
        free=found.free,
        needed=needed + RESERVE,
    )


def megabytes(number: int) -> str:
    """Show bytes as whole megabytes."""
    return f"{number / (1 << 20):.0f} MB"
