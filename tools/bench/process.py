# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Running a command while watching the clock and the memory of its process tree."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_EVERY = 0.1
KIB_PER_MIB = 1024


class CommandFailed(Exception):
    """A measured command ended red; its output follows."""


@dataclass(frozen=True)
class Measured:
    """How long a command took, and the most its processes held at once (shared pages counted in each)."""

    seconds: float
    peak_mib: float
    output: str
    processor: float = 0.0
    """Seconds of processor time of all its processes."""


def measure(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Measured:
    """Run a command to its end; raises CommandFailed when its exit code is not 0."""
    begin, used = time.monotonic(), _processor()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watch = _Watch(process.pid)
        watch.start()
        output, _none = process.communicate()
        seconds = time.monotonic() - begin
        watch.stop()
    if process.returncode != 0:
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Measured(seconds, watch.peak_kib / KIB_PER_MIB, output, _processor() - used)


def _processor() -> float:
    """Return the processor time of every process that this one has waited for, and of what those had waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch(threading.Thread):
    """Samples the resident memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.peak_kib = 0

    def run(self) -> None:
        while not self._over.wait(SAMPLE_EVERY):
            self.peak_kib = max(self.peak_kib, sum(map(_resident_kib, _tree(self._pid))))

    def stop(self) -> None:
        """End the sampling and wait for it."""
        self._over.set()
        self.join()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in _children(pid):
        yield from _tree(child)


def _children(pid: int) -> list[int]:
    """Return the children of every thread of a process, which may end while it is looked at."""
    found: list[int] = []
    try:
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, listing.read_text(encoding="ascii").split())
    except OSError:
        pass
    return found


def _resident_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
