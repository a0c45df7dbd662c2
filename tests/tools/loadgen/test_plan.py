# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The plan is fixed by its seed, ordered in time, and keeps the rates it was given."""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.loadgen.plan import DEFAULT_MIX, plan, scale

KINDS = sorted(DEFAULT_MIX)


@given(
    st.dictionaries(st.sampled_from(KINDS), st.floats(0.1, 500), min_size=1),
    st.integers(0, 2**32),
)
def test_ids_count_up_and_times_never_go_back(mix: dict[str, float], seed: int) -> None:
    first = list(islice(plan(mix, seed), 50))
    assert [planned.id for planned in first] == list(range(50))
    offsets = [planned.offset for planned in first]
    assert offsets == sorted(offsets)
    assert offsets[0] > 0
    assert first == list(islice(plan(mix, seed), 50))


def test_another_seed_is_another_plan() -> None:
    assert list(islice(plan(DEFAULT_MIX, 1), 20)) != list(islice(plan(DEFAULT_MIX, 2), 20))


def test_rates_are_kept() -> None:
    counted = Counter(p.kind for p in takewhile(lambda p: p.offset < 200, plan(DEFAULT_MIX, 3)))
    for kind, rate in DEFAULT_MIX.items():
        assert counted[kind] == pytest.approx(rate * 200, rel=0.15)


def test_the_default_is_at_least_300_requests_per_second() -> None:
    assert sum(DEFAULT_MIX.values()) >= 300


def test_a_kind_with_rate_zero_is_not_sent() -> None:
    mix = {"keepalive": 10.0, "slow": 0.0}
    assert {p.kind for p in islice(plan(mix, 1), 100)} == {"keepalive"}


@given(st.floats(0.5, 5000))
def test_scaling_keeps_the_shares(total: float) -> None:
    scaled = scale(DEFAULT_MIX, total)
    assert sum(scaled.values()) == pytest.approx(total)
    ratio = total / sum(DEFAULT_MIX.values())
    assert all(scaled[kind] == pytest.approx(rate * ratio) for kind, rate in DEFAULT_MIX.items())
