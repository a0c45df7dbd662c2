# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that only moves when somebody sleeps or a test says so."""

from __future__ import annotations

from collections.abc import Callable


class FakeClock:
    """Monotonic and wall clock; C(on_sleep) is told the time after each sleep."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.elapsed = 0.0
        self.wall = now
        self.sleeps: list[float] = []
        self.on_sleep: Callable[[float], object] = lambda _elapsed: None

    def monotonic(self) -> float:
        return 5000.0 + self.elapsed

    def now(self) -> float:
        return self.wall + self.elapsed

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.elapsed += seconds
        self.on_sleep(self.elapsed)
