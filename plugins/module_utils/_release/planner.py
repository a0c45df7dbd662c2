# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: what may be done next, and with it the whole way; pure, private, no stability promised.

C(advance) is the one decision: given what is wanted and what is seen now, which tracks may begin.
C(plan) repeats it on a simulated world until nothing is left to do. The executor repeats it on the
real world after every completed track, so a plan shown and a run done are the same function.

The rules held here (the executor re-checks each at the moment of acting):
READY a replica is registered only behind a ready step; CAP nothing that serves is drained unless the
replicas that serve without it are still enough; a draining replica is destroyed only behind await and deregister.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    Target,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Batch,
    Plan,
    Step,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    Replica,
    World,
    serving_count,
)


@dataclass(frozen=True)
class Want:
    """What is wanted of one process type. C(replicas) 0 takes the process away."""

    process: str
    release: str
    replicas: int
    port: int
    max_surge: int
    max_unavailable: int
    load_balancers: int = 1
    warm_up: bool = False
    version: str = ""

    @property
    def floor(self) -> int:
        """How many replicas have to serve at any time."""
        return max(0, self.replicas - self.max_unavailable)


@dataclass(frozen=True)
class Goal:
    """What is wanted of the app."""

    app: str
    release: str
    wants: tuple[Want, ...]


_UP = (Verb.START, Verb.READY, Verb.WARM, Verb.REGISTER, Verb.ACTIVATE, Verb.CONFIRM)
_UP_FROM = {
    Phase.MISSING: Verb.START,
    Phase.STARTED: Verb.READY,
    Phase.STANDBY: Verb.READY,
    Phase.UNHEALTHY: Verb.READY,
    Phase.SERVING: Verb.CONFIRM,
}


_OUT_OF_USE = (Phase.STARTED, Phase.STANDBY, Phase.UNHEALTHY)


def advance(goal: Goal, world: World, busy: frozenset[str] = frozenset()) -> tuple[Track, ...]:
    """Return the tracks that may begin now. C(busy) names replicas something is under way for."""
    tracks: list[Track] = []
    for want in goal.wants:
        tracks += _advance_process(goal.app, want, world, busy)
    return tuple(tracks)


def plan(goal: Goal, observed: World, limit: int = 2000) -> Plan:
    """Return every batch from the observed world to the goal; empty when there is nothing to do."""
    world = replace(observed, settled=frozenset(replica.name for replica in observed.replicas))
    before = _capacity(goal, world)
    lowest = dict(before)
    batches: list[Batch] = []
    for _batch in range(limit):
        tracks = advance(goal, world)
        if not tracks:
            return Plan(
                goal.release, tuple(batches), before, tuple(lowest.items()), _capacity(goal, world)
            )
        batches.append(Batch(tracks, _capacity(goal, world)))
        # What takes capacity away comes first: the lowest point of the batch is then seen.
        for track in sorted(tracks, key=lambda item: item.steps[0].verb in _UP):
            for step in track.steps:
                world = simulate(goal, world, step)
                for process, count in _capacity(goal, world):
                    lowest[process] = min(lowest[process], count)
    raise AssertionError(f"the planner did not converge within {limit} batches")


def _advance_process(app: str, want: Want, world: World, busy: frozenset[str]) -> list[Track]:
    replicas = sorted(world.of(want.process), key=lambda item: (item.release, item.slot))
    wanted = [_slot(app, want, world, slot) for slot in range(1, want.replicas + 1)]
    names = {replica.name for replica in wanted}
    surplus = [replica for replica in replicas if replica.name not in names]
    serving = _serving(surplus, busy)
    room = _available(wanted, world, busy) + len(serving) - want.floor
    drains = [_track(replica, Verb.DRAIN) for replica in serving[: max(0, room)]]
    cleanups = _cleanups(replicas, surplus, room >= 0, busy)
    return cleanups + drains + _ups(want, wanted, surplus, world, busy)


def _slot(app: str, want: Want, world: World, slot: int) -> Replica:
    name = replica_name(app, want.process, want.release, slot)
    return world.find(name) or _new(want, name, slot)


def _new(want: Want, name: str, slot: int) -> Replica:
    return Replica(name, want.process, want.release, slot, port=want.port, version=want.version)


def _cleanups(
    replicas: list[Replica], surplus: list[Replica], enough: bool, busy: frozenset[str]
) -> list[Track]:
    """Take away what serves nobody.

    What could never serve again goes at once, a target without its container too: the next container under
    that name has another address. Surplus that runs could be brought back, by a health check that
    passes again or by going back to its release: it is kept until C(enough) others serve.
    """
    tracks = []
    for replica in replicas:
        gone = replica.phase in (Phase.DEAD, Phase.MISADDRESSED, Phase.MISSING)
        spare = replica in surplus and replica.phase in _OUT_OF_USE
        if replica.name not in busy and (gone or (spare and enough)):
            tracks.append(_track(replica, *_retire(replica)))
    return tracks


def _retire(replica: Replica) -> list[Verb]:
    """Return the steps from being out of use to being gone."""
    verbs: list[Verb] = []
    if replica.registered:
        if any(target is not None and target.admin is Admin.ACTIVE for target in replica.targets):
            verbs.append(Verb.DRAIN)
        verbs += [Verb.AWAIT, Verb.DEREGISTER]
    if replica.container_id and replica.phase is not Phase.MISADDRESSED:
        verbs.append(Verb.DESTROY)
    return verbs


def _available(wanted: list[Replica], world: World, busy: frozenset[str]) -> int:
    """Count the wanted replicas that serve, have done so for min_ready_seconds, and stay."""
    return sum(
        replica.phase is Phase.SERVING
        and replica.name in world.settled
        and replica.name not in busy
        for replica in wanted
    )


def _serving(surplus: list[Replica], busy: frozenset[str]) -> list[Replica]:
    """Return the surplus that serves and that nothing is under way for."""
    return [item for item in surplus if item.phase is Phase.SERVING and item.name not in busy]


def _ups(
    want: Want, wanted: list[Replica], surplus: list[Replica], world: World, busy: frozenset[str]
) -> list[Track]:
    """Bring up wanted replicas: existing ones always, new ones within max_surge."""
    tracks = []
    for replica in wanted:
        if replica.name in busy:
            continue
        settled = replica.phase is Phase.SERVING and replica.name in world.settled
        if replica.container_id and replica.phase in _UP_FROM and not settled:
            tracks.append(_up(want, replica))
    serving_surplus = sum(replica.phase is Phase.SERVING for replica in surplus)
    existing = sum(bool(replica.container_id) or replica.name in busy for replica in wanted)
    room = want.replicas + want.max_surge - existing - serving_surplus
    missing = [
        replica
        for replica in wanted
        if not replica.container_id and not replica.registered and replica.name not in busy
    ]
    for replica in missing[: max(0, room)]:
        tracks.append(_up(want, replica))
    return tracks


def _up(want: Want, replica: Replica) -> Track:
    verbs = list(_UP[_UP.index(_UP_FROM[replica.phase]) :])
    if not want.warm_up and Verb.WARM in verbs:
        verbs.remove(Verb.WARM)
    return _track(replica, *verbs)


def _track(replica: Replica, *verbs: Verb) -> Track:
    return Track(
        tuple(
            Step(verb, replica.process, replica.name, replica.release, replica.slot)
            for verb in verbs
        )
    )


def _capacity(goal: Goal, world: World) -> tuple[tuple[str, int], ...]:
    return tuple((want.process, serving_count(world, want.process)) for want in goal.wants)


def simulate(goal: Goal, world: World, step: Step) -> World:
    """Return the world after a step that went well."""
    want = next(want for want in goal.wants if want.process == step.process)
    replica = world.find(step.replica) or _new(want, step.replica, step.slot)
    return _EFFECTS[step.verb](want, world, replica)


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
    targets = tuple(target or _target(replica) for target in replica.targets)
    return world.put(replace(replica, targets=targets))


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
    Verb.ACTIVATE: _activated,
    Verb.CONFIRM: _confirmed,
    Verb.DRAIN: _draining,
    Verb.AWAIT: _unchanged,
    Verb.DEREGISTER: _deregistered,
    Verb.DESTROY: _destroyed,
    Verb.PRUNE: _unchanged,
    Verb.RECORD: _unchanged,
}
