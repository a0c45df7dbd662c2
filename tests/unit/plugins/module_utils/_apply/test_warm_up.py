# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica that is slower than what runs gets no traffic until it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import warm_up
from ansible_collections.immutable.cutover.plugins.module_utils._errors import ProbeError
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

NEW, RUNNING = "10.0.0.2", "10.0.0.1"


class Replicas:
    """Two replicas by how long each answer takes, in milliseconds, as a function of how many it gave before."""

    def __init__(self, new: Callable[[int], float], running: Callable[[int], float]) -> None:
        self._takes = {NEW: new, RUNNING: running}
        self.asked: list[tuple[str, str]] = []

    def __call__(self, address: str, path: str) -> float:
        before = sum(other == address for other, _path in self.asked)
        self.asked.append((address, path))
        return self._takes[address](before) / 1000


def gate(replicas: Replicas, ratio: float = 1.5, timeout: float = 60) -> dict[str, float]:
    return warm_up.await_as_fast(
        NEW,
        RUNNING,
        8080,
        ["/", "/cart"],
        max_ratio=ratio,
        timeout=timeout,
        clock=FakeClock(),
        asking=replicas,
    )


def test_both_are_asked_in_turn_for_every_path() -> None:
    replicas = Replicas(lambda _n: 100, lambda _n: 80)
    assert gate(replicas) == {"p95_ms": 100.0, "running_p95_ms": 80.0}
    turn = [(NEW, "/"), (RUNNING, "/"), (NEW, "/cart"), (RUNNING, "/cart")]
    assert replicas.asked == turn * warm_up.SAMPLES


def test_it_goes_on_until_the_cache_is_warm() -> None:
    replicas = Replicas(lambda n: 400 if n < 100 else 90, lambda _n: 80)
    assert gate(replicas)["p95_ms"] == 90.0
    assert len(replicas.asked) == 2 * 160  # the third round is the last with a cold answer


@pytest.mark.parametrize(
    ("new", "passes"), [(120, True), (121, False), (89.9, True)], ids=["at the limit", "above", "x"]
)
def test_the_ratio_is_a_limit(new: float, passes: bool) -> None:
    replicas = Replicas(lambda _n: new, lambda _n: 80)
    if passes:
        assert gate(replicas)["p95_ms"] == new
        return
    with pytest.raises(
        ProbeError, match=r"at most 1.5 times.*last answer: 121.0 ms against 80.0 ms"
    ):
        gate(replicas)


def test_a_difference_nobody_notices_passes_whatever_the_ratio() -> None:
    assert gate(Replicas(lambda _n: 10.9, lambda _n: 1), ratio=1)["p95_ms"] == 10.9
    with pytest.raises(ProbeError):
        gate(Replicas(lambda _n: 11.1, lambda _n: 1), ratio=1)


def test_one_slow_answer_in_twenty_is_no_p95() -> None:
    replicas = Replicas(lambda n: 900 if n % 40 in (3, 4) else 80, lambda _n: 80)
    assert gate(replicas)["p95_ms"] == 80.0
