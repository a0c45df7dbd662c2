# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""RO-14: what a canary costs until it is stopped, and what is no verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.canary_watch import (
    CanaryWatch,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    GroupCommit,
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.gates import (
    Answer,
    GateFailed,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Traffic
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe import source
from ansible_collections.immutable.cutover.plugins.module_utils._release import canary
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import Analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    OTHER_IMAGE_ID,
    mapping,
)
from ansible_collections.immutable.cutover.tests.unit.support.worlds import canary_goal, world

STABLE, CANARY = "shop-web-aaaaaaaa-1", "shop-web-bbbbbbbb-1"
ASKED = {"duration": 20, "timeout": 60, "min_requests": 100, "max_error_rate": 1}


class Bench:
    """A canary beside one stable replica, at one or more balancers that count what the test says."""

    def __init__(self, balancers: int = 1, steps: str = "10 analysis", **asked: Any) -> None:
        self.clock = FakeClock()
        self.drivers = [MemoryLoadBalancer(self.clock) for _n in range(balancers)]
        for driver in self.drivers:
            driver.register(STABLE, "10.0.97.1", 8080)
            driver.register(CANARY, "10.0.98.1", 8080)
        served = tuple(Balancer(driver, GroupCommit(driver)) for driver in self.drivers)
        self.site = Site(MemoryEngine(), {"web": served}, "", self.clock)
        goal = canary_goal("b", 1, steps)
        analysed = Analysis(**{**ASKED, **asked})
        steps_made = tuple(
            replace(step, analysis=analysed) if step.analysis else step for step in goal.steps
        )
        self.goal = replace(goal, steps=steps_made)
        strategy = {"type": "canary", "steps": [{"weight": 10}], "analysis": {"min_requests": 100}}
        self.release = Release(_parsed(strategy), OTHER_IMAGE_ID)
        self.world = world("a1:serving*9 b1:serving*1", settled=True)
        self.rows: list[tuple[str, dict[str, Any]]] = []
        self.began: dict[str, float] = {}
        self.state: dict[str, Any] = {}
        self.watch = self.next_call()

    def next_call(self) -> CanaryWatch:
        """Begin another call of the same run."""
        self.watch = CanaryWatch(
            self.release,
            self.site,
            Timers(self.clock, self.began),
            lambda outcome, detail: self.rows.append((outcome, dict(detail))),
            self.state,
        )
        return self.watch

    def traffic(self, canary: tuple[int, int], stable: tuple[int, int], ms: float = 5.0) -> None:
        for driver in self.drivers:
            driver.count_traffic(CANARY, *canary, response_ms=ms)
            driver.count_traffic(STABLE, *stable, response_ms=5.0)

    def second(self, seen: World | None = None) -> None:
        """Let a second pass and look."""
        self.clock.elapsed += 1
        self.watch.look(self.goal, seen or self.world)

    def judge(self) -> Answer:
        self.second()
        hold = canary.position(self.goal).hold
        assert hold is not None
        return self.watch.judge(hold)


def _parsed(strategy: dict[str, Any]) -> Any:
    from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec

    return parse_spec(mapping(strategy=strategy))


def until(answer: Callable[[], Answer], seconds: int = 200) -> tuple[Answer, int]:
    """Ask every second until it is no longer waited for; return the answer and the seconds."""
    for second in range(seconds):
        found = answer()
        if found is not Answer.WAITING:
            return found, second
    raise AssertionError("it waits for ever")


def test_ro_14_the_watch_stops_a_canary_that_fails_within_its_budget() -> None:
    """20 % errors at 50 requests a second and a weight of 10 %: one error a second."""
    bench = Bench(steps="10 pause")
    bench.second()
    cost = 0
    with pytest.raises(GateFailed, match=r"2 of 10 requests failed \(20.0 %\)") as failed:
        for _second in range(60):
            bench.traffic((5, 1), (45, 0))
            cost += 1
            bench.second()
    assert cost == 2
    assert failed.value.details["figures"] == {
        "web": {
            "canary": {"requests": 10, "errors": 2, "response_ms": 5.0},
            "stable": {"requests": 90, "errors": 0, "response_ms": 5.0},
        }
    }
    assert [(row[0], row[1]["verdict"], row[1]["percent"]) for row in bench.rows] == [
        ("failed", "fail", 10)
    ]


def test_ro_14_what_was_before_does_not_count() -> None:
    bench = Bench(steps="10 pause")
    bench.traffic((500, 400), (5000, 0))
    bench.second()
    bench.traffic((500, 0), (5000, 0))
    bench.second()


def test_ro_14_what_went_well_long_ago_does_not_hide_what_fails_now() -> None:
    bench = Bench(steps="10 pause")
    for _second in range(120):
        bench.traffic((100, 0), (900, 0))
        bench.second()
    with pytest.raises(GateFailed):
        for _second in range(8):
            bench.traffic((100, 10), (900, 0))
            bench.second()


def test_ro_14_an_outage_of_everybody_stops_no_canary() -> None:
    bench = Bench(steps="10 pause")
    for _second in range(60):
        bench.traffic((100, 50), (900, 450))
        bench.second()


def test_ro_14_a_pass_takes_its_time_and_its_sample() -> None:
    bench = Bench()

    def second() -> Answer:
        bench.traffic((10, 0), (90, 0))
        return bench.judge()

    assert until(second) == (Answer.PASSED, 20)
    assert bench.rows[-1][0] == "ok"
    assert bench.rows[-1][1]["at"] == "2-analysis-at-10"


def test_ro_14_the_window_goes_on_over_calls() -> None:
    bench = Bench()

    def second() -> Answer:
        bench.next_call()
        bench.traffic((10, 0), (90, 0))
        return bench.judge()

    assert until(second) == (Answer.PASSED, 20)


@pytest.mark.parametrize("traffic", [((0, 0), (0, 0)), ((1, 0), (90, 0)), ((90, 0), (1, 0))])
def test_ro_14_no_traffic_is_no_pass(traffic: tuple[tuple[int, int], tuple[int, int]]) -> None:
    bench = Bench(timeout=60)

    def second() -> Answer:
        bench.traffic(*traffic)
        return bench.judge()

    with pytest.raises(GateFailed, match="inconclusive after 60 s: .*at least 100 requests each"):
        until(second)
    assert [(row[0], row[1]["verdict"]) for row in bench.rows] == [("failed", "inconclusive")]


def test_ro_14_inconclusive_may_hold() -> None:
    bench = Bench(inconclusive="hold")
    assert until(bench.judge) == (Answer.HELD, 60)
    assert [(row[0], row[1]["verdict"]) for row in bench.rows] == [("interrupted", "inconclusive")]


def test_ro_14_a_slow_canary_fails_when_its_time_is_over() -> None:
    bench = Bench()

    def second() -> Answer:
        bench.traffic((10, 0), (90, 0), ms=50)
        return bench.judge()

    with pytest.raises(GateFailed, match="response time 50 ms, stable 5 ms"):
        until(second)
    assert bench.clock.elapsed == 21


def test_ro_14_two_balancers_are_summed() -> None:
    bench = Bench(balancers=2, steps="10 pause")
    bench.second()
    bench.traffic((5, 1), (45, 0))
    with pytest.raises(GateFailed, match="2 of 10 requests"):
        bench.second()


def test_lb_12_counters_that_went_back_begin_a_new_window() -> None:
    bench = Bench()

    def second() -> Answer:
        bench.traffic((10, 0), (90, 0))
        return bench.judge()

    for _second in range(8):
        second()
    for entry in bench.drivers[0]._entries.values():
        entry.traffic = Traffic(0, 0, 0.0)  # a restart
    answer, seconds = until(second)
    assert answer is Answer.PASSED
    requests = bench.rows[-1][1]["figures"]["web"]["canary"]["requests"]
    assert (seconds, requests) == (12, 120), "all that was counted since, and nothing from before"


def test_ro_01_a_canary_that_ends_has_failed() -> None:
    bench = Bench(steps="10 pause")
    bench.second()
    dead = replace(world("a1:serving*9 b1:dead,active*1"), settled=bench.world.settled)
    with pytest.raises(GateFailed, match=f"{CANARY} served and has ended"):
        bench.second(dead)
    gone = replace(world("a1:serving*9"), settled=bench.world.settled)
    with pytest.raises(GateFailed, match="has ended"):
        bench.second(gone)


@pytest.mark.parametrize("change", [{"going_back": True}, {"strategy": "rolling"}])
def test_nothing_is_watched_when_there_is_no_canary(change: dict[str, Any]) -> None:
    bench = Bench(steps="10 pause")
    bench.goal = replace(bench.goal, **change)
    bench.second()
    bench.traffic((500, 500), (500, 0))
    bench.second()
    assert not any(call[1] == "traffic" for driver in bench.drivers for call in driver.calls)


ANSWERS = {
    "pass": (source.Answer(True, False, "rate"), Answer.PASSED),
    "none": (source.Answer(False, False, "no answer"), None),
    "fail": (source.Answer(False, True, "rate is high"), None),
}


@pytest.mark.parametrize("word", ANSWERS)
def test_ro_14_a_source_decides_too(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said, expected = ANSWERS[word]
    asked: list[float] = []
    bench = Bench(url="http://m.example/", success_condition="a", interval=10)

    def ask(_source: object, clock: Any) -> source.Answer:
        asked.append(clock.elapsed)
        return said

    monkeypatch.setattr(source.JsonSource, "ask", ask)

    def second() -> Answer:
        bench.next_call()
        bench.traffic((10, 0), (90, 0))
        return bench.judge()

    if expected is None:
        with pytest.raises(GateFailed, match="rate is high" if word == "fail" else "no answer"):
            until(second)
        assert bench.clock.elapsed == (1 if word == "fail" else 61)
    else:
        assert until(second)[0] is expected
    assert asked == [1 + 10 * n for n in range(len(asked))]


def test_a_gate_that_no_step_has_is_judged_by_the_defaults() -> None:
    bench = Bench()
    bench.second()
    assert bench.watch.judge(Hold("analysis", "analysis", 5)) is Answer.WAITING
