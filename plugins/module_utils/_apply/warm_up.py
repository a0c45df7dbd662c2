# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Warming a replica up before it gets traffic, until it answers about as fast as what runs; private.

A cache that is warm is state of the replica like any other: it is gone with the replica, and a new one has to earn it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    ProbeError,
    WaitTimeout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import HttpProbe
from ansible_collections.immutable.cutover.plugins.module_utils._wait import Verdict, wait_until

ANY_STATUS = tuple(range(100, 600))
TIMEOUT = 10.0
"""Seconds for one request."""

SAMPLES = 20
"""How often each path is asked for in a round of comparing."""

UNNOTICED = 0.01
"""Seconds. A p95 that is above the other's by less is as good as equal, whatever the ratio."""

_PAUSE = 0.5

Ask = Callable[[str, str], float]
"""Ask an address for a path and return how many seconds the answer took."""


def warm_up(
    address: str,
    port: int,
    requests: Sequence[str],
    *,
    clock: Clock,
    left: Callable[[], float] = lambda: math.inf,
    sent: Callable[[], None] = lambda: None,
) -> None:
    """Send GETs in order; what a client would call a failure (5xx, no answer) is one.

    C(left): seconds for all of them; C(sent) is told of each, so that another call goes on with the next.
    """
    for path in requests:
        clock.sleep(0)  # ends here where the call has to return
        if left() <= 0:
            raise ProbeError(
                f"{address}:{port}: warm-up not done in time: {path} was not asked for"
            )
        ask(port, clock, address, path)
        sent()


def ask(port: int, clock: Clock, address: str, path: str) -> float:
    """Send one GET and return the seconds its answer took; ProbeError if a client would call it a failure."""
    probe = HttpProbe(path, ANY_STATUS, "", port, TIMEOUT, option="warm_up")
    began = clock.monotonic()
    result = probe.check(address, clock=clock)
    if result.status is None or result.status >= 500:
        raise ProbeError(
            f"{probe.url(address)}: warm-up failed: {result.detail}",
            url=probe.url(address),
            status=result.status,
        )
    return clock.monotonic() - began


def await_as_fast(
    new: str,
    running: str,
    port: int,
    requests: Sequence[str],
    *,
    max_ratio: float,
    timeout: float,
    clock: Clock,
    asking: Ask | None = None,
) -> dict[str, float]:
    """Keep both replicas answering until the new one's p95 is at most so many times the running one's.

    Returns both in milliseconds. Both are asked in turn, so that a busy host slows both.
    """
    put = asking or partial(ask, port, clock)

    def look() -> Verdict[dict[str, float]]:
        times = [(put(new, path), put(running, path)) for path in _round(requests)]
        ours, theirs = _p95(pair[0] for pair in times), _p95(pair[1] for pair in times)
        seen = {"p95_ms": round(ours * 1000, 1), "running_p95_ms": round(theirs * 1000, 1)}
        passed = ours <= theirs * max_ratio or ours - theirs < UNNOTICED
        return Verdict(passed, seen, f"{ours * 1000:.1f} ms against {theirs * 1000:.1f} ms")

    try:
        return wait_until(
            look,
            what=f"p95 of the warm-up requests at most {max_ratio:g} times that of what runs",
            timeout=timeout,
            interval=_PAUSE,
            clock=clock,
        )
    except WaitTimeout as late:
        raise ProbeError(late.message, max_p95_ratio=max_ratio) from late


def _round(requests: Sequence[str]) -> Iterator[str]:
    for _again in range(SAMPLES):
        yield from requests


def _p95(seconds: Iterator[float]) -> float:
    """Nearest rank."""
    ordered = sorted(seconds)
    return ordered[-(-len(ordered) * 95 // 100) - 1]
