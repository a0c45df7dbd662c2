# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan cut at the hosts: one with the replicas, one or two with load balancers, each seeing the others late."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Target
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal
from ansible_collections.immutable.cutover.plugins.module_utils._release.part import WHOLE, Part
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import decide
from ansible_collections.immutable.cutover.plugins.module_utils._release.simulate import simulate
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Executor,
    Step,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Replica,
    World,
    serving_count,
)
from ansible_collections.immutable.cutover.tests.unit.support.worlds import PROCESS, goal, track

ENGINE, BALANCER = Part(Executor.ENGINE), Part(Executor.LOAD_BALANCER)
View = dict[str, Target]


def steps(*verbs: Verb) -> Track:
    return Track(tuple(Step(verb, PROCESS, "shop-web-bbbbbbbb-1", "b" * 8, 1) for verb in verbs))


UP = steps(Verb.READY, Verb.WARM, Verb.REGISTER, Verb.ACTIVATE, Verb.CONFIRM)
GONE = steps(Verb.AWAIT, Verb.DEREGISTER, Verb.DESTROY)
TAKEN = [
    ("whole", WHOLE, UP, (), "b1 ready warm register activate confirm"),
    ("host-prepares", ENGINE, UP, (), "b1 ready warm"),
    ("host-has-prepared", ENGINE, UP, ("shop-web-bbbbbbbb-1",), ""),
    ("balancer-waits-for-the-host", BALANCER, UP, (), ""),
    ("balancer-goes-on", BALANCER, UP, ("shop-web-bbbbbbbb-1",), "b1 register activate confirm"),
    ("balancer-starts-nothing", BALANCER, steps(Verb.START), ("shop-web-bbbbbbbb-1",), ""),
    ("balancer-destroys-nothing", BALANCER, GONE, (), "b1 await deregister"),
    ("host-waits-for-the-balancer", ENGINE, GONE, (), ""),
    ("host-destroys", ENGINE, steps(Verb.DESTROY), (), "b1 destroy"),
    ("views-of-before", Part(Executor.ENGINE, destroys=False), steps(Verb.DESTROY), (), ""),
]


@pytest.mark.parametrize(
    ("part", "whole", "prepared", "expected"), [pytest.param(*row[1:], id=row[0]) for row in TAKEN]
)
def test_a_host_takes_what_is_its_own(
    part: Part, whole: Track, prepared: tuple[str, ...], expected: str
) -> None:
    mine = part.of(whole, prepared)
    assert (track(mine) if mine else "") == expected


def test_only_the_host_of_the_replicas_prepares() -> None:
    ready = steps(Verb.READY)
    assert [part.prepares(ready) for part in (WHOLE, ENGINE, BALANCER)] == [False, True, False]
    assert not ENGINE.prepares(steps(Verb.DESTROY))


@dataclass
class Hosts:
    """What is really there, what each host was last told of the others, and the rules that must hold at any moment."""

    wanted: Goal
    floor: int
    containers: dict[str, Replica] = field(default_factory=dict)
    balancers: list[View] = field(default_factory=list)
    told: dict[str, Replica] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    settled: list[frozenset[str]] = field(default_factory=list)
    prepared: set[str] = field(default_factory=set)

    def home(self, limit: int) -> bool:
        """Let the replicas' host work; return whether it says that all is done."""
        settled = frozenset.intersection(*self.settled)
        for _step in range(limit):
            seen = _world(self.containers, self.views, settled)
            todo = decide(self.wanted, seen).tracks
            if not todo:
                return True
            mine = [part for item in todo if (part := ENGINE.of(item, self.prepared))]
            if not mine:
                break
            self._here(mine[0])
        self.told = dict(self.containers)
        return False

    def _here(self, mine: Track) -> None:
        for step in mine.steps:
            if step.verb is Verb.START:
                self.prepared.discard(step.replica)
                made = Replica(step.replica, PROCESS, step.release, step.slot, "id", True, "", 8080)
                self.containers[step.replica] = made
            if step.verb is Verb.DESTROY:
                assert not any(step.replica in view for view in self.balancers), "still registered"
                del self.containers[step.replica]
        if ENGINE.prepares(mine):
            self.prepared.add(mine.replica)

    def balance(self, number: int, limit: int) -> None:
        """Let a load balancer's host work."""
        for _step in range(limit):
            seen = _world(self.told, [self.balancers[number]], self.settled[number])
            todo = decide(self.wanted, seen).tracks
            mine = [part for item in todo if (part := BALANCER.of(item, self.prepared))]
            if not mine:
                break
            for step in mine[0].steps:
                if step.verb is Verb.REGISTER:
                    assert step.replica in self.prepared, "never found ready"
                seen = simulate(self.wanted, seen, step)
                self.balancers[number] = _targets(seen)
                self._check()
            self.settled[number] = seen.settled
        self.views[number] = dict(self.balancers[number])

    def _check(self) -> None:
        for view in self.balancers:
            real = _world(self.containers, [view], frozenset())
            assert serving_count(real, PROCESS) >= self.floor


def _world(containers: dict[str, Replica], views: list[View], settled: frozenset[str]) -> World:
    names = {*containers, *(name for view in views for name in view)}
    found = []
    for name in sorted(names):
        release, slot = name.split("-")[-2:]
        bare = containers.get(name) or Replica(name, PROCESS, release, int(slot))
        found.append(replace(bare, targets=tuple(view.get(name) for view in views)))
    return World(tuple(found), settled)


def _targets(seen: World) -> View:
    return {item.name: item.targets[0] for item in seen.replicas if item.targets[0] is not None}


def converge(hosts: Hosts, limits: list[int], rounds: int = 400) -> int:
    """Take turns until the replicas' host says "done"; a limit is how much a host does in one turn."""
    for number in range(rounds):
        limit = limits[number % len(limits)]
        if hosts.home(limit):
            return number
        for balancer in range(len(hosts.balancers)):
            hosts.balance(balancer, limit)
    raise AssertionError("it does not end")


@given(
    old=st.integers(0, 4),
    new=st.integers(0, 4),
    surge=st.integers(0, 3),
    unavailable=st.integers(0, 2),
    balancers=st.integers(1, 2),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_turns_converge_and_keep_the_floor(
    old: int, new: int, surge: int, unavailable: int, balancers: int, limits: list[int]
) -> None:
    surge = surge or (0 if unavailable else 1)
    empty: list[View] = [{} for _balancer in range(balancers)]
    none = [frozenset[str]() for _balancer in range(balancers)]
    hosts = Hosts(goal("a", old), 0, {}, list(empty), {}, list(empty), list(none))
    converge(hosts, [6])
    hosts.wanted = goal("b", new, surge, unavailable)
    hosts.floor = max(0, min(old, new - unavailable))
    hosts.settled = list(none)
    converge(hosts, limits)
    names = {f"shop-web-bbbbbbbb-{slot}" for slot in range(1, new + 1)}
    assert set(hosts.containers) == names
    assert [set(view) for view in hosts.balancers] == [names] * balancers
