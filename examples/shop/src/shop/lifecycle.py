# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Where the app is in its life (starting, ok, stopping) and how much work it has."""

from __future__ import annotations

import time

from shop.config import Config

STARTING, OK, STOPPING = "starting", "ok", "stopping"


class Lifecycle:
    """State shared by the request handlers and the server; single-threaded, so without locks."""

    def __init__(self, config: Config) -> None:
        self._faults = config.faults
        self._born = time.monotonic()
        self._ready_at = self._born + config.startup_delay
        self._stopping = False
        self._last_work = self._born
        self.in_flight = 0

    def status(self) -> str:
        """What /readyz says."""
        if self._stopping:
            return STOPPING
        now = time.monotonic()
        if self._faults.fail_ready or now < self._ready_at:
            return STARTING
        if self._faults.flap and int((now - self._ready_at) / self._faults.flap) % 2:
            return STARTING
        return OK

    def serves(self) -> bool:
        """Whether work is accepted: once started, and while stopping until the process is idle."""
        return self._stopping or time.monotonic() >= self._ready_at

    def stop(self) -> None:
        self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping

    def begin(self) -> None:
        self.in_flight += 1

    def end(self) -> None:
        self.in_flight -= 1
        self._last_work = time.monotonic()

    def idle_for(self) -> float:
        """Seconds since the last piece of work ended; zero while there is work."""
        return 0.0 if self.in_flight else time.monotonic() - self._last_work
