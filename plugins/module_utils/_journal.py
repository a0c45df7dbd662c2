# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done, in order: one JSON line a row, only ever appended; private, no stability promised.

Every run that got the lease has a row C(run)/C(begin), and one that tells its end: C(run) with one of C(ENDS). A run
that was killed cannot write its own; whoever gets the lease next does.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._state import private_folder

SCHEMA = 1
RUN = "run"
"""The step of the rows about a whole run."""
ENDS = ("done", "held", "delayed", "failed", "fenced", "interrupted")
"""C(held) and C(delayed) end a run whose release is not through yet: somebody or some time is waited for."""
_CHUNK = 1 << 18
_RUN_MARK = b'"step":"run"'
_RUNS_WITHIN = 1 << 20


@dataclass(frozen=True)
class Row:
    """One row. C(time) is seconds since the epoch at the end of what it tells, C(seconds) how long that took."""

    time: float
    run: str
    epoch: int
    app: str
    step: str
    outcome: str
    """Of a step: begin, ok, failed or fenced; of a run: begin, or how it ended."""
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

    @property
    def path(self) -> str:
        """Where it is."""
        return self._file

    def append(self, row: Row) -> None:
        """Write a row in one piece. A torn last line of a crashed writer is closed first."""
        content = {"schema": SCHEMA, **asdict(row)}
        line = json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"
        private_folder(self._folder)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._lock:
            try:
                descriptor = os.open(self._file, flags, 0o600)
                try:
                    size = os.fstat(descriptor).st_size
                    _write(descriptor, ("\n" + line if _torn(descriptor, size) else line).encode())
                    if row.outcome != "begin" or row.step == RUN:
                        os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
                if not size:
                    _sync_folder(self._folder)
            except OSError as error:
                raise StateError(f"{self._file}: cannot be written: {error.strerror}") from error
            self.written.append(row)

    def read(self, last: int = 1000) -> list[dict[str, object]]:
        """Return the last rows, oldest first; a torn line is left out, a row of a newer schema refused."""
        return self.look(last)[0]

    def look(self, last: int = 1000) -> tuple[list[dict[str, object]], int]:
        """Return the last rows, oldest first, and how many lines among them are no rows."""
        lines = self._tail(last)[-last:]
        rows = [row for row in map(self._row, lines) if row]
        return rows, sum(bool(line.strip()) for line in lines) - len(rows)

    def runs(self) -> list[dict[str, object]]:
        """Return the rows about whole runs near the end of the journal, oldest first."""
        lines = [line for line in self._tail(0, _RUNS_WITHIN) if _RUN_MARK in line]
        return [row for row in map(self._row, lines) if row and row.get("step") == RUN]

    def _tail(self, lines: int, size: int = _CHUNK) -> list[bytes]:
        """Return whole lines from the end: at least that many, if there are."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"{self._file}: cannot be read: {error.strerror}") from error
        try:
            return _last_lines(descriptor, lines, size)
        except OSError as error:
            raise StateError(f"{self._file}: cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _row(self, line: bytes) -> dict[str, object]:
        try:
            row = json.loads(line)
        except ValueError:
            return {}
        if not isinstance(row, dict):
            return {}
        schema = row.pop("schema", SCHEMA)
        if not isinstance(schema, int) or schema > SCHEMA:
            raise StateError(
                f"{self._file}: a row has schema {schema}, this collection knows <= {SCHEMA}; nothing was changed"
            )
        return row


def _last_lines(descriptor: int, lines: int, size: int) -> list[bytes]:
    end = os.fstat(descriptor).st_size
    while True:
        start = max(0, end - size)
        data = b"".join(_parts(descriptor, start, end))
        whole = data if not start else data.partition(b"\n")[2]
        found = whole.splitlines()
        if not start or len(found) >= lines:
            return found
        size *= 4


def _parts(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        part = os.pread(descriptor, min(_CHUNK, end - start), start)
        if not part:
            return
        start += len(part)
        yield part


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it: on a full disk a part may be written first and the error come with the rest."""
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _torn(descriptor: int, size: int) -> bool:
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
