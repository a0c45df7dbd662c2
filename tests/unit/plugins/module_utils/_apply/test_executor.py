# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole calls of a run: the loop, its threads, its lease, its journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import (
    drained,
    removal,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import Executor
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Container
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
    Fenced,
    LoadBalancerError,
    LoadBalancerErrorKind,
    ProbeError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
)
from ansible_collections.immutable.cutover.tests.unit.support.rig import Rig
from ansible_collections.immutable.cutover.tests.unit.support.shop import OTHER_IMAGE_ID

MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[MakeRig]:
    rigs: list[Rig] = []

    def make(balancers: int = 1) -> Rig:
        rigs.append(Rig(tmp_path / str(len(rigs)), balancers))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()


def deployed(rig: Rig, **options: Any) -> list[str]:
    """Deploy the first release; return the names of its replicas."""
    first = rig.release(**options)
    outcome = rig.work(first, run="deploy")
    assert (outcome.status, outcome.error) == ("done", None)
    rig.lease.release("deploy")
    return rig.names(first)


def second(rig: Rig, **options: Any) -> Any:
    return rig.release("2", OTHER_IMAGE_ID, **options)


def in_background(executor: Executor) -> tuple[threading.Thread, list[Any]]:
    """Work in a thread; return it and where its outcome or error will be."""
    outcomes: list[Any] = []

    def work() -> None:
        try:
            outcomes.append(executor.work(1000))
        except CutoverError as error:
            outcomes.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, outcomes


def until(rig: Rig, condition: Callable[[], object]) -> None:
    deadline = rig.clock.monotonic() + 80
    while not condition():
        assert rig.clock.monotonic() < deadline, "it never came to that"
        rig.clock.sleep(0.05)


def rows(rig: Rig) -> list[tuple[str, str, str]]:
    return [(row.step, row.replica, row.outcome) for row in rig.journal.written]


def test_replace_converges_and_a_second_call_changes_nothing(rig: Rig) -> None:
    old, new = deployed(rig, replicas=2), second(rig, replicas=2)
    outcome = rig.work(new)
    assert outcome.status == "done"
    assert rig.phases() == dict.fromkeys(rig.names(new), "serving")
    order = [action for action in outcome.actions if action.split()[0] in ("confirm", "drain")]
    assert order == [
        f"confirm {rig.names(new)[0]}",
        f"drain {old[0]}",
        f"confirm {rig.names(new)[1]}",
        f"drain {old[1]}",
    ]
    again = rig.work(new)
    assert (again.status, again.actions) == ("done", ())
    assert all(driver.persisted() for driver in rig.drivers)


def test_each_step_is_journalled_once_when_it_begins_and_once_when_it_ends(rig: Rig) -> None:
    deployed(rig)
    written = rows(rig)
    assert len(written) == len(set(written))
    assert [row for row in written if row[2] == "begin"] != []
    assert {row[2] for row in written} == {"begin", "ok"}
    assert [row[0] for row in written if row[2] == "ok"] == [
        "start",
        "ready",
        "register",
        "activate",
        "confirm",
    ]
    assert all(row.epoch == 1 and row.version == "1" for row in rig.journal.written)


def test_what_is_never_ready_fails_and_nothing_old_is_touched(rig: Rig) -> None:
    old = deployed(rig)
    new = second(rig, readiness={"path": "/never", "timeout": 1})
    outcome = rig.work(new)
    assert outcome.status == "failed"
    assert isinstance(outcome.error, ProbeError)
    assert (
        f"{rig.names(new)[0]}: http://127.0.0.1:{rig.port}/never: not ready within"
        in outcome.error.message
    )
    assert "status 503" in outcome.error.message
    assert outcome.failed_step is not None
    assert (outcome.failed_step.verb.value, outcome.failed_step.replica) == (
        "ready",
        rig.names(new)[0],
    )
    assert rig.phases() == {old[0]: "serving", rig.names(new)[0]: "started"}
    assert ("ready", rig.names(new)[0], "failed") in rows(rig)


def test_a_start_that_fails_is_told(rig: Rig) -> None:
    old, new = deployed(rig), second(rig)
    rig.engine.fail("start", rig.names(new)[0], error=EngineError("no space left"))
    outcome = rig.work(new)
    assert (outcome.status, outcome.error and outcome.error.message) == ("failed", "no space left")
    assert rig.phases() == {old[0]: "serving"}
    assert rig.work(new).status == "done"


def test_a_drain_that_does_not_end_fails_and_cuts_nothing(rig: Rig) -> None:
    old, new = deployed(rig), second(rig, drain={"timeout": 2})
    rig.drivers[0].work(old[0], 2, 1)
    outcome = rig.work(new)
    assert (outcome.status, outcome.failed_step and outcome.failed_step.verb.value) == (
        "failed",
        "await",
    )
    assert outcome.error is not None
    assert f"{old[0]} (2 in flight, 1 queued); nothing was cut" in outcome.error.message
    assert rig.phases() == {old[0]: "standby", rig.names(new)[0]: "serving"}
    rig.drivers[0].work(old[0], 0)
    assert rig.work(new).status == "done"
    assert rig.phases() == {rig.names(new)[0]: "serving"}


def test_what_replaces_it_goes_down_while_the_old_one_drains(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "FLOOR_WAIT", 1)
    old, new = deployed(rig), second(rig)

    def goes_down(*_words: Any, **_more: Any) -> None:
        rig.drivers[0].health(rig.names(new)[0], Health.DOWN)

    monkeypatch.setattr(drained.targets, "await_drained", goes_down)
    outcome = rig.work(new)
    assert (outcome.status, outcome.worth_undoing) == ("failed", True)
    assert "it still runs, healthy and without traffic" in str(outcome.error)
    assert rig.phases()[old[0]] == "standby"


class EngineThatEndsWork(MemoryEngine):
    """A container that is stopped answers nobody any more."""

    rig: Rig

    def stop(self, container_id: str, signal: str, grace_period: int) -> int:
        container: Container | None = self.inspect(container_id)
        code = super().stop(container_id, signal, grace_period)
        for driver in self.rig.drivers:
            if container is not None and container.name in {item.name for item in driver.targets()}:
                driver.work(container.name, 0)
        return code


@pytest.mark.parametrize("known_by", [1, 2])
def test_a_drain_is_forced_only_by_the_spec_and_the_cut_is_told(
    make_rig: MakeRig, known_by: int
) -> None:
    rig = make_rig(balancers=2)
    rig.engine.__class__, rig.engine.rig = EngineThatEndsWork, rig  # type: ignore[attr-defined]  # the rig is given to the class
    old, new = deployed(rig), second(rig, drain={"timeout": 1, "on_timeout": "force"})
    rig.drivers[0].work(old[0], 2)
    if known_by == 1:
        rig.drivers[1].deregister(old[0])
    outcome = rig.work(new)
    assert outcome.status == "done", outcome.error
    assert rig.phases() == {rig.names(new)[0]: "serving"}
    forced = [
        row.detail for row in rig.journal.written if row.step == "await" and row.outcome == "ok"
    ]
    assert [detail.get("forced") for detail in forced] == [True]
    assert f"{old[0]} (2 in flight" in str(forced[0]["cut"])


def test_a_call_that_is_over_returns_more_and_the_next_goes_on_with_the_same_timer(
    rig: Rig,
) -> None:
    old, new = deployed(rig), second(rig, drain={"timeout": 24})
    rig.drivers[0].work(old[0], 1)
    first = rig.work(new, 4)
    assert first.status == "more", first.error
    assert first.progress[0] == "web 1/1 replaced"
    assert first.progress[1].startswith(f"draining {old[0]}: 1 requests in flight, ")
    assert list(first.resume.began) == [f"await:{old[0]}"]
    begins = rows(rig).count(("await", old[0], "begin"))
    then = rig.clock.monotonic()
    last = rig.work(new, 60, resume=first.resume)
    assert last.status == "failed"
    assert rig.clock.monotonic() - then < 23, "the second call waited the whole time again"
    assert begins == 1
    assert ("await", old[0], "begin") not in rows(rig), "the step began only once"
    row = next(row for row in rig.journal.written if row.step == "await")
    assert row.seconds >= 23


def test_a_call_whose_time_ran_out_with_its_last_step_is_done(rig: Rig) -> None:
    """Otherwise another call would be made, half a second for nothing but the record."""
    old, new = deployed(rig), second(rig)
    executor = rig.executor(new)
    over, stop = executor._clock.over, rig.engine.stop

    def as_the_time_runs_out(container_id: str, signal: str, grace_period: int) -> int:
        over.set()
        return stop(container_id, signal, grace_period)

    rig.engine.stop = as_the_time_runs_out  # type: ignore[method-assign]  # one call is replaced
    outcome = executor.work(60)
    assert (outcome.status, outcome.actions[-1]) == ("done", f"destroy {old[0]}")
    assert not over.is_set(), "what is left to note must not be interrupted"


def test_min_ready_seconds_are_watched_before_anything_is_drained(rig: Rig) -> None:
    old, new = deployed(rig), second(rig, strategy={"min_ready_seconds": 3})
    outcome = rig.work(new)
    assert outcome.status == "done"
    confirmed = next(
        row for row in rig.journal.written if row.step == "confirm" and row.outcome == "ok"
    )
    drained = next(
        row for row in rig.journal.written if row.step == "drain" and row.outcome == "begin"
    )
    assert confirmed.seconds >= 3
    assert (drained.replica, drained.time >= confirmed.time) == (old[0], True)


def test_fenced_in_the_middle_nothing_acts_afterwards(rig: Rig) -> None:
    old, new = deployed(rig), second(rig)
    rig.drivers[0].work(old[0], 1)
    thread, outcomes = in_background(rig.executor(new))
    until(rig, lambda: rig.phases().get(old[0]) == "standby")
    rig.lease.acquire(Holder("two"), 600, take_over=rig.lease.read().epoch)
    calls = list(rig.engine.calls)
    rig.drivers[0].work(old[0], 0)
    thread.join(20)
    outcome = outcomes[0]
    assert (outcome.status, outcome.failed_step and outcome.failed_step.verb.value) == (
        "failed",
        "deregister",
    )
    assert isinstance(outcome.error, Fenced)
    assert "held by run two; this run changes nothing more" in outcome.error.message
    assert rig.engine.calls == calls
    assert rig.phases() == {old[0]: "standby", rig.names(new)[0]: "serving"}
    assert ("deregister", old[0], "fenced") in rows(rig)


def test_a_dead_container_is_replaced(rig: Rig) -> None:
    names = deployed(rig, replicas=2)
    before = {item.name: item.id for item in rig.engine.containers({})}
    rig.engine.crash(names[0])
    outcome = rig.work(rig.release(replicas=2))
    after = {item.name: item.id for item in rig.engine.containers({})}
    assert outcome.status == "done"
    assert rig.phases() == dict.fromkeys(names, "serving")
    assert (before[names[0]] != after[names[0]], before[names[1]]) == (True, after[names[1]])


def test_a_container_that_vanished_is_replaced_although_its_target_is_left(rig: Rig) -> None:
    names = deployed(rig, replicas=2)
    rig.engine.crash(names[0])
    container = rig.engine.inspect(names[0])
    assert container is not None
    rig.engine.remove(container.id)
    rig.engine._address = lambda _spec, _number: "127.0.0.2"
    outcome = rig.work(rig.release(replicas=2, readiness={"successes": 1, "timeout": 1}))
    assert outcome.failed_step is None or outcome.failed_step.verb.value == "ready", outcome.error
    assert "deregister" in {action.split()[0] for action in outcome.actions}


def test_lb_10_one_of_two_balancers_is_unreachable_and_nothing_is_destroyed(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(balancers=2)
    old, new = deployed(rig), second(rig)
    down = LoadBalancerError(
        LoadBalancerErrorKind.UNREACHABLE, "memory backend 1", "connection refused"
    )
    rig.drivers[1].fail("set_state", down, times=100)
    outcome = rig.work(new)
    assert (outcome.status, outcome.error) == ("failed", down)
    assert rig.phases()[old[0]] == "serving"
    assert {call[0] for call in rig.engine.calls} == {"start"}


def test_an_engine_that_goes_away_ends_the_waits_under_way(rig: Rig) -> None:
    old, new = deployed(rig), second(rig, drain={"timeout": 800})
    rig.drivers[0].work(old[0], 1)
    thread, outcomes = in_background(rig.executor(new))
    until(rig, lambda: rig.phases().get(old[0]) == "standby")
    rig.engine.fail("containers", error=EngineError("docker: connection refused"))
    thread.join(10)
    assert not thread.is_alive(), "the call waits for a drain although it has failed"
    assert [(item.status, str(item.error)) for item in outcomes] == [
        ("failed", "docker: connection refused")
    ]
    assert f"start {rig.names(new)[0]}" in outcomes[0].actions
    assert not outcomes[0].worth_undoing
    assert [call for call in rig.engine.calls if call[0] != "start"] == []
    assert rig.drivers[0].targets()[0].admin is Admin.DRAINING


def test_scale_down_and_up(rig: Rig) -> None:
    names = deployed(rig, replicas=3)
    assert rig.work(rig.release(replicas=1)).status == "done"
    assert rig.phases() == {names[0]: "serving"}
    assert rig.work(rig.release(replicas=3)).status == "done"
    assert rig.phases() == dict.fromkeys(names, "serving")


def test_sixteen_at_once(rig: Rig) -> None:
    deployed(rig, replicas=16)
    new = second(rig, replicas=16, strategy={"max_surge": "100%"})
    assert rig.work(new).status == "done"
    assert rig.phases() == dict.fromkeys(rig.names(new), "serving")
