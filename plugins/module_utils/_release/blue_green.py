# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The strategy C(blue_green): all of the new is prepared without traffic, then one switch; pure, private.

Prepare: every new replica is started, ready, warm, registered as standby, and found up by the load balancers' own
checks. Gates. Switch: all new ones active and confirmed, then all old ones draining. What was replaced stays for a
while, running, registered and drained, so that going back starts nothing; then it goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import (
    Goal,
    Reach,
    Want,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Decision,
    Hold,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.tracks import (
    GONE,
    WITHOUT_TRAFFIC,
    retire,
    track,
    up,
    wanted_and_surplus,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    Replica,
    World,
)

DELAY = "scale_down"
_CHECKED = (Admin.STANDBY, Admin.DRAINING, Admin.ACTIVE)


@dataclass(frozen=True)
class _Sets:
    """One process: what is wanted of it, and what else is there."""

    want: Want
    wanted: list[Replica]
    surplus: list[Replica]

    @property
    def enough(self) -> bool:
        """Whether enough serve, of whatever release."""
        serve = sum(item.phase is Phase.SERVING for item in self.wanted + self.surplus)
        return serve >= self.want.floor


def decide(goal: Goal, world: World, busy: frozenset[str]) -> Decision:
    """Return the tracks that may begin now, or the gate at which everything waits."""
    sets = [_Sets(want, *wanted_and_surplus(goal, want, world)) for want in goal.wants]
    wanted = [replica for one in sets for replica in one.wanted]
    surplus = [replica for one in sets for replica in one.surplus]
    tracks = [track(item, *retire(item)) for item in wanted + surplus if _over(item, busy)]
    tracks += [item for one in sets for item in _prepare(goal, one, world, busy)]
    if not all(_prepared(replica, world) and replica.name not in busy for replica in wanted):
        return Decision((*tracks, *_spare(goal, sets, busy)))
    if goal.reach is Reach.PREPARE:
        return Decision(tuple(tracks))
    routed = [replica for replica in surplus if replica.routed]
    if any(replica.phase is not Phase.SERVING for replica in wanted):
        hold = _gate(goal) if routed else None
        return Decision((*tracks, *([] if hold else _switch(wanted))), hold)
    if goal.reach is Reach.SWITCH:
        return Decision(tuple(tracks))
    if routed:
        drains = [track(item, Verb.DRAIN) for item in routed if item.name not in busy]
        return Decision((*tracks, *drains))
    return _leave(goal, surplus, tracks, busy)


def reach(goal: Goal, world: World) -> Reach:
    """Return how far every load balancer may go: none switches before all of the new is prepared in all of them and no
    gate is left, and none takes the old out before the new serves in all of them.
    """
    sets = [wanted_and_surplus(goal, want, world) for want in goal.wants]
    wanted = [replica for found, _surplus in sets for replica in found]
    known = replace(world, settled=frozenset(replica.name for replica in wanted))
    if not all(_prepared(replica, known) for replica in wanted):
        return Reach.PREPARE
    if all(replica.phase is Phase.SERVING for replica in wanted):
        settled = all(replica.name in world.settled for replica in wanted)
        return Reach.RETIRE if settled else Reach.SWITCH
    routed = any(replica.routed for _wanted, surplus in sets for replica in surplus)
    return Reach.PREPARE if routed and _gate(goal) else Reach.SWITCH


def _over(replica: Replica, busy: frozenset[str]) -> bool:
    """Tell whether what is left of it has to go before anything else."""
    there = bool(replica.container_id) or replica.registered
    return there and replica.phase in GONE and replica.name not in busy


def _prepared(replica: Replica, world: World) -> bool:
    """Whether it serves, or could at once."""
    if replica.phase is Phase.SERVING:
        return replica.name in world.settled
    known = all(target is not None and target.admin in _CHECKED for target in replica.targets)
    return replica.phase is Phase.STANDBY and known and replica.name in world.checked


def _prepare(goal: Goal, one: _Sets, world: World, busy: frozenset[str]) -> list[Track]:
    """Bring up what is wanted, as far as it goes without traffic."""
    tracks = []
    for replica in one.wanted:
        if replica.name in busy or _prepared(replica, world) or _over(replica, busy):
            continue
        if replica.phase is Phase.SERVING:
            tracks.append(track(replica, Verb.CONFIRM))
        elif replica.phase is Phase.UNHEALTHY:  # it was switched to already
            tracks.append(track(replica, Verb.READY, Verb.CHECK, Verb.CONFIRM))
        else:
            # What has served before is warm, and going back does not wait for it to be as fast as what it replaces.
            warm = goal.going_back and bool(replica.container_id)
            want = replace(one.want, warm_up=False) if warm else one.want
            tracks.append(up(want, replica, WITHOUT_TRAFFIC))
    return tracks


def _spare(goal: Goal, sets: list[_Sets], busy: frozenset[str]) -> list[Track]:
    """Take away, before a switch, what other runs have left: never three sets at a time.

    Not what is being replaced, and not what this release has replaced and could be gone back to.
    """
    tracks = []
    for one in sets:
        if goal.took_over or all(item.phase is Phase.SERVING for item in one.wanted):
            continue
        in_use = {item.release for item in one.surplus if item.routed}
        tracks += [
            track(item, *retire(item))
            for item in one.surplus
            if item.phase in (Phase.STARTED, Phase.STANDBY)
            and item.release not in in_use
            and item.name not in busy
            and one.enough
        ]
    return tracks


def _gate(goal: Goal) -> Hold | None:
    """Return the gate before the switch; what takes over from nothing waits at none."""
    return next((hold for hold in goal.gates if goal.waits_at(hold.gate)), None)


def _switch(wanted: list[Replica]) -> list[Track]:
    return [
        track(replica, Verb.ACTIVATE, Verb.CONFIRM)
        for replica in wanted
        if replica.phase is not Phase.SERVING
    ]


def _leave(
    goal: Goal, surplus: list[Replica], tracks: list[Track], busy: frozenset[str]
) -> Decision:
    """Take away what was replaced, when its time is over; what is too many of this release at once."""
    current = {want.process: want.release for want in goal.wants}
    left = [item for item in surplus if item.phase not in GONE]
    kept = [item for item in left if goal.delay > 0 and item.release != current[item.process]]
    leaving = [
        track(item, *retire(item)) for item in left if item not in kept and item.name not in busy
    ]
    return Decision((*tracks, *leaving), Hold(DELAY, "delay", goal.delay) if kept else None)
