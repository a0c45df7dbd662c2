# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of an app, as the planners read it; pure, private, no stability promised."""

from __future__ import annotations

from dataclasses import dataclass


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
    strategy: str = "rolling"
    passed: frozenset[str] = frozenset()
    """The gates that somebody or something has let this release through."""
