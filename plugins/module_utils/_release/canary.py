# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The strategy C(canary): a few new replicas beside the whole stable set get a growing share; pure, private.

Where it stands is read off the gates that were passed; the share off the weights the balancers show. Behind the last
gate the rest is replaced by C(rolling), with equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._release import rolling, weights
from ansible_collections.immutable.cutover.plugins.module_utils._release.canary_spec import (
    CanaryStep,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Decision,
    Hold,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    Replica,
    World,
)

_COMES_UP = frozenset({Verb.START, Verb.READY})


@dataclass(frozen=True)
class Position:
    """Which share is wanted now, and what has to be passed next; C(hold) None: all steps are done."""

    percent: int
    hold: Hold | None


def position(goal: Goal) -> Position:
    """Return where the release stands."""
    percent = 0
    for number, step in enumerate(goal.steps, start=1):
        if step.kind == "weight":
            percent = step.weight
            continue
        gate = f"{number}-{step.kind}-at-{percent}"
        if gate not in goal.passed:
            return Position(percent, _hold(gate, step))
    return Position(percent, None)


def _hold(gate: str, step: CanaryStep) -> Hold:
    if step.kind == "pause" and not step.seconds:
        return Hold(gate, "approval")
    return Hold(gate, step.kind, step.seconds)


def step_of(goal: Goal, gate: str) -> CanaryStep | None:
    """Return the step that a gate stands for."""
    number = gate.partition("-")[0]
    index = int(number) - 1 if number.isdigit() else -1
    return goal.steps[index] if 0 <= index < len(goal.steps) else None


def under_way(goal: Goal, world: World) -> bool:
    """Tell whether a canary and the stable set share the traffic, with steps still to come."""
    return position(goal).hold is not None and any(
        sides(want, world)[0] and sides(want, world)[1] for want in goal.wants
    )


def sides(want: Want, world: World) -> tuple[list[Replica], list[Replica]]:
    """Return the routed replicas of other releases and those of the wanted one."""
    found = weights.routed(world, want.process)
    return (
        [replica for replica in found if replica.release != want.release],
        [replica for replica in found if replica.release == want.release],
    )


def decide(goal: Goal, world: World, busy: frozenset[str]) -> Decision:
    """Return the tracks that may begin now, or the gate of the step that everything waits at."""
    if goal.going_back:  # what is given up goes first, whatever its weight
        return rolling.decide(goal, world, busy)
    here = position(goal)
    tracks: list[Track] = []
    beside = False
    for want in goal.wants:
        if here.hold is None or not want.canary or not sides(want, world)[0]:
            tracks += _replace(goal, want, world, busy)
        else:
            beside = True
            tracks += _beside(goal, want, world, busy, here.percent)
    if tracks or busy or not beside:
        return Decision(tuple(tracks))
    return Decision((), here.hold)


def _replace(goal: Goal, want: Want, world: World, busy: frozenset[str]) -> list[Track]:
    """Behind the last step, or with nothing to compare with: equal weights first, then as rolling does."""
    equal = {replica.name: goal.equal for replica in weights.routed(world, want.process)}
    weigh = weights.weigh(want, world, equal)
    if want.process in busy:
        return []
    if weigh is not None:
        return [weigh]
    return list(rolling.decide(replace(goal, wants=(want,)), world, busy).tracks)


def _beside(
    goal: Goal, want: Want, world: World, busy: frozenset[str], percent: int
) -> list[Track]:
    """Bring up and keep up the canary's replicas, drain nothing that serves, and hold the share."""
    stable, canary = sides(want, world)
    serving = sum(replica.phase is Phase.SERVING for replica in stable)
    count = max(want.canary, len(canary))
    small = replace(
        want,
        replicas=count,
        max_surge=len(world.of(want.process)),
        max_unavailable=count - want.floor,
    )
    found = rolling.decide(replace(goal, wants=(small,)), world, busy).tracks
    tracks = [track for track in found if not _takes_away_what_serves(track, world)]
    if percent == 0:
        return [track for track in map(_for_who_asks, tracks) if not _waits(track, world)]
    if not serving:  # nothing to share with: what the weights were, they stay
        return tracks
    old, new = weights.shares(percent, serving, count, goal.equal)
    wanted = {replica.name: old for replica in stable}
    wanted |= {replica.name: new for replica in canary}
    weigh = weights.weigh(want, world, wanted)
    if weigh is not None or want.process in busy:
        # No canary is activated before the stable set has its weight: until then its share would be another.
        tracks = [track for track in tracks if track.steps[0].verb not in _COMES_UP]
        return tracks if weigh is None or want.process in busy else [weigh, *tracks]
    return [weights.with_weight(track, new) for track in tracks]


def _takes_away_what_serves(track: Track, world: World) -> bool:
    replica = world.find(track.replica)
    return (
        track.steps[0].verb is Verb.DRAIN
        and replica is not None
        and replica.phase in (Phase.SERVING, Phase.UNHEALTHY)
    )


def _for_who_asks(track: Track) -> Track:
    """Bring it up without a share: only requests that ask for it get it."""
    if not any(step.verb is Verb.ACTIVATE for step in track.steps):
        return track
    kept = [step for step in track.steps if step.verb not in (Verb.ACTIVATE, Verb.CONFIRM)]
    return Track((*kept, replace(track.steps[-1], verb=Verb.CHECK)))


def _waits(track: Track, world: World) -> bool:
    """Tell whether it is up as far as it goes without a share."""
    replica = world.find(track.replica)
    there = replica is not None and replica.phase is Phase.STANDBY
    return there and track.replica in world.checked and track.steps[-1].verb is Verb.CHECK
