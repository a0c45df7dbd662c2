# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits that go on over several calls; private, no stability promised."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock


@dataclass
class Timers:
    """When each wait began, on the host's monotonic clock, so that a wait goes on over several calls."""

    clock: Clock
    began: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    """What a step has counted so far, for a step that goes on over several calls."""

    def began_before(self, key: str, seconds: float) -> None:
        """Have a wait that nobody has asked for yet begin so long ago."""
        self.began.setdefault(key, self.clock.monotonic() - seconds)

    def left(self, key: str, seconds: float) -> float:
        """Return what is left of a wait that began when this was first asked."""
        now = self.clock.monotonic()
        began = self.began.setdefault(key, now)
        if began > now:  # the host was rebooted in between: its monotonic clock began anew
            began = self.began[key] = now
        return max(0.0, seconds - (now - began))
