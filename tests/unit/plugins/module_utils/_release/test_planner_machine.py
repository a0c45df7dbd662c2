# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The five rules under every interleaving that hypothesis thinks of, and proof that it would see them broken.

A run is driven step by step by the real C(decide) and the real StepRunner under the real lease. Runs are killed
between and inside steps, their late steps come back, other releases arrive, replicas die, balancers forget.
Whatever has happened: once the faults end, one more run ends at exactly what is wanted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ansible_collections.immutable.cutover.plugins.module_utils._apply import step_runner, targets
from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Interrupted
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.removal import Removal
from ansible_collections.immutable.cutover.plugins.module_utils._apply.step_runner import StepRunner
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError, Fenced
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Health
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import decide, plan
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Step, Verb
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase as ReplicaPhase,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World
from ansible_collections.immutable.cutover.tests.unit.support.simulation import (
    APP,
    PATIENCE,
    PROCESS,
    Killed,
    SimulatedProbe,
    Simulation,
    Violation,
)

PICK = st.integers(0, 50)
Chosen = dict[str, object]
BLUE_GREEN: Chosen = {"type": "blue_green"}
RECREATE: Chosen = {"type": "recreate"}
CANARY: Chosen = {
    "type": "canary",
    "steps": [{"weight": 10}, {"pause": {}}, {"weight": 60}, {"pause": 9}],
}
ROLLING: list[Chosen] = [
    {"max_surge": surge, "max_unavailable": unavailable}
    for surge, unavailable in ((1, 0), (2, 0), (0, 1), (1, 1), (3, 0))
]
STRATEGIES = [
    *ROLLING,
    BLUE_GREEN,
    {**BLUE_GREEN, "scale_down_delay": 0},
    RECREATE,
    CANARY,
    {**CANARY, "replicas": 2, "max_surge": 2},
]
ROUNDS = 80


def promised(replicas: int, strategy: Chosen) -> int:
    """Return how many replicas clients are promised at any time."""
    unavailable = strategy.get("max_unavailable", 0)
    assert isinstance(unavailable, int)
    return 0 if strategy == RECREATE else max(0, replicas - unavailable)


@dataclass
class Late:
    """The rest of a track whose process still lives although its run is over."""

    runner: StepRunner
    epoch: int
    steps: list[Step]


@dataclass
class Flow:
    """One run: what an executor keeps."""

    release: Release
    epoch: int
    runner: StepRunner
    tracks: dict[str, list[Step]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    checked: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)

    @property
    def goal(self) -> Goal:
        """What it works towards, behind the gates it has passed."""
        return replace(self.release.goal(), passed=frozenset(self.passed))


class CutoverMachine(RuleBasedStateMachine):
    """One host, one app, any number of runs."""

    lagging = False
    guards_work = True

    def __init__(self) -> None:
        super().__init__()
        self.late: list[Late] = []
        self.flow: Flow | None = None
        self.last: tuple[str, int, Chosen] | None = None
        self.broken = False

    @initialize(balancers=st.integers(1, 2))
    def host(self, balancers: int) -> None:
        self.simulation = Simulation(balancers)
        for driver in self.simulation.drivers:
            driver.lagging, driver.guards_work = self.lagging, self.guards_work
        self.patches = contextlib.ExitStack()
        probe = SimulatedProbe(self.simulation)
        self.patches.enter_context(
            mock.patch.object(step_runner, "readiness_probe", lambda _process: probe)
        )
        self.patches.enter_context(mock.patch("os.fsync"))  # no power fails here

    # What runs do.

    @rule(
        version=st.sampled_from("abc"),
        replicas=st.integers(0, 3),
        strategy=st.sampled_from(STRATEGIES),
    )
    def begin(self, version: str, replicas: int, strategy: Chosen) -> None:
        """A run takes over, whatever the one before was doing."""
        self.kill()
        self.last = (version, replicas, strategy)
        release = self.simulation.by(strategy, version, replicas)
        release = replace(release, delay=release.spec.strategy.scale_down_delay)
        lease = self.simulation.lease
        epoch = lease.read().epoch
        epoch = lease.acquire(Holder(f"run-{epoch + 1}"), 60, take_over=epoch).epoch
        timers = Timers(self.simulation.clock)
        runner = StepRunner(
            release, self.simulation.site, lease, epoch, timers, lambda _name, _note: None
        )
        self.flow = Flow(release, epoch, runner)
        self.simulation.epoch = epoch
        self.simulation.floor = promised(replicas, strategy)

    @precondition(lambda self: self.flow)
    @rule(picks=st.lists(PICK, min_size=1, max_size=12))
    def work(self, picks: list[int]) -> None:
        """Look and go some steps, on any track."""
        for pick in picks:
            if self.flow is None:
                return
            if pick % 4 == 0 or not self.flow.tracks:
                self.look(self.flow)  # and act on it later, when it may no longer be so
            else:
                self.one_step(self.flow, pick)

    @precondition(lambda self: self.flow)
    @rule(rounds=st.integers(1, 10), answered=st.booleans())
    def go_well(self, rounds: int, answered: bool) -> None:
        """For a while every track goes on; clients ask all the time, and are answered or not."""
        for number in range(rounds):
            if self.flow is None:
                return
            self.simulation.ready.update(self.simulation.running())
            self.requests(number, 1)
            if answered:
                self.answers(0)
            for name in list(self.flow.tracks):
                if self.flow is not None:
                    self.one_step(self.flow, sorted(self.flow.tracks).index(name))
            if self.flow is not None:
                self.look(self.flow)

    @precondition(lambda self: self.flow)
    @rule()
    def pass_a_gate(self) -> None:
        """Somebody or something lets it through where it waits."""
        assert self.flow is not None
        busy = frozenset(self.flow.tracks)
        decision = decide(self.flow.goal, self.seen(self.flow), busy)
        if decision.hold is not None and not decision.tracks and not busy:
            self.flow.passed.add(decision.hold.gate)

    @precondition(lambda self: self.drains())
    @rule(pick=PICK, kind=st.integers(0, 2))
    def fault_before_a_drain(self, pick: int, kind: int) -> None:
        """Between the plan that found enough others and the drain, one of the others goes."""
        assert self.flow is not None
        drains = self.drains()
        name = drains[pick % len(drains)]
        others = [other for _driver, other in self.simulation.routed() if other != name]
        if others:
            self.lose_a_replica(
                self.simulation.running().index(others[pick % len(others)]),
                ("die", "vanish", "sicken")[kind],
            )
        self.one_step(self.flow, sorted(self.flow.tracks).index(name))

    def drains(self) -> list[str]:
        """Return the replicas whose next step is to drain."""
        tracks = self.flow.tracks if self.flow else {}
        return sorted(name for name, steps in tracks.items() if steps[0].verb is Verb.DRAIN)

    @precondition(lambda self: self.flow and self.flow.tracks)
    @rule(pick=PICK, halves=st.integers(1, 4))
    def kill_inside(self, pick: int, halves: int) -> None:
        """The run is killed before, between or after the acts of one step."""
        assert self.flow is not None
        self.simulation.kill_in = halves
        self.one_step(self.flow, pick)
        self.kill()

    @rule()
    def kill(self) -> None:
        """The controller is gone; what its processes still do comes late or never."""
        if self.flow is not None:
            for steps in self.flow.tracks.values():
                self.late.append(Late(self.flow.runner, self.flow.epoch, steps))
            self.flow = None

    @precondition(lambda self: self.late)
    @rule(pick=PICK, count=st.integers(1, 3))
    def late_steps(self, pick: int, count: int) -> None:
        """A process of a run that is over goes on: refused if anybody has the lease since."""
        late = self.late[pick % len(self.late)]
        for _step in range(count):
            try:
                done = self.act(late.epoch, late.runner, late.steps[0])
            except Fenced:
                assert late.epoch != self.simulation.epoch
                done = None
            except CutoverError:
                done = None
            if done:
                late.steps.pop(0)
            if done is None or not late.steps:
                self.late.remove(late)
                return

    def look(self, flow: Flow) -> None:
        world = self.seen(flow)
        for track in decide(flow.goal, world, frozenset(flow.tracks)).tracks:
            assert track.replica not in flow.tracks
            flow.tracks[track.replica] = list(track.steps)

    def seen(self, flow: Flow) -> World:
        replicas = self.simulation.look().replicas
        return World(replicas, frozenset(flow.settled), frozenset(flow.checked))

    def one_step(self, flow: Flow, pick: int) -> None:
        name = sorted(flow.tracks)[pick % len(flow.tracks)]
        try:
            self.advance_track(flow, name)
        except CutoverError:  # the run has failed and ends
            del flow.tracks[name]
            self.kill()
        except Killed:
            self.kill()

    def advance_track(self, flow: Flow, name: str) -> None:
        step = flow.tracks[name][0]
        if self.act(flow.epoch, flow.runner, step):
            flow.tracks[name].pop(0)
            if step.verb is Verb.CONFIRM:
                flow.settled.add(name)
            if step.verb is Verb.CHECK:
                flow.checked.add(name)
            if step.verb is Verb.START:
                flow.checked.discard(name)
        if not flow.tracks[name]:
            del flow.tracks[name]

    def act(self, epoch: int, runner: StepRunner, step: Step) -> bool:
        """Run a step; False when its wait was cut off."""
        self.simulation.acting_epoch = epoch
        self.simulation.clock.looks = PATIENCE
        try:
            runner.run(step)
        except Interrupted:
            return False
        except Violation:
            self.broken = True
            raise
        finally:
            self.simulation.kill_in = 0
        return True

    # What everybody else does.

    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def become_ready(self, picks: list[int]) -> None:
        running = self.simulation.running()
        self.simulation.ready.update(running[pick % len(running)] for pick in picks if running)

    @rule(pick=PICK, count=st.integers(1, 3))
    def requests(self, pick: int, count: int) -> None:
        """Clients are sent to whom a balancer chooses."""
        routed = self.simulation.routed()
        if routed:
            name = routed[pick % len(routed)][1]
            self.simulation.set_work(name, self.simulation.work.get(name, 0) + count)

    @rule(share=st.integers(0, 1))
    def answers(self, share: int) -> None:
        for name, count in self.simulation.work.items():
            self.simulation.set_work(name, count * share // 2)

    @rule(
        pick=PICK, fault=st.sampled_from(["replica", "check", "balancer"]), kind=st.integers(0, 2)
    )
    def fault(self, pick: int, fault: str, kind: int) -> None:
        """Something breaks that is not ours to break."""
        if fault == "replica":
            self.lose_a_replica(pick, ("die", "vanish", "readdress")[kind])
        elif fault == "check":
            self.check_changes(pick, (Health.UP, Health.DOWN, Health.DOWN)[kind])
        else:
            self.balancer_forgets(pick, ("restart", "reset", "lose")[kind])

    def lose_a_replica(self, pick: int, kind: str) -> None:
        running = self.simulation.running()
        if running:
            getattr(self.simulation, kind)(running[pick % len(running)])

    def check_changes(self, pick: int, health: Health) -> None:
        pairs = [(driver, name) for driver in self.simulation.drivers for name in driver.entries()]
        if pairs:
            driver, name = pairs[pick % len(pairs)]
            driver.health(name, health)

    def balancer_forgets(self, pick: int, kind: str) -> None:
        driver = self.simulation.drivers[pick % len(self.simulation.drivers)]
        names = sorted(driver.entries())
        if kind == "restart":
            self.simulation.restart_balancer(driver)
        elif kind == "reset":
            driver.reset_draining()
        elif names:
            self.simulation.set_work(names[pick % len(names)], 0)
            driver.lose(names[pick % len(names)])

    @precondition(lambda self: self.lagging)
    @rule()
    def asked_comes_true(self) -> None:
        for driver in self.simulation.drivers:
            driver.apply_asked()

    # What must be true in the end.

    def teardown(self) -> None:
        if not hasattr(self, "simulation"):
            return
        with self.patches:
            try:
                if self.last is not None and not self.broken and not self.lagging:
                    self.end(*self.last)
            finally:
                self.simulation.close()

    def end(self, version: str, replicas: int, strategy: Chosen) -> None:
        """No more faults: the next run ends at exactly what is wanted, without a failure on the way."""
        delay = {"scale_down_delay": 0} if strategy.get("type") == "blue_green" else {}
        self.begin(version, replicas, {**strategy, **delay})
        assert self.flow is not None
        flow = self.flow
        for _round in range(ROUNDS):
            self.simulation.heal()
            self.look(flow)
            waiting = decide(flow.goal, self.seen(flow), frozenset(flow.tracks)).hold
            if not flow.tracks and waiting is None:
                break
            flow.passed |= {waiting.gate} if waiting and not flow.tracks else set()
            for name in list(flow.tracks):
                self.advance_track(flow, name)
        else:
            raise AssertionError(f"liveness: {ROUNDS} rounds did not suffice: {flow.tracks}")
        world = self.simulation.look()
        names = [replica_name(APP, PROCESS, flow.release.id, slot + 1) for slot in range(replicas)]
        assert sorted(replica.name for replica in world.replicas) == names
        assert all(replica.phase is ReplicaPhase.SERVING for replica in world.replicas)
        found = [target for replica in world.replicas for target in replica.targets if target]
        assert {target.weight for target in found} <= {1}
        assert plan(flow.release.goal(), world).batches == ()


SETTINGS = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_rules_hold_and_every_run_converges() -> None:
    run_state_machine_as_test(CutoverMachine, settings=SETTINGS)


# Each mutant takes one rule away, wherever it is held. The machine must see that rule broken.


@contextlib.contextmanager
def no_guard(_lease: Lease, _epoch: int) -> Iterator[None]:
    yield


def nothing(*_arguments: object, **_options: object) -> dict[str, object]:
    return {}


MUTANTS: dict[str, tuple[dict[str, bool], list[tuple[object, str, object]]]] = {
    "READY": ({}, [(StepRunner, "_ready", nothing)]),
    "CAP": ({}, [(Want, "floor", property(lambda _want: 0))]),
    "DRAINCHK": ({"guards_work": False}, [(StepRunner, "_await", nothing)]),
    "VIEW": (
        {"lagging": True},
        [
            (targets._DrainWait, "refuse_routed", nothing),
            (Removal, "_refuse_registered", nothing),
        ],
    ),
    "FENCE": ({}, [(Lease, "guard", no_guard)]),
}


@pytest.mark.parametrize("broken", MUTANTS)
def test_a_mutant_without_the_rule_is_found(broken: str) -> None:
    options, patches = MUTANTS[broken]
    machine: type[RuleBasedStateMachine] = type("Mutant", (CutoverMachine,), dict(options))
    search = settings(
        SETTINGS, max_examples=1000, phases=[Phase.generate], report_multiple_bugs=False
    )
    with contextlib.ExitStack() as stack:
        for owner, name, value in patches:
            stack.enter_context(mock.patch.object(owner, name, value))
        with pytest.raises(Violation) as found:
            run_state_machine_as_test(machine, settings=search)
    assert found.value.rule == broken
