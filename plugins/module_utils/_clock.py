# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as a dependency; private, no stability promised. Nothing else in the collection reads a clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What a waiting function needs to know about time."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards, for measuring and deadlines."""

    def now(self) -> float:
        """Return seconds since the epoch, for records that a person or another host reads."""

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def now(self) -> float:
        """Return the wall clock."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Sleep for real."""
        time.sleep(max(0.0, seconds))
