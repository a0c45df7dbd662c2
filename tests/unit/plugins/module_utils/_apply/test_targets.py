# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of one target, on the reference driver and a clock that only moves when told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets
from ansible_collections.immutable.cutover.plugins.module_utils._errors import LoadBalancerError
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)


class Clock:
    """Time passes only by sleeping; something may happen at each sleep."""

    def __init__(self) -> None:
        self.time = 0.0
        self.events: list[Callable[[], object]] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.events:
            self.events.pop(0)()


@pytest.fixture()
def clock() -> Clock:
    return Clock()


@pytest.fixture()
def lb(clock: Clock) -> MemoryLoadBalancer:
    made = MemoryLoadBalancer(clock)
    targets.register_standby(made, "one", "10.0.0.1", 80)
    targets.await_healthy(made, "one", 5, clock)
    targets.activate(made, "one")
    clock.time = 0.0
    return made


def nothing() -> None:
    """Let time pass."""


def test_zeros_must_come_in_a_row(lb: MemoryLoadBalancer, clock: Clock) -> None:
    targets.start_drain(lb, "one")
    lb.work("one", 2, 1)
    counts = [0, 0, 1, 0, 0, 0]
    clock.events = [nothing, *(lambda n=n: lb.work("one", n) for n in counts)]
    seen: list[int] = []
    done = targets.await_drained(
        lb, ["one"], 60, clock, lambda busy: seen.append(busy["one"].total)
    )
    assert seen == [3, 0, 0, 1, 0, 0]
    assert done["one"] == targets.Drained("one", 0.4, 3)


def test_a_lone_zero_at_the_deadline_is_not_enough(lb: MemoryLoadBalancer, clock: Clock) -> None:
    targets.start_drain(lb, "one")
    lb.work("one", 1)
    with pytest.raises(LoadBalancerError, match="still busy after 0.1 s") as late:
        targets.await_drained(lb, ["one"], 0.1, clock)
    assert late.value.kind is Kind.DRAIN_TIMEOUT
    assert targets.find(lb, "one").admin is Admin.DRAINING


def test_each_target_is_waited_for_by_itself(lb: MemoryLoadBalancer, clock: Clock) -> None:
    targets.register_standby(lb, "two", "10.0.0.2", 80)
    targets.start_drain(lb, "one")
    lb.work("one", 4)
    with pytest.raises(LoadBalancerError) as late:
        targets.await_drained(lb, ["one", "two", "gone"], 2, clock)
    assert late.value.details["busy"] == {"one": 4}


@pytest.mark.parametrize("at", [0, 1, 2])
def test_zero_of_a_target_that_is_routed_to_is_stale(
    lb: MemoryLoadBalancer, clock: Clock, at: int
) -> None:
    targets.start_drain(lb, "one")
    clock.events = [nothing] * at + [lambda: lb.set_state("one", Admin.ACTIVE)]
    with pytest.raises(LoadBalancerError) as stale:
        targets.await_drained(lb, ["one"], 60, clock)
    assert stale.value.kind is Kind.STALE


def test_an_error_while_waiting_is_not_idleness(lb: MemoryLoadBalancer, clock: Clock) -> None:
    targets.start_drain(lb, "one")
    lb.fail("in_flight", LoadBalancerError(Kind.UNREACHABLE, "gone"))
    with pytest.raises(LoadBalancerError, match="gone"):
        targets.await_drained(lb, ["one"], 60, clock)


def test_unhealthy_is_told_with_its_last_check(lb: MemoryLoadBalancer, clock: Clock) -> None:
    targets.register_standby(lb, "two", "10.0.0.2", 80)
    lb.health("two", Health.DOWN)
    with pytest.raises(LoadBalancerError, match="not healthy after 3 s; its last check: down"):
        targets.await_healthy(lb, "two", 3, clock)
    with pytest.raises(LoadBalancerError, match="gets no traffic before its check has passed"):
        targets.activate(lb, "two")
    assert [operation for _at, operation, name in lb.calls if name == "two"] == ["register"]


def test_steps_are_re_entrant(lb: MemoryLoadBalancer, clock: Clock) -> None:
    assert not targets.register_standby(lb, "one", "10.0.0.1", 80).changed
    assert not targets.activate(lb, "one").changed
    assert targets.start_drain(lb, "one").changed
    assert not targets.start_drain(lb, "one").changed
    assert targets.await_drained(lb, [], 1, clock) == {}
    assert targets.deregister(lb, "one").changed
    assert not targets.deregister(lb, "one").changed
