# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a canary does as well as the stable set beside it; pure, private, no stability promised.

Both are compared over the same time, so what makes every replica fail is not held against the new ones. What cannot be
told yet is inconclusive, and that never counts as a pass.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

LEAST_MS = 10.0
"""Response times below this are not compared: balancers count whole milliseconds."""


class Outcome(str, enum.Enum):
    """What figures say."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Analysis:
    """What is asked of a canary. Rates are in percent, times in seconds."""

    duration: int = 60
    """How long figures are gathered before they can pass; a failure counts at once."""
    max_error_rate: float = 1.0
    """By how much the canary's share of failed requests may be above that of the stable set."""
    max_latency_ratio: float = 2.0
    """How many times the stable set's average response time the canary's may be; 0 does not compare."""
    min_requests: int = 100
    """With fewer on either side nothing passes."""
    timeout: int = 600
    """How long an inconclusive analysis waits on."""
    inconclusive: str = "fail"
    """What then: C(fail), or C(hold) until a person promotes or aborts."""
    url: str = ""
    success_condition: str = ""
    failure_condition: str = ""
    interval: int = 10
    """Seconds between two questions to C(url)."""


@dataclass(frozen=True)
class Figures:
    """What one side has had in a window."""

    requests: int = 0
    errors: int = 0
    response_ms: float | None = None

    @property
    def error_rate(self) -> float:
        """Failed requests in percent."""
        return 100.0 * self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Verdict:
    """What was found, and one line that says why."""

    outcome: Outcome
    reason: str


def errors(asked: Analysis, canary: Figures, stable: Figures) -> Verdict:
    """Judge failed requests.

    It fails as soon as more have failed than may among C(min_requests), without waiting for the rest of them: the
    requests a bad release costs do not grow with the size of the sample.
    """
    allowed = asked.max_error_rate + stable.error_rate
    shown = f"{_errors('canary', canary)}, {_errors('stable', stable)}"
    if canary.errors > allowed / 100 * max(canary.requests, asked.min_requests):
        return Verdict(
            Outcome.FAIL, f"{shown}; the canary may have {asked.max_error_rate:g} % more"
        )
    if min(canary.requests, stable.requests) < asked.min_requests:
        return Verdict(
            Outcome.INCONCLUSIVE, f"{shown}; at least {asked.min_requests} requests each are needed"
        )
    return Verdict(Outcome.PASS, shown)


def latency(asked: Analysis, canary: Figures, stable: Figures) -> Verdict:
    """Judge response times."""
    if not asked.max_latency_ratio:
        return Verdict(Outcome.PASS, "response times not compared")
    if canary.response_ms is None or stable.response_ms is None:
        return Verdict(Outcome.INCONCLUSIVE, "the load balancer shows no response times")
    if min(canary.requests, stable.requests) < asked.min_requests:
        return Verdict(Outcome.INCONCLUSIVE, "too few requests to compare response times")
    ratio = max(canary.response_ms, LEAST_MS) / max(stable.response_ms, LEAST_MS)
    shown = (
        f"response time {canary.response_ms:.0f} ms, stable {stable.response_ms:.0f} ms"
        f" ({ratio:.1f} times)"
    )
    if ratio > asked.max_latency_ratio:
        return Verdict(Outcome.FAIL, f"{shown}; at most {asked.max_latency_ratio:g} times")
    return Verdict(Outcome.PASS, shown)


def joined(*verdicts: Verdict) -> Verdict:
    """Return the worst of all, with its reasons; a pass has the reasons of all."""
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS):
        reasons = [verdict.reason for verdict in verdicts if verdict.outcome is outcome]
        if reasons:
            return Verdict(outcome, "; ".join(reasons))
    return Verdict(Outcome.INCONCLUSIVE, "nothing was looked at")


def _errors(who: str, figures: Figures) -> str:
    return f"{who}: {figures.errors} of {figures.requests} requests failed ({figures.error_rate:.1f} %)"
