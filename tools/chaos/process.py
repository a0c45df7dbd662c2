# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Processes of this machine as trees, and waiting for what becomes true."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def eventually(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.003)


@dataclass(frozen=True)
class Process:
    """One process of a tree: its start time keeps it apart from a later one of the same pid."""

    pid: int
    started: str
    depth: int

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started

    def send(self, number: int) -> None:
        """Send it a signal, if it is still the same."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self) -> None:
        """SIGSTOP it, and return when none of its threads runs any more: on a busy machine that takes a moment."""
        self.send(signal.SIGSTOP)
        eventually(lambda: not self.alive or _threads(self.pid) <= {"T", "Z", "X"})

    def resume(self) -> None:
        """SIGCONT it."""
        self.send(signal.SIGCONT)


def _threads(pid: int) -> set[str]:
    """Return the states of the threads of a process; those that have just ended have none."""
    found = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            found.add(path.read_text(encoding="utf-8").rpartition(")")[2].split()[0])
    return found


def _stat(pid: int) -> tuple[int, str] | None:
    """Return parent and start time of a process that has not ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else (int(fields[1]), fields[19])


def tree(root: int) -> list[Process]:
    """Return a process and everything below it, nearest first."""
    table = {int(entry): _stat(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
    found: list[Process] = []
    level, depth = [root], 0
    while level:
        found += [Process(pid, here[1], depth) for pid in level if (here := table.get(pid))]
        level = [pid for pid, here in table.items() if here and here[0] in level]
        depth += 1
    return found


def name_of(pid: int) -> str:
    """Return the name of the program that a process runs; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
