# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a target is ready; private, no stability promised.

Until the first pass, looks come quicker than the interval: the pause is a tenth of the time waited
so far, at least 50 ms and at most the interval, so that a rollout notices readiness at most a tenth
late. Passes in a row are spaced by the interval, because two looks at one moment would prove
nothing more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import ProbeError
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import (
    HttpProbe,
    ProbeResult,
)

QUICKEST = 0.05
LATENESS = 0.1
WHOLE_LOOK = 1.0
"""Seconds. A look with less left says nothing when it gets no answer."""


@dataclass(frozen=True)
class Attempt:
    """One look, and the seconds since the wait began."""

    at: float
    result: ProbeResult


History = tuple[Attempt, ...]


def await_ready(
    probe: HttpProbe,
    address: str,
    *,
    successes: int,
    interval: float,
    timeout: float,
    still_running: Callable[[], str | None],
    clock: Clock,
    whole: float = 0,
) -> History:
    """Return what was seen once C(successes) looks in a row passed.

    C(whole): how long the wait may be in all, where C(timeout) is what is left of it.

    C(still_running) says why waiting longer is useless, or None; it is asked after each look that
    failed and once after the last pass, so that what died or was restarted in between is never
    called ready.
    """
    begin = clock.monotonic()
    history: list[Attempt] = []
    row = 0
    while True:
        at = clock.monotonic() - begin
        result = probe.check(address, timeout=max(QUICKEST, timeout - at), clock=clock)
        history.append(Attempt(at, result))
        row = row + 1 if result.ok else 0
        if not result.ok or row >= successes:
            _check_running(still_running, probe.url(address), history)
        if row >= successes:
            return tuple(history)
        waited = clock.monotonic() - begin
        if waited >= timeout:
            # Cut off after a part of its time, the last look says nothing that those before it have not said better.
            cut = result.status is None and timeout - at < WHOLE_LOOK and len(history) > 1
            told = history[:-1] if cut else history
            raise _failure(f"not ready within {whole or timeout:g} s", probe.url(address), told)
        pause = interval if row else min(interval, max(QUICKEST, waited * LATENESS))
        clock.sleep(min(pause, timeout - waited))


def summarise(history: Sequence[Attempt], last: int = 8) -> list[str]:
    """Tell a history in a few lines; looks in a row with one answer are one line."""
    lines = []
    for detail, group in groupby(history, key=lambda attempt: attempt.result.detail):
        attempts = list(group)
        times = f" ({len(attempts)} times)" if len(attempts) > 1 else ""
        lines.append(f"{attempts[0].at:.1f} s: {detail}{times}")
    return lines[-last:]


def _check_running(
    still_running: Callable[[], str | None], url: str, history: Sequence[Attempt]
) -> None:
    ended = still_running()
    if ended is not None:
        raise _failure(ended, url, history)


def _failure(why: str, url: str, history: Sequence[Attempt]) -> ProbeError:
    last = history[-1].result
    return ProbeError(
        f"{url}: {why}; last answer: {last.detail}",
        url=url,
        last=last.detail,
        status=last.status,
        probe_history=summarise(history),
    )
