# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When long-lived connections are closed, and how fast one after the other."""

from __future__ import annotations

import contextlib

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.long_lived import (
    close_paced,
    long_lived,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Session
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    LongLived,
)
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

SOCKET, STREAM, REQUEST = Session("a", 90, True), Session("b", 40, False), Session("c", 1, False)


def balancer(clock: FakeClock, *sessions: Session) -> MemoryLoadBalancer:
    made = MemoryLoadBalancer(clock)
    made.register("one", "10.0.0.1", 80)
    made.hold("one", *sessions)
    return made


@pytest.mark.parametrize(
    ("older_than", "found"), [(0, "a"), (41, "a"), (40, "ab"), (1, "abc")], ids=str
)
def test_which_connections_a_rule_is_about(older_than: int, found: str) -> None:
    made = balancer(FakeClock(), SOCKET, STREAM, REQUEST)
    assert "".join(s.id for s in long_lived(made, "one", LongLived(older_than=older_than))) == found


def closed_at(rule: LongLived, count: int, began: float = 0) -> list[float]:
    """Return when each connection was closed, in seconds after the drain began; this call begins later by C(began)."""
    clock = FakeClock()
    start = clock.monotonic() - began
    made = balancer(clock, *(Session(str(n), 9, True) for n in range(count)))
    moments: list[float] = []
    close_paced(
        made,
        "one",
        rule,
        left=lambda seconds: max(0.0, seconds - (clock.monotonic() - start)),
        guard=contextlib.nullcontext,
        closed=lambda: moments.append(round(clock.monotonic() - start, 3)),
        note=lambda _text: None,
        clock=clock,
    )
    return moments


def test_they_are_closed_at_an_even_pace_when_their_time_is_over() -> None:
    assert closed_at(LongLived(timeout=300, close_over=30), 6) == [300, 305, 310, 315, 320, 325]


def test_a_call_that_was_cut_off_goes_on_with_the_time_that_is_left() -> None:
    assert closed_at(LongLived(timeout=300, close_over=30), 3, began=315) == [315, 320, 325]
    assert closed_at(LongLived(timeout=300, close_over=30), 3, began=400) == [400, 400, 400]


def test_nothing_is_waited_for_when_there_is_none() -> None:
    assert closed_at(LongLived(timeout=300), 0) == []
