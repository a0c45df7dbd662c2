# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Numbers from rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.loadgen import stats
from tools.loadgen.outcome import OK, RESET, Row


def row(
    number: int, planned: float, outcome: str = OK, kind: str = "new", version: str = ""
) -> Row:
    return Row(number, kind, planned, float(number), outcome, version=version)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7.0], 50, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 102)], 99, 100.0),
        ([1.0, 2.0], 100, 2.0),
    ],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert stats.percentile(values, share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_latency_is_ordered_and_bounded(values: list[float]) -> None:
    found = stats.latency(values)
    figures = [found[key] for key in ("p50", "p90", "p99", "max")]
    assert figures == sorted(figures, key=lambda value: value or 0)
    assert (found["count"], found["max"]) == (len(values), round(max(values), 1))


def test_latency_of_nothing() -> None:
    assert stats.latency([]) == {"count": 0, "p50": None, "p90": None, "p99": None, "max": None}


def test_counts() -> None:
    rows = [row(0, 0), row(1, 0, RESET), row(2, 0, RESET, "slow"), row(3, 0, kind="slow")]
    assert stats.counts(rows) == {
        "accounted": 4,
        "failed": 2,
        "by_kind": {"new": 2, "slow": 2},
        "failed_by_kind": {"new": 1, "slow": 1},
        "failed_by_outcome": {RESET: 2},
    }


def test_versions_per_second_without_gaps() -> None:
    rows = [
        row(0, 100.6, version="1.0.0"),
        row(1, 101.4, version="1.0.0"),
        row(2, 103.6, version="1.1.0"),
        row(3, 103.7, RESET),
        row(4, 103.8),
    ]
    assert stats.versions(rows, 100.5) == [
        [0, {"1.0.0": 2}],
        [1, {}],
        [2, {}],
        [3, {"1.1.0": 1, "failed": 1, "unknown": 1}],
    ]


def test_listed_failures_are_limited() -> None:
    rows = [row(n, 0, RESET) for n in range(80)] + [row(99, 0)]
    assert [failure["id"] for failure in stats.listed(rows)] == list(range(stats.MAX_LISTED))
