# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancer weights: a canary's share of requests, and equal ones at all other times; pure, private."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Step,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Replica,
    World,
)

HIGHEST = 256
EQUAL = 1


def shares(percent: int, stable: int, canary: int) -> tuple[int, int]:
    """Return the weights of a stable and of a canary replica with which all canaries together come nearest to it."""
    best = (1, 1)
    off = 2.0
    for weight in range(1, HIGHEST + 1):
        exact = weight * percent * stable / ((100 - percent) * canary)
        other = min(HIGHEST, max(1, round(exact)))
        share = canary * other / (canary * other + stable * weight)
        if abs(share - percent / 100) < off - 1e-12:
            best, off = (weight, other), abs(share - percent / 100)
    return best


def routed(world: World, process: str) -> list[Replica]:
    """Return the replicas that a balancer sends traffic to, or will when they are well again."""
    return [replica for replica in world.of(process) if replica.routed]


def weigh(want: Want, world: World, wanted: Mapping[str, int]) -> Track | None:
    """Return the step that gives routed replicas these weights at once; None when they have them.

    What makes the new release's share smaller comes first, so that it is never above both the old and the new share.
    """
    found = {replica.name: replica for replica in routed(world, want.process)}
    changes = [item for item in wanted.items() if not _has(found[item[0]], item[1])]
    if not changes:
        return None

    def later(item: tuple[str, int]) -> bool:
        replica, weight = found[item[0]], item[1]
        before = max((target.weight for target in replica.targets if target), default=weight)
        return (weight > before) == (replica.release == want.release)

    ordered = tuple(sorted(changes, key=lambda item: (later(item), item[0])))
    step = Step(Verb.WEIGH, want.process, want.process, want.release, 0, ordered)
    return Track((step,))


def equalise(want: Want, world: World, busy: frozenset[str]) -> Track | None:
    """Return the step that makes all weights equal again, once replicas of only one release are routed.

    Before that it would give a canary that is being taken away a larger share of the requests.
    """
    found = routed(world, want.process)
    if want.process in busy or len({replica.release for replica in found}) != 1:
        return None
    return weigh(want, world, {replica.name: EQUAL for replica in found})


def _has(replica: Replica, weight: int) -> bool:
    return all(target is None or target.weight == weight for target in replica.targets)
