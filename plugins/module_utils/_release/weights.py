# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancer weights: a canary's share of requests, and equal ones at all other times; pure, private."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

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
FLEET = 64
"""What every target weighs where those of other hosts are beside it, so that a host can divide its own part of the
requests without taking any of theirs."""
_APART = 0.1
"""How far from its part of the weights a host may be to come nearer to a share."""


def shares(percent: int, stable: int, canary: int, equal: int = EQUAL) -> tuple[int, int]:
    """Return the weights of a stable and of a canary replica with which all canaries together come nearest to it.

    With C(equal) above 1 both together weigh about what the stable ones alone weighed. Where that cannot be, because a
    canary would weigh more than is possible, they weigh less.
    """
    best = (max(1, equal * (100 - percent) // 100), _most(equal * stable * percent / 100 / canary))
    off = 2.0
    for weight, other in _pairs(percent, stable, canary):
        total = canary * other + stable * weight
        if equal != EQUAL and abs(total / (equal * stable) - 1) > _APART:
            continue
        here = abs(canary * other / total - percent / 100)
        if here < off - 1e-12:
            best, off = (weight, other), here
    return best


def _pairs(percent: int, stable: int, canary: int) -> Iterator[tuple[int, int]]:
    """Yield every weight of a stable replica with those of a canary that are just below and above the exact one."""
    for weight in range(1, HIGHEST + 1):
        below = math.floor(weight * percent * stable / ((100 - percent) * canary))
        for other in (below, below + 1):
            yield weight, _most(other)


def _most(weight: float) -> int:
    return min(HIGHEST, max(1, round(weight)))


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


def equalise(want: Want, world: World, busy: frozenset[str], equal: int = EQUAL) -> Track | None:
    """Return the step that makes all weights equal again, once replicas of only one release are routed.

    Before that it would give a canary that is being taken away a larger share of the requests.
    """
    found = routed(world, want.process)
    if want.process in busy or len({replica.release for replica in found}) != 1:
        return None
    return weigh(want, world, {replica.name: equal for replica in found})


def with_weight(track: Track, weight: int) -> Track:
    """Let a replica have this weight when it gets traffic, unless the track says another."""
    return Track(tuple(_with_weight(step, weight) for step in track.steps))


def _with_weight(step: Step, weight: int) -> Step:
    if step.verb is not Verb.ACTIVATE or step.weights:
        return step
    return replace(step, weights=((step.replica, weight),))


def _has(replica: Replica, weight: int) -> bool:
    return all(target is None or target.weight == weight for target in replica.targets)
