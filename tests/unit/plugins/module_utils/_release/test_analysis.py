# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""RO-14: what figures say of a canary, and that nothing inconclusive passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._release import analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import (
    Analysis,
    Figures,
    Outcome,
    Verdict,
)

ASKED = Analysis(max_error_rate=1.0, max_latency_ratio=2.0, min_requests=100)
PASS, FAIL, NONE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE

ERRORS = [
    ("clean", (200, 0), (900, 0), PASS),
    ("at-the-limit", (200, 2), (900, 0), PASS),
    ("above", (200, 3), (900, 0), FAIL),
    ("no-traffic", (0, 0), (0, 0), NONE),
    ("no-canary-traffic", (0, 0), (900, 0), NONE),
    ("too-few", (99, 0), (900, 0), NONE),
    ("no-stable-traffic", (200, 0), (99, 0), NONE),
    # What could no longer pass with the smallest sample fails before the sample is complete.
    ("early", (10, 2), (90, 0), FAIL),
    ("one-of-ten-may-still-pass", (10, 1), (90, 0), NONE),
    # An outage of everything is not held against the canary.
    ("everybody", (200, 20), (900, 90), PASS),
    ("worse-than-everybody", (200, 23), (900, 90), FAIL),
    ("better-than-stable", (200, 0), (900, 90), PASS),
]


@pytest.mark.parametrize(
    ("canary", "stable", "outcome"), [pytest.param(*row[1:], id=row[0]) for row in ERRORS]
)
def test_ro_14_errors(canary: tuple[int, int], stable: tuple[int, int], outcome: Outcome) -> None:
    verdict = analysis.errors(ASKED, Figures(*canary), Figures(*stable))
    assert verdict.outcome is outcome
    assert f"{canary[1]} of {canary[0]} requests failed" in verdict.reason


LATENCY = [
    ("same", (200, 30.0), (900, 30.0), PASS),
    ("twice", (200, 60.0), (900, 30.0), PASS),
    ("slower", (200, 61.0), (900, 30.0), FAIL),
    ("too-fast-to-tell", (200, 9.0), (900, 1.0), PASS),
    ("fast-and-slow", (200, 25.0), (900, 1.0), FAIL),
    ("no-figure", (200, None), (900, 30.0), NONE),
    ("no-stable-figure", (200, 30.0), (900, None), NONE),
    ("too-few", (99, 300.0), (900, 30.0), NONE),
]


@pytest.mark.parametrize(
    ("canary", "stable", "outcome"), [pytest.param(*row[1:], id=row[0]) for row in LATENCY]
)
def test_ro_14_latency(
    canary: tuple[int, float | None], stable: tuple[int, float | None], outcome: Outcome
) -> None:
    sides = [Figures(requests, 0, ms) for requests, ms in (canary, stable)]
    assert analysis.latency(ASKED, *sides).outcome is outcome
    off = Analysis(max_latency_ratio=0)
    assert analysis.latency(off, *sides).outcome is PASS


@pytest.mark.parametrize(
    ("found", "outcome", "reason"),
    [
        ((PASS, PASS), PASS, "0; 1"),
        ((PASS, NONE), NONE, "1"),
        ((NONE, FAIL, PASS), FAIL, "1"),
        ((), NONE, "nothing was looked at"),
    ],
)
def test_ro_14_the_worst_counts(found: tuple[Outcome, ...], outcome: Outcome, reason: str) -> None:
    verdicts = [Verdict(item, str(number)) for number, item in enumerate(found)]
    assert analysis.joined(*verdicts) == Verdict(outcome, reason)


@given(
    minimum=st.integers(1, 500),
    rate=st.floats(0, 20),
    requests=st.integers(0, 2000),
    share=st.integers(0, 100),
)
def test_ro_14_a_pass_needs_the_sample_and_costs_no_more_than_the_limit(
    minimum: int, rate: float, requests: int, share: int
) -> None:
    failed = requests * share // 100
    asked = Analysis(max_error_rate=rate, min_requests=minimum)
    verdict = analysis.errors(asked, Figures(requests, failed), Figures(5000, 0))
    if verdict.outcome is PASS:
        assert requests >= minimum and failed <= rate / 100 * requests + 1e-9
    if verdict.outcome is NONE:
        assert failed <= rate / 100 * max(requests, minimum) + 1e-9
