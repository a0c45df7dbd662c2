# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The strategy C(rolling): replica by replica, within max_surge and max_unavailable; pure, private.

The rules held here (the executor re-checks each at the moment of acting):
READY a replica is registered only behind a ready step; CAP nothing that serves is drained unless the
replicas that serve without it are still enough; a draining replica is destroyed only behind await and deregister.
"""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Decision,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.tracks import (
    ALL_THE_WAY,
    GONE,
    UP_FROM,
    retire,
    slot,
    track,
    up,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    Replica,
    World,
)

_OUT_OF_USE = (Phase.STARTED, Phase.STANDBY, Phase.UNHEALTHY)


def decide(goal: Goal, world: World, busy: frozenset[str]) -> Decision:
    """Return the tracks that may begin now."""
    tracks: list[Track] = []
    for want in goal.wants:
        tracks += _process(goal.app, want, world, busy)
    return Decision(tuple(tracks))


def _process(app: str, want: Want, world: World, busy: frozenset[str]) -> list[Track]:
    """Return what may begin for one process type."""
    replicas = sorted(world.of(want.process), key=lambda item: (item.release, item.slot))
    wanted = [slot(app, want, world, number) for number in range(1, want.replicas + 1)]
    names = {replica.name for replica in wanted}
    surplus = [replica for replica in replicas if replica.name not in names]
    serving = _serving(surplus, busy)
    room = _available(wanted, world, busy) + len(serving) - want.floor
    drains = [track(replica, Verb.DRAIN) for replica in serving[: max(0, room)]]
    cleanups = _cleanups(replicas, surplus, room >= 0, busy)
    return cleanups + drains + _ups(want, wanted, surplus, world, busy)


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
        gone = replica.phase in GONE
        spare = replica in surplus and replica.phase in _OUT_OF_USE
        if replica.name not in busy and (gone or (spare and enough)):
            tracks.append(track(replica, *retire(replica)))
    return tracks


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
        if replica.container_id and replica.phase in UP_FROM and not settled:
            tracks.append(up(want, replica, ALL_THE_WAY))
    serving_surplus = sum(replica.phase is Phase.SERVING for replica in surplus)
    existing = sum(bool(replica.container_id) or replica.name in busy for replica in wanted)
    room = want.replicas + want.max_surge - existing - serving_surplus
    missing = [
        replica
        for replica in wanted
        if not replica.container_id and not replica.registered and replica.name not in busy
    ]
    for replica in missing[: max(0, room)]:
        tracks.append(up(want, replica, ALL_THE_WAY))
    return tracks
