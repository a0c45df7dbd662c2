# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The books: every planned id gets exactly one outcome, or the run is not valid."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TextIO

from tools.loadgen.outcome import COLUMNS, OK, Row, to_record
from tools.loadgen.plan import Planned


class AccountingError(Exception):
    """A request was planned or settled twice, or settled without having been planned."""


class Ledger:
    """Counts, and writes one row per settled request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._open: dict[int, Planned] = {}
        self.planned = 0
        self.accounted = 0
        self.failed: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        return len(self._open)

    def plan(self, planned: Planned) -> None:
        if planned.id != self.planned:
            raise AccountingError(f"request {planned.id} planned out of order")
        self._open[planned.id] = planned
        self.planned += 1

    def settle(self, row: Row) -> None:
        if self._open.pop(row.id, None) is None:
            raise AccountingError(f"request {row.id} is not open")
        self.accounted += 1
        if row.outcome != OK:
            self.failed[row.outcome] += 1
        self._writer.writerow(to_record(row))

    def flush(self) -> None:
        self._stream.flush()
