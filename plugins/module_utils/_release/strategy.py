# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one release takes the place of another, as a user writes it; pure, private, no stability promised."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold

MAX_REPLICAS = 100
ROLLING, BLUE_GREEN, RECREATE = "rolling", "blue_green", "recreate"
TYPES = (ROLLING, BLUE_GREEN, RECREATE)


@dataclass(frozen=True)
class Strategy:
    """How one release takes the place of another."""

    type: str = ROLLING
    max_surge: int | str = 1
    """Replicas, or a percentage of them rounded up; resolved in each ProcessSpec."""
    max_unavailable: int | str = 0
    """Replicas, or a percentage of them rounded down; resolved in each ProcessSpec."""
    min_ready_seconds: int = 0
    on_failure: str = "rollback"
    while_held: str = "refuse"
    """What a new release does when another one waits at a gate: C(refuse), or C(abort) that one first."""
    approval: bool = False
    """blue_green: whether somebody has to promote before the switch."""
    pause: int = 0
    """blue_green: seconds between the preparation and the switch."""
    scale_down_delay: int = 0
    """blue_green: seconds for which what was replaced stays, drained, so that going back starts nothing."""

    @property
    def gates(self) -> tuple[Hold, ...]:
        """Return the gates before a switch, in order."""
        pause = (Hold("pause", "pause", self.pause),) if self.pause else ()
        approval = (Hold("approval", "approval"),) if self.approval else ()
        return pause + approval


_ONLY: dict[str, tuple[str, ...]] = {
    "max_surge": (ROLLING,),
    "max_unavailable": (ROLLING,),
    "approval": (BLUE_GREEN,),
    "pause": (BLUE_GREEN,),
    "scale_down_delay": (BLUE_GREEN,),
}
"""Options that have a meaning with some types only."""


def parse_strategy(fields: Fields) -> Strategy:
    """Read and check a strategy."""
    kind = fields.choice("type", TYPES, ROLLING)
    strategy = Strategy(
        type=kind,
        max_surge=_share(fields, "max_surge", 1),
        max_unavailable=_share(fields, "max_unavailable", 0),
        min_ready_seconds=fields.seconds("min_ready_seconds", 0, 0),
        on_failure=fields.choice("on_failure", ("rollback", "stop"), "rollback"),
        while_held=fields.choice("while_held", ("refuse", "abort"), "refuse"),
        approval=fields.boolean("approval", False),
        pause=fields.seconds("pause", 0, 0),
        scale_down_delay=fields.seconds("scale_down_delay", 30 if kind == BLUE_GREEN else 0, 0),
    )
    fields.finish()
    for key, kinds in _ONLY.items():
        value = getattr(strategy, key)
        if kind not in kinds and value != getattr(Strategy(), key):
            raise InvalidInput(
                fields.path(key), value, f"has no meaning with type {kind}, only with {kinds[0]}"
            )
    return strategy


def bounds(fields: Fields, replicas: int) -> tuple[int, int]:
    """Return max_surge and max_unavailable of a process with so many replicas."""
    kind = fields.choice("type", TYPES, ROLLING)
    if kind == BLUE_GREEN:
        return replicas, 0
    if kind == RECREATE:
        return replicas, replicas
    surge = _resolve(_share(fields, "max_surge", 1), replicas, math.ceil)
    unavailable = _resolve(_share(fields, "max_unavailable", 0), replicas, math.floor)
    if surge == 0 and unavailable == 0:
        raise InvalidInput(
            fields.path("max_surge"),
            0,
            f"must be above 0 when max_unavailable is 0: {replicas} of {replicas} replicas can never be replaced",
        )
    return surge, unavailable


def _share(fields: Fields, key: str, default: int) -> int | str:
    value = fields.raw(key, default)
    if isinstance(value, str) and re.fullmatch("([0-9]{1,2}|100)%", value):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_REPLICAS:
        raise InvalidInput(
            fields.path(key),
            value,
            f"must be an integer 0-{MAX_REPLICAS} or a percentage such as 25%",
        )
    return value


def _resolve(share: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    return rounding(replicas * int(share[:-1]) / 100) if isinstance(share, str) else share
