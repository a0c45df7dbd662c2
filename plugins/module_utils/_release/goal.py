# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of an app, as the planners read it; pure, private, no stability promised."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._release.canary_spec import (
    CanaryStep,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold


class Reach(str, enum.Enum):
    """How far a strategy with a switch may go."""

    PREPARE = "prepare"
    """Nothing that moves traffic."""
    SWITCH = "switch"
    """The new gets traffic; nothing of the old is taken out yet."""
    RETIRE = "retire"
    """All the way."""


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
    canary: int = 0
    """How many new replicas a canary has beside the stable set."""

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
    strategy: str = "rolling"
    passed: frozenset[str] = frozenset()
    """The gates that somebody or something has let this release through."""
    steps: tuple[CanaryStep, ...] = ()
    """The steps of a canary."""
    going_back: bool = False
    """It goes back to a release that ran before: nobody is asked, and what it replaces is not kept."""
    gates: tuple[Hold, ...] = ()
    """The gates before its switch, in order, of a strategy that has one."""
    delay: float = 0
    """How many seconds longer the replicas that were replaced are kept, drained, before they go."""
    reach: Reach = Reach.RETIRE
    """How far one of several hosts with load balancers may go by itself, before the others are as far."""
    equal: int = 1
    """What each target weighs where no canary has its share."""
    took_over: bool = False
    """It has replaced what ran before it, which may still be kept."""

    def waits_at(self, gate: str) -> bool:
        """Tell whether this gate is still to be passed."""
        return not self.going_back and gate not in self.passed
