# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single steps at the moment of acting, in a world where a wait is cut off after a few looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import (
    replicas,
    step_runner,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Interrupted
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.gates import HealthySide
from ansible_collections.immutable.cutover.plugins.module_utils._apply.step_runner import (
    StepRunner,
    Timers,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
    Fenced,
    LeaseHeld,
    LoadBalancerError,
    ProbeError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    Session,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.fleet import Fleet
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    LongLived,
    WarmUp,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Step, Verb
from ansible_collections.immutable.cutover.tests.unit.support.simulation import (
    APP,
    PATIENCE,
    PROCESS,
    SimulatedProbe,
    Simulation,
)

UP = (Verb.START, Verb.READY, Verb.REGISTER, Verb.ACTIVATE, Verb.CONFIRM)


class Host:
    """A simulation and the run that has its lease."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, balancers: int = 1) -> None:
        self.simulation = Simulation(balancers)
        probe = SimulatedProbe(self.simulation)
        monkeypatch.setattr(step_runner, "readiness_probe", lambda _process: probe)
        self.timers = Timers(self.simulation.clock)
        self.notes: dict[str, str] = {}

    def run(
        self, version: str = "a", replicas: int = 2, surge: int = 1, unavailable: int = 0
    ) -> None:
        """Begin a run that wants this release."""
        self.release = self.simulation.release(version, replicas, surge, unavailable)
        self.runner = self.runner_of(self.release)

    def runner_of(
        self, release: Release, failing: Callable[[], bool] = lambda: False
    ) -> StepRunner:
        lease = self.simulation.lease
        before = lease.read().epoch
        epoch = lease.acquire(Holder(f"run-{before}"), 60, take_over=before).epoch
        self.simulation.epoch = self.simulation.acting_epoch = epoch
        return StepRunner(
            release,
            self.simulation.site,
            lease,
            epoch,
            self.timers,
            self.notes.__setitem__,
            failing,
        )

    def name(self, slot: int = 1) -> str:
        return replica_name(APP, PROCESS, self.release.id, slot)

    def do(self, verb: Verb, slot: int = 1, runner: StepRunner | None = None) -> object:
        self.simulation.clock.looks = PATIENCE
        step = Step(verb, PROCESS, self.name(slot), self.release.id, slot)
        return (runner or self.runner).run(step)

    def up(self, *slots: int) -> None:
        """Bring replicas up, step by step."""
        for slot in slots:
            for verb in UP:
                self.do(verb, slot)
                self.simulation.ready.update(self.simulation.running())

    def admins(self, slot: int = 1) -> list[Admin | None]:
        found = [driver.entries().get(self.name(slot)) for driver in self.simulation.drivers]
        return [target.admin if target else None for target in found]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(monkeypatch)
    made.run()
    yield made
    made.simulation.close()


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with two load balancers."""
    made = Host(monkeypatch, balancers=2)
    made.run()
    yield made
    made.simulation.close()


def test_up_in_every_balancer_and_persisted(pair: Host) -> None:
    pair.up(1, 2)
    assert pair.admins(1) == pair.admins(2) == [Admin.ACTIVE, Admin.ACTIVE]
    assert all(driver.persisted() for driver in pair.simulation.drivers)
    assert [call for call in pair.simulation.engine.calls if call[0] != "start"] == []


def test_cap_a_drain_waits_until_enough_others_serve(host: Host) -> None:
    host.up(1, 2)
    host.simulation.sicken(host.name(2))
    with pytest.raises(Interrupted):
        host.do(Verb.DRAIN, 1)
    assert host.admins(1) == [Admin.ACTIVE]
    assert host.notes == {host.name(1): "waiting for 2 others that serve"}


def test_cap_the_replica_itself_is_not_one_of_the_others(host: Host) -> None:
    host.up(1, 2)
    with pytest.raises(Interrupted):
        host.do(Verb.DRAIN, 1)
    assert host.admins(1) == [Admin.ACTIVE]


def test_cap_what_is_sick_is_kept_as_well(host: Host) -> None:
    host.up(1, 2)
    host.simulation.sicken(host.name(1))
    host.simulation.sicken(host.name(2))
    with pytest.raises(Interrupted):
        host.do(Verb.DRAIN, 1)
    assert host.admins(1) == [Admin.ACTIVE]


def test_cap_what_one_balancer_forgot_is_kept_by_the_other(pair: Host) -> None:
    pair.up(1, 2)
    pair.simulation.drivers[1].lose(pair.name(1))
    with pytest.raises(Interrupted):
        pair.do(Verb.DRAIN, 1)
    assert pair.admins(1) == [Admin.ACTIVE, None]


def test_cap_what_could_serve_again_stays_until_enough_others_serve(pair: Host) -> None:
    pair.up(1, 2)
    for driver in pair.simulation.drivers:
        driver.change(pair.name(1), admin=Admin.DRAINING)
    pair.simulation.sicken(pair.name(2))
    with pytest.raises(Interrupted):
        pair.do(Verb.DEREGISTER, 1)
    assert pair.admins(1) == [Admin.DRAINING, Admin.DRAINING]
    assert pair.notes == {pair.name(1): "waiting for others that serve"}
    pair.timers.began[f"deregister:{pair.name(1)}"] -= 60
    with pytest.raises(HealthySide, match="fewer than 2 other replicas of web serve now"):
        pair.do(Verb.DEREGISTER, 1)
    pair.release = pair.simulation.release("a", 1, 1, 0)
    pair.simulation.drivers[0].health(pair.name(1), Health.DOWN)
    pair.simulation.drivers[1].health(pair.name(1), Health.DOWN)
    pair.do(Verb.DEREGISTER, 1)
    assert pair.admins(1) == [None, None], "what is sick itself is no capacity"


def test_cap_what_never_served_goes_whatever_serves(host: Host) -> None:
    host.do(Verb.START, 1)
    host.simulation.ready.update(host.simulation.running())
    host.do(Verb.READY, 1)
    host.do(Verb.REGISTER, 1)
    host.do(Verb.DEREGISTER, 1)
    assert host.admins(1) == [None]


def test_a_drain_goes_on_once_others_serve(host: Host) -> None:
    host.up(1, 2)
    old, host.release = host.release, host.simulation.release("b", 1, 1, 0)
    host.runner = host.runner_of(host.release)
    new = host.name(1)
    host.up(1)
    host.release = old
    host.do(Verb.DRAIN, 1)
    assert host.admins(1) == [Admin.DRAINING]
    assert new in host.simulation.drivers[0].entries()
    assert host.simulation.drivers[0].persisted()


def test_a_drain_of_what_is_gone_or_drained_changes_nothing(pair: Host) -> None:
    pair.up(1, 2)
    pair.simulation.drivers[0].change(pair.name(1), admin=Admin.DRAINING)
    pair.simulation.drivers[1].lose(pair.name(1))
    pair.do(Verb.DRAIN, 1)
    assert pair.admins(1) == [Admin.DRAINING, None]
    pair.do(Verb.DRAIN, 3)


@pytest.mark.parametrize("verb", [Verb.READY, Verb.ACTIVATE, Verb.DRAIN, Verb.AWAIT])
def test_a_wait_keeps_its_time_under_the_name_of_its_step(host: Host, verb: Verb) -> None:
    """The executor forgets a timer with its step: the next wait of that kind has its whole time."""
    host.up(1, 2)
    if verb is Verb.READY:
        host.simulation.ready.clear()
    elif verb is Verb.AWAIT:
        host.simulation.drivers[0].change(host.name(1), admin=Admin.DRAINING)
        host.simulation.set_work(host.name(1), 1)
    else:
        host.simulation.sicken(host.name(1))
    host.timers.began.clear()
    with pytest.raises(Interrupted):
        host.do(verb, 1)
    assert list(host.timers.began) == [f"{verb.value}:{host.name(1)}"]


def test_ro_06_a_replica_that_does_not_come_up_in_time_fails_whatever_it_waits_for(
    host: Host,
) -> None:
    host.release = host.simulation.by({"progress_deadline": 30}, "b", 1)
    host.runner = host.runner_of(host.release)
    host.do(Verb.START)
    host.simulation.ready.clear()
    with pytest.raises(Interrupted):
        host.do(Verb.READY)
    host.timers.began[f"ready:{host.name()}"] -= 29
    host.timers.began[f"progress:{host.name()}"] -= 29
    host.simulation.ready.update(host.simulation.running())
    host.do(Verb.READY)
    host.do(Verb.REGISTER)
    host.simulation.sicken(host.name())
    host.timers.began[f"progress:{host.name()}"] -= 1
    late = r"not healthy after 30 s; .* \(strategy.progress_deadline is 30 s\)"
    with pytest.raises(LoadBalancerError) as raised:
        host.do(Verb.ACTIVATE)
    assert re.search(late, raised.value.message), raised.value.message


def test_the_deadline_counts_from_the_start(host: Host) -> None:
    host.release = host.simulation.by({"progress_deadline": 30}, "b", 1)
    host.runner = host.runner_of(host.release)
    host.do(Verb.START)
    assert [key for key in host.timers.began if "progress" in key] == [f"progress:{host.name()}"]


def test_warm_up_requests_are_sent_once_and_all_in_time(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    (process,) = host.release.spec.processes
    process = replace(process, warm_up=WarmUp(("/a", "/b", "/c")))
    host.release = replace(host.release, spec=replace(host.release.spec, processes=(process,)))
    host.runner = host.runner_of(host.release)
    host.do(Verb.START)
    asked: list[str] = []

    def ask(_port: int, _clock: object, _address: str, path: str) -> float:
        if asked[-1:] == ["/a"] and "later" not in asked:
            asked.append("later")
            raise Interrupted("the call is over")
        asked.append(path)
        return 0.0

    monkeypatch.setattr(step_runner.warm_up, "ask", ask)
    with pytest.raises(Interrupted):
        host.do(Verb.WARM)
    host.do(Verb.WARM)
    assert asked == ["/a", "later", "/b", "/c"]
    host.timers.counts.clear()
    host.timers.began[f"warm:{host.name()}"] -= 86400
    with pytest.raises(ProbeError, match="warm-up not done in time: /a was not asked for"):
        host.do(Verb.WARM)


def test_a_replica_that_has_traffic_has_met_its_deadline(host: Host) -> None:
    host.release = host.simulation.by({"progress_deadline": 30}, "b", 1)
    host.runner = host.runner_of(host.release)
    host.up(1)
    assert [key for key in host.timers.began if key.startswith("progress:")] == []


def test_a_replica_that_is_started_anew_has_its_whole_time(host: Host) -> None:
    host.release = host.simulation.by({"progress_deadline": 30}, "b", 1)
    host.runner = host.runner_of(host.release)
    host.timers.began[f"progress:{host.name()}"] = host.simulation.clock.monotonic() - 40
    host.up(1)
    assert host.admins() == [Admin.ACTIVE]


def test_a_timer_of_before_a_reboot_begins_anew(host: Host) -> None:
    host.timers.began["x"] = 10_000.0
    assert host.timers.left("x", 60) == 60
    assert host.timers.began["x"] == host.simulation.clock.monotonic()


@pytest.mark.parametrize(
    "verb", [Verb.START, Verb.REGISTER, Verb.ACTIVATE, Verb.DRAIN, Verb.DEREGISTER, Verb.DESTROY]
)
def test_fence_a_late_step_changes_nothing(pair: Host, verb: Verb) -> None:
    pair.up(1, 2)
    late, _current = pair.runner, pair.runner_of(pair.release)
    if verb in (Verb.DEREGISTER, Verb.DESTROY):
        for driver in pair.simulation.drivers:
            driver.change(pair.name(1), admin=Admin.DRAINING)
    if verb is Verb.DESTROY:
        for driver in pair.simulation.drivers:
            driver.lose(pair.name(1))
    calls, admins = list(pair.simulation.engine.calls), pair.admins(1)
    with pytest.raises(Fenced, match="fenced: run epoch 1, current epoch 2"):
        pair.do(verb, 3 if verb is Verb.START else 1, late)
    assert (pair.simulation.engine.calls, pair.admins(1)) == (calls, admins)


def gone_from_balancers(host: Host) -> str:
    """Have a replica that no load balancer knows and that does not heed its signal; return its name."""
    host.up(1, 2)
    for driver in host.simulation.drivers:
        driver.lose(host.name(1))
    host.simulation.engine.deaf.add(host.name(1))
    return host.name(1)


def test_ro_15_one_that_takes_its_time_to_end_holds_no_lock_and_is_asked_once(host: Host) -> None:
    name = gone_from_balancers(host)
    with pytest.raises(Interrupted):
        host.do(Verb.DESTROY)
    assert host.notes == {name: "SIGTERM was sent"}
    with pytest.raises(Interrupted):
        host.do(Verb.DESTROY)
    calls = [call for call in host.simulation.engine.calls if call[0] != "start"]
    assert calls == [("ask_to_stop", name)]
    host.timers.began[f"destroy:{name}"] -= 30
    detail: Any = host.do(Verb.DESTROY)
    assert (detail["exit_code"], name in host.simulation.running()) == (143, False)


def test_nobody_waits_for_the_lock_while_one_takes_its_time_to_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone_from_balancers(host)

    def others(*_words: object) -> None:
        with pytest.raises(LeaseHeld):
            host.simulation.lease.acquire(Holder("another"), 60)
        raise Interrupted("seen")

    monkeypatch.setattr(replicas, "await_end", others)
    with pytest.raises(Interrupted, match="seen"):
        host.do(Verb.DESTROY)


def test_one_that_ends_while_another_step_fails_is_waited_for(host: Host) -> None:
    """Whatever comes next finds it gone, not half stopped."""
    name = gone_from_balancers(host)
    failing = host.runner_of(host.release, failing=lambda: True)
    host.do(Verb.DESTROY, runner=failing)
    assert name not in {item.name for item in host.simulation.engine.containers({})}


def test_one_that_another_run_has_told_to_end_is_replaced_and_no_failure(host: Host) -> None:
    host.do(Verb.START)
    host.simulation.engine.crash(host.name(), 0)
    host.timers.counts.clear()  # as another run finds it
    host.simulation.engine.restart(host.name())

    def ends(*_words: object, **_more: object) -> None:
        host.simulation.engine.crash(host.name(), 0)
        raise ProbeError("its process ended with code 0")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicas, "await_replica_ready", ends)
        with pytest.raises(Interrupted, match="has ended and was not started by this run"):
            host.do(Verb.READY)
        host.simulation.engine.restart(host.name())
        host.timers.counts[f"started:{host.name()}"] = 1
        with pytest.raises(ProbeError, match="its process ended with code 0"):
            host.do(Verb.READY)


def test_destroy_refuses_what_a_balancer_still_has(pair: Host) -> None:
    pair.up(1, 2)
    pair.simulation.drivers[0].lose(pair.name(1))
    with pytest.raises(
        CutoverError, match="still registered in memory backend 1; it is not destroyed"
    ):
        pair.do(Verb.DESTROY, 1)
    assert pair.name(1) in pair.simulation.running()


def test_view_a_zero_counts_only_while_the_balancer_routes_nothing_there(host: Host) -> None:
    host.up(1, 2)
    with pytest.raises(LoadBalancerError, match="is active while it was waited for its drain"):
        host.do(Verb.AWAIT, 1)


def test_drainchk_a_busy_replica_is_waited_for_and_the_note_says_so(host: Host) -> None:
    host.up(1, 2)
    host.simulation.drivers[0].change(host.name(1), admin=Admin.DRAINING)
    host.simulation.set_work(host.name(1), 3)
    with pytest.raises(Interrupted):
        host.do(Verb.AWAIT, 1)
    assert host.notes[host.name(1)] == "3 requests in flight"
    host.simulation.set_work(host.name(1), 0)
    assert host.do(Verb.AWAIT, 1) == {}


def test_long_lived_connections_are_closed_when_all_else_is_done(host: Host) -> None:
    host.up(1, 2)
    (process,) = host.release.spec.processes
    rule = LongLived(timeout=0, close_over=0)
    patient = replace(process, drain=replace(process.drain, long_lived=rule))
    spec = replace(host.release.spec, processes=(patient,))
    runner = host.runner_of(replace(host.release, spec=spec))
    balancer, name = host.simulation.drivers[0], host.name(1)
    balancer.change(name, admin=Admin.DRAINING)
    host.simulation.set_work(name, 1)
    balancer.hold(name, Session("a", 9, True), Session("b", 1, True))
    with pytest.raises(Interrupted):
        host.do(Verb.AWAIT, 1, runner)
    assert host.notes[name] == "1 requests in flight"
    assert len(balancer.sessions(name)) == 2
    host.simulation.set_work(name, 0)
    assert host.do(Verb.AWAIT, 1, runner) == {"long_lived_closed": 2}
    assert balancer.sessions(name) == ()
    assert host.do(Verb.AWAIT, 1, runner) == {"long_lived_closed": 0}


def test_fence_a_late_run_closes_no_connection(host: Host) -> None:
    host.up(1, 2)
    (process,) = host.release.spec.processes
    rule = LongLived(timeout=0, close_over=0)
    patient = replace(process, drain=replace(process.drain, long_lived=rule))
    spec = replace(host.release.spec, processes=(patient,))
    late = host.runner_of(replace(host.release, spec=spec))
    host.runner_of(host.release)
    balancer, name = host.simulation.drivers[0], host.name(1)
    balancer.change(name, admin=Admin.DRAINING)
    balancer.hold(name, Session("a", 9, True))
    with pytest.raises(Fenced):
        host.do(Verb.AWAIT, 1, late)
    assert len(balancer.sessions(name)) == 1


def test_a_replica_that_dies_before_it_is_registered_is_told_with_its_log(host: Host) -> None:
    host.do(Verb.START)
    host.simulation.ready.add(host.name())
    host.do(Verb.READY)
    host.simulation.engine.crash(host.name(), 3, "boom")
    with pytest.raises(EngineError, match="its container is exited, exit code 3") as caught:
        host.do(Verb.REGISTER)
    assert caught.value.details["log"] == ["boom"]
    assert host.admins() == [None]


def test_confirm_ends_when_it_does_not_serve(host: Host) -> None:
    host.up(1, 2)
    host.simulation.drivers[0].health(host.name(1), Health.DOWN)
    with pytest.raises(ProbeError, match="unhealthy within min_ready_seconds 0"):
        host.do(Verb.CONFIRM, 1)


def test_destroy_twice(host: Host) -> None:
    host.up(1, 2)
    host.simulation.drivers[0].lose(host.name(1))
    assert host.do(Verb.DESTROY, 1) == {"exit_code": 143, "killed": False}
    assert host.do(Verb.DESTROY, 1) == {"gone": True}


def test_a_process_that_is_not_in_the_spec_cannot_come_up(host: Host) -> None:
    with pytest.raises(CutoverError, match="process api is not in the spec"):
        host.runner.run(Step(Verb.START, "api", "shop-api-00000000-1", "00000000", 1))


@pytest.mark.parametrize("floor", [Fleet(min_serving=1), Fleet(min_serving="34%", hosts=2)])
def test_cap_a_drain_waits_for_the_floor_of_the_fleet(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floor: Fleet
) -> None:
    host.run(replicas=1, unavailable=1)
    host.up(1)
    site = replace(host.simulation.site, state_dir=str(tmp_path))
    monkeypatch.setattr(host.simulation, "site", site)
    runner = host.runner_of(replace(host.release, spec=replace(host.release.spec, fleet=floor)))
    with pytest.raises(Interrupted):
        host.do(Verb.DRAIN, runner=runner)
    driver = host.simulation.drivers[0]
    assert [target.admin for target in driver.targets()] == [Admin.ACTIVE]
    MemoryLoadBalancer.register(driver, "another-host", "127.0.0.9", 1)
    driver.change("another-host", admin=Admin.ACTIVE, health=Health.UP)
    host.do(Verb.DRAIN, runner=runner)
    assert driver.targets()[0].admin is Admin.DRAINING
