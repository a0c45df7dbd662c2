# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done, in order: one JSON line a row, only ever appended; private, no stability promised."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._state import private_folder


@dataclass(frozen=True)
class Row:
    """One row. C(time) is seconds since the epoch at the end of what it tells, C(seconds) how long that took."""

    time: float
    run: str
    epoch: int
    app: str
    step: str
    outcome: str
    """begin, ok, failed, fenced or interrupted."""
    process: str = ""
    replica: str = ""
    release: str = ""
    version: str = ""
    seconds: float = 0.0
    detail: Mapping[str, object] = field(default_factory=dict)


class Journal:
    """The journal of one app on one host, and the rows this process wrote."""

    def __init__(self, state_dir: str, app: str) -> None:
        self._folder = os.path.join(state_dir, "apps", app)
        self._file = os.path.join(self._folder, "journal.jsonl")
        self._lock = threading.Lock()
        self.written: list[Row] = []

    def append(self, row: Row) -> None:
        """Write a row in one piece. A torn last line of a crashed writer is closed first."""
        line = json.dumps(asdict(row), sort_keys=True, separators=(",", ":")) + "\n"
        private_folder(self._folder)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._lock:
            try:
                descriptor = os.open(self._file, flags, 0o600)
                try:
                    if _torn(descriptor):
                        line = "\n" + line
                    os.write(descriptor, line.encode())
                    if row.outcome != "begin":
                        os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise StateError(f"{self._file}: cannot be written: {error.strerror}") from error
            self.written.append(row)

    def read(self, last: int = 1000) -> list[dict[str, object]]:
        """Return the last rows, oldest first; a torn line is left out."""
        try:
            with open(self._file, encoding="utf-8", errors="replace") as stream:
                lines = stream.readlines()[-last:]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"{self._file}: cannot be read: {error.strerror}") from error
        return [row for row in map(_parse, lines) if row]


def _parse(line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
