# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tracks that every strategy is made of; pure, private, no stability promised."""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.simulate import new_replica
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Step,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    Replica,
    World,
)

GONE = (Phase.DEAD, Phase.MISADDRESSED, Phase.MISSING)
"""What could never serve again under its name: its container is over, or its target has another address."""


ALL_THE_WAY = (Verb.START, Verb.READY, Verb.WARM, Verb.REGISTER, Verb.ACTIVATE, Verb.CONFIRM)
WITHOUT_TRAFFIC = (Verb.START, Verb.READY, Verb.WARM, Verb.REGISTER, Verb.CHECK)
UP_FROM = {
    Phase.MISSING: Verb.START,
    Phase.STARTED: Verb.READY,
    Phase.STANDBY: Verb.READY,
    Phase.UNHEALTHY: Verb.READY,
    Phase.SERVING: Verb.CONFIRM,
}


def up(want: Want, replica: Replica, way: tuple[Verb, ...]) -> Track:
    """Return what is left of the way up."""
    verbs = list(way[way.index(UP_FROM[replica.phase]) :])
    if not want.warm_up and Verb.WARM in verbs:
        verbs.remove(Verb.WARM)
    return track(replica, *verbs)


def wanted_and_surplus(goal: Goal, want: Want, world: World) -> tuple[list[Replica], list[Replica]]:
    """Return the replicas that are wanted of a process, there or not, and those that are there and not wanted."""
    wanted = [slot(goal.app, want, world, number) for number in range(1, want.replicas + 1)]
    names = {replica.name for replica in wanted}
    there = sorted(world.of(want.process), key=lambda item: (item.release, item.slot))
    return wanted, [replica for replica in there if replica.name not in names]


def slot(app: str, want: Want, world: World, slot: int) -> Replica:
    """Return a wanted replica, there or not."""
    name = replica_name(app, want.process, want.release, slot)
    return world.find(name) or new_replica(want, name, slot)


def retire(replica: Replica) -> list[Verb]:
    """Return the steps from being out of use to being gone."""
    verbs: list[Verb] = []
    if replica.registered:
        if any(target is not None and target.admin is Admin.ACTIVE for target in replica.targets):
            verbs.append(Verb.DRAIN)
        verbs += [Verb.AWAIT, Verb.DEREGISTER]
    if replica.container_id and replica.phase is not Phase.MISADDRESSED:
        verbs.append(Verb.DESTROY)
    return verbs


def track(replica: Replica, *verbs: Verb) -> Track:
    """Return a track of these steps on one replica."""
    return Track(
        tuple(
            Step(verb, replica.process, replica.name, replica.release, replica.slot)
            for verb in verbs
        )
    )
