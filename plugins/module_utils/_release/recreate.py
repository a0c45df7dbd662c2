# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The strategy C(recreate), for what must not run twice: the old is gone before the new starts; pure, private.

Nothing serves in between, and the plan says so. The other rules hold as ever: the old is drained, and what it works on
is awaited, before it is destroyed.
"""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Decision,
    Track,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.tracks import (
    ALL_THE_WAY,
    GONE,
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


def decide(goal: Goal, world: World, busy: frozenset[str]) -> Decision:
    """Return the tracks that may begin now."""
    tracks: list[Track] = []
    for want in goal.wants:
        wanted, surplus = wanted_and_surplus(goal, want, world)
        gone = [item for item in wanted if item.phase in GONE and _exists(item)]
        leaving = surplus + gone
        tracks += [track(item, *retire(item)) for item in leaving if item.name not in busy]
        if not surplus:
            tracks += _ups(want, [item for item in wanted if item not in gone], world, busy)
    return Decision(tuple(tracks))


def _exists(replica: Replica) -> bool:
    return bool(replica.container_id) or replica.registered


def _ups(want: Want, wanted: list[Replica], world: World, busy: frozenset[str]) -> list[Track]:
    tracks = []
    for replica in wanted:
        settled = replica.phase is Phase.SERVING and replica.name in world.settled
        if replica.name not in busy and not settled:
            tracks.append(up(want, replica, ALL_THE_WAY))
    return tracks
