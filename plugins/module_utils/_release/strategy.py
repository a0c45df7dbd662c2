# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one release takes the place of another, as a user writes it; pure, private, no stability promised."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import Analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.canary_spec import (
    CanaryStep,
    parse_analysis,
    parse_steps,
    steps_mapping,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold

MAX_REPLICAS = 100
ROLLING, BLUE_GREEN, RECREATE, CANARY = "rolling", "blue_green", "recreate", "canary"
TYPES = (ROLLING, BLUE_GREEN, RECREATE, CANARY)


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
    """What a new release does when another one waits at a gate: C(refuse), C(abort) that one first, or C(wait)."""
    progress_deadline: int = 0
    """Seconds in which a replica has to get from its start, or from the last gate, to traffic; 0 for no such limit."""
    approval: bool = False
    """blue_green: whether somebody has to promote before the switch."""
    pause: int = 0
    """blue_green: seconds between the preparation and the switch."""
    two_phase: bool = False
    """blue_green: whether it ends when all is prepared, until it is promoted with every other host."""
    scale_down_delay: int = 0
    """blue_green: seconds for which what was replaced stays, drained, so that going back starts nothing."""
    replicas: int | str = 1
    """canary: new replicas beside the stable set, or a percentage of the wanted ones rounded up."""
    steps: tuple[CanaryStep, ...] = ()
    """canary: weights, pauses and analyses, in order."""
    analysis: Analysis = Analysis()
    """canary: what is watched all the time, and what is not said in an analysis of the steps."""

    @property
    def gates(self) -> tuple[Hold, ...]:
        """Return the gates before a switch, in order."""
        prepared = (Hold("prepared", "approval"),) if self.two_phase else ()
        pause = (Hold("pause", "pause", self.pause),) if self.pause else ()
        approval = (Hold("approval", "approval"),) if self.approval else ()
        return prepared + pause + approval


_ONLY: dict[str, tuple[str, ...]] = {
    "max_surge": (ROLLING, CANARY),
    "max_unavailable": (ROLLING, CANARY),
    "approval": (BLUE_GREEN,),
    "pause": (BLUE_GREEN,),
    "two_phase": (BLUE_GREEN,),
    "scale_down_delay": (BLUE_GREEN,),
    "replicas": (CANARY,),
    "steps": (CANARY,),
    "analysis": (CANARY,),
}
"""Options that have a meaning with some types only."""


def parse_strategy(fields: Fields) -> Strategy:
    """Read and check a strategy."""
    kind = fields.choice("type", TYPES, ROLLING)
    analysis = parse_analysis(fields.fields("analysis"), Analysis())
    given = fields.items("steps")
    strategy = Strategy(
        type=kind,
        max_surge=_share(fields, "max_surge", 1),
        max_unavailable=_share(fields, "max_unavailable", 0),
        min_ready_seconds=fields.seconds("min_ready_seconds", 0, 0),
        on_failure=fields.choice("on_failure", ("rollback", "stop"), "rollback"),
        while_held=fields.choice("while_held", ("refuse", "abort", "wait"), "refuse"),
        progress_deadline=fields.seconds("progress_deadline", 0, 0),
        approval=fields.boolean("approval", False),
        pause=fields.seconds("pause", 0, 0),
        two_phase=fields.boolean("two_phase", False),
        scale_down_delay=fields.seconds("scale_down_delay", 30 if kind == BLUE_GREEN else 0, 0),
        replicas=_share(fields, "replicas", 1, lowest=1),
        steps=parse_steps(fields, analysis) if given or kind == CANARY else (),
        analysis=analysis,
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


def canary_replicas(strategy: Strategy, replicas: int) -> int:
    """Return how many replicas of a process with so many are the canary; none with other types."""
    if strategy.type != CANARY:
        return 0
    return min(replicas, max(1, _resolve(strategy.replicas, replicas, math.ceil)))


def strategy_mapping(strategy: Strategy) -> dict[str, object]:
    """Return a strategy as C(parse_strategy) reads it back."""
    return {**asdict(strategy), "steps": steps_mapping(strategy.steps)}


def _share(fields: Fields, key: str, default: int, lowest: int = 0) -> int | str:
    return fields.share(key, lowest, MAX_REPLICAS, default)


def _resolve(share: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    return rounding(replicas * int(share[:-1]) / 100) if isinstance(share, str) else share
