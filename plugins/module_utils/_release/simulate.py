# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the world is after a step that went well; pure, private, no stability promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    Target,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Step, Verb
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import Replica, World


def new_replica(want: Want, name: str, slot: int) -> Replica:
    """Return a wanted replica of which nothing exists yet."""
    return Replica(name, want.process, want.release, slot, port=want.port, version=want.version)


def simulate(goal: Goal, world: World, step: Step) -> World:
    """Return the world after a step that went well."""
    want = next(want for want in goal.wants if want.process == step.process)
    replica = world.find(step.replica) or new_replica(want, step.replica, step.slot)
    return _weighed(_EFFECTS[step.verb](want, world, replica), step)


def _weighed(world: World, step: Step) -> World:
    for name, weight in step.weights:
        replica = world.find(name)
        if replica is not None:
            targets = tuple(target and replace(target, weight=weight) for target in replica.targets)
            world = world.put(replace(replica, targets=targets))
    return world


def _started(want: Want, world: World, replica: Replica) -> World:
    """Start it without an address: which one it gets is not known before."""
    up = replace(
        replica,
        container_id=f"simulated-{replica.name}",
        running=True,
        address="",
        port=want.port,
        version=want.version,
        targets=(None,) * want.load_balancers,
    )
    return world.put(up)


def _registered(want: Want, world: World, replica: Replica) -> World:
    targets = tuple(_standby(replica, target) for target in replica.targets)
    return world.put(replace(replica, targets=targets))


def _standby(replica: Replica, target: Target | None) -> Target:
    if target is None:
        return _target(replica)
    return replace(target, admin=Admin.STANDBY) if target.admin is Admin.MAINTENANCE else target


def _target(replica: Replica) -> Target:
    return Target(replica.name, replica.address, replica.port, Admin.STANDBY, Health.UP)


def _activated(want: Want, world: World, replica: Replica) -> World:
    registered = _registered(want, world, replica).find(replica.name) or replica
    targets = tuple(
        target and replace(target, admin=Admin.ACTIVE, health=Health.UP)
        for target in registered.targets
    )
    return world.put(replace(registered, targets=targets))


def _confirmed(want: Want, world: World, replica: Replica) -> World:
    return replace(world, settled=world.settled | {replica.name})


def _checked(want: Want, world: World, replica: Replica) -> World:
    targets = tuple(target and replace(target, health=Health.UP) for target in replica.targets)
    world = world.put(replace(replica, targets=targets))
    return replace(world, checked=world.checked | {replica.name})


def _draining(want: Want, world: World, replica: Replica) -> World:
    targets = tuple(target and replace(target, admin=Admin.DRAINING) for target in replica.targets)
    return world.put(replace(replica, targets=targets))


def _deregistered(want: Want, world: World, replica: Replica) -> World:
    if not replica.container_id:
        return world.without(replica.name)
    return world.put(replace(replica, targets=(None,) * len(replica.targets)))


def _destroyed(want: Want, world: World, replica: Replica) -> World:
    return world.without(replica.name)


def _unchanged(want: Want, world: World, replica: Replica) -> World:
    return world


_EFFECTS: dict[Verb, Callable[[Want, World, Replica], World]] = {
    Verb.START: _started,
    Verb.READY: _unchanged,
    Verb.WARM: _unchanged,
    Verb.REGISTER: _registered,
    Verb.CHECK: _checked,
    Verb.ACTIVATE: _activated,
    Verb.WEIGH: _unchanged,
    Verb.CONFIRM: _confirmed,
    Verb.DRAIN: _draining,
    Verb.AWAIT: _unchanged,
    Verb.DEREGISTER: _deregistered,
    Verb.DESTROY: _destroyed,
    Verb.PRUNE: _unchanged,
    Verb.RECORD: _unchanged,
}
