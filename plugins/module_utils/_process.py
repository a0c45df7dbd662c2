# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes by a name that no other machine, boot or container gives to one, and whether such a process has ended.

A name is C(BOOT/NAMESPACE PID STARTED). Two controllers may have one host name, as containers in the host's network or
machines that are all called localhost, and process numbers mean something else to each. So a process is known to be
gone only where the kernel's boot and the namespace of process numbers are those in its name. After a reboot it is not
known either: another boot may be another machine. Nor is it from a name without them, as earlier versions gave.
Private, no stability promised.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

_ENDED = ("Z", "X")


def identity(pid: int) -> str:
    """Return the name of a process that is there, as this process sees it; empty when there is none."""
    try:
        fields = _stat(pid)
        where = _where()
    except OSError:
        return ""
    return "" if fields[0] in _ENDED else f"{where} {pid} {fields[19]}"


def has_ended(name: str) -> bool:
    """Tell whether it is known that the process of this name is there no more."""
    where, _space, rest = name.partition(" ")
    pid, _space, started = rest.partition(" ")
    if not (pid.isdecimal() and started and _is_here(where)):
        return False
    try:
        fields = _stat(int(pid))
    except FileNotFoundError:
        return not _is_hidden(int(pid))
    except OSError:
        return False
    return fields[0] in _ENDED or fields[19] != started


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Tell whether it is known that the run of a lease's holder, on a controller of this name, has ended."""
    mine = holder.get("host") == socket.gethostname()
    return mine and has_ended(str(holder.get("process") or ""))


def _is_here(where: str) -> bool:
    try:
        return where == _where()
    except OSError:
        return False


def _where() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        boot = stream.read().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _stat(pid: int) -> list[str]:
    """Return the fields of C(/proc/PID/stat) behind the name."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except ProcessLookupError as error:  # it ended while it was read
        raise FileNotFoundError(str(error)) from error


def _is_hidden(pid: int) -> bool:
    """Tell whether there is such a process that only others may see (the mount option C(hidepid) of C(/proc))."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
