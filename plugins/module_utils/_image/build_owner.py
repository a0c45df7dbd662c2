# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process a build's leftovers are of, and whether it is still there; private, no stability promised."""

from __future__ import annotations

import os


def this_process() -> str:
    """Return what no other process of this or another machine, container or boot is called."""
    return f"{_namespace()} {os.getpid()} {_started(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Tell whether that process is gone; of other machines and other containers this is not known."""
    namespace, pid, started = ([*owner.split(" "), "", "", ""])[:3]
    return namespace == _namespace() and pid.isdigit() and _started(int(pid)) != started


def _namespace() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        boot = stream.read().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """Return when a process started, in ticks of this boot; empty if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
