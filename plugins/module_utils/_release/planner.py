# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: what may be done next, and with it the whole way; pure, private, no stability promised.

C(decide) is the one decision: given what is wanted and what is seen now, which tracks may begin, or at which gate
everything waits. Each strategy is one such function. C(plan) repeats it on a simulated world until nothing is left
to do. The executor repeats it on the real world after every completed track, so a plan shown and a run done are the
same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._release import (
    blue_green,
    canary,
    recreate,
    rolling,
    weights,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Reach
from ansible_collections.immutable.cutover.plugins.module_utils._release.simulate import simulate
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Batch,
    Decision,
    Hold,
    Plan,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    World,
    serving_count,
)

Strategy = Callable[[Goal, World, frozenset[str]], Decision]
STRATEGIES: Mapping[str, Strategy] = {
    "rolling": rolling.decide,
    "blue_green": blue_green.decide,
    "recreate": recreate.decide,
    "canary": canary.decide,
}
_TAKES_AWAY = frozenset({Verb.DRAIN, Verb.AWAIT, Verb.DEREGISTER, Verb.DESTROY})


def decide(goal: Goal, world: World, busy: frozenset[str] = frozenset()) -> Decision:
    """Return what may begin now. C(busy) names replicas something is under way for."""
    decision = STRATEGIES[goal.strategy](goal, world, busy)
    tracks = decision.tracks
    if goal.equal != weights.EQUAL:
        tracks = tuple(weights.with_weight(track, goal.equal) for track in tracks)
    if goal.strategy != "canary" or goal.going_back:
        equal = (weights.equalise(want, world, busy, goal.equal) for want in goal.wants)
        tracks = (*tracks, *(track for track in equal if track))
    return replace(decision, tracks=tracks)


def reach(goal: Goal, world: World) -> Reach:
    """Return how far a host with a load balancer may go by itself; other strategies need no such agreement."""
    return blue_green.reach(goal, world) if goal.strategy == "blue_green" else Reach.RETIRE


def plan(goal: Goal, observed: World, limit: int = 2000) -> Plan:
    """Return every batch from the observed world to the goal; empty when there is nothing to do.

    A gate is a batch without tracks; the way behind it is what follows when it is passed.
    """
    names = frozenset(replica.name for replica in observed.replicas)
    # Whoever is up by the look of it will be found so; the run looks again.
    world = replace(observed, settled=names, checked=names)
    before = _capacity(goal, world)
    lowest = dict(before)
    batches: list[Batch] = []
    for _batch in range(limit):
        decision = decide(goal, world)
        if not decision.tracks and decision.hold is None:
            return Plan(
                goal.release, tuple(batches), before, tuple(lowest.items()), _capacity(goal, world)
            )
        batches.append(Batch(decision.tracks, _capacity(goal, world), decision.hold))
        if decision.hold is not None and not decision.tracks:
            goal = past(goal, decision.hold)
        # What takes capacity away comes first: the lowest point of the batch is then seen.
        for track in sorted(
            decision.tracks, key=lambda item: item.steps[0].verb not in _TAKES_AWAY
        ):
            for step in track.steps:
                world = simulate(goal, world, step)
                for process, count in _capacity(goal, world):
                    lowest[process] = min(lowest[process], count)
    raise AssertionError(f"the planner did not converge within {limit} batches")


def past(goal: Goal, hold: Hold) -> Goal:
    """Return the goal as it is behind a gate."""
    if hold.kind == "delay":
        return replace(goal, delay=0)
    return replace(goal, passed=goal.passed | {hold.gate})


def _capacity(goal: Goal, world: World) -> tuple[tuple[str, int], ...]:
    return tuple((want.process, serving_count(world, want.process)) for want in goal.wants)
