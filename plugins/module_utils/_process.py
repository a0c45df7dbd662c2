# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of this machine by pid and start time, and whether a lease's holder is one that has ended.

Private, no stability promised.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any


def identity(pid: int) -> str:
    """Return pid and start time, which together name one process; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            fields = stream.read().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else f"{pid}:{fields[19]}"


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Tell whether the holder ran on this machine and is gone."""
    process = str(holder.get("process") or "")
    pid = process.partition(":")[0]
    if not pid.isdigit() or holder.get("host") != socket.gethostname():
        return False
    return identity(int(pid)) != process
