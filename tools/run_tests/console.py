# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Where a job's commands run and what they print goes: a file, for jobs run beside each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
REPORTS = ROOT / "build" / "test"


class Console:
    """Runs commands of the virtual environment at the repository root, all output appended to one file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    @property
    def text(self) -> str:
        """Everything that was printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def run(self, command: Sequence[str], environment: Iterable[tuple[str, str]] = ()) -> int:
        """Run a command and return its exit code."""
        with self.log.open("ab") as stream:
            stream.write(f"$ {' '.join(command)}\n".encode())
            stream.flush()
            return subprocess.run(
                [str(BIN / command[0]), *command[1:]],
                cwd=ROOT,
                env=os.environ | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
