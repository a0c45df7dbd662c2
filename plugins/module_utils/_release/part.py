# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host's part of what may be done next, where load balancers are on other hosts; pure, private.

Every host asks the same planner. The host of the replicas sees its engine now and the load balancers as they were when
they last worked; a load balancer's host the other way round, and of the load balancers only its own. From each track a
host takes the steps up to the first that belongs elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import takewhile

from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Executor,
    Track,
    Verb,
)

_PREPARE = (Verb.READY, Verb.WARM)


@dataclass(frozen=True)
class Part:
    """Which steps a host takes. C(executor) None: all of them."""

    executor: Executor | None = None
    destroys: bool = True
    """Whether what load balancers show was seen under this run's own epoch, so that none of them can route to a
    replica again behind its back."""
    watches: bool = False
    """Whether it stays while everything waits at a canary's gate, and watches its figures."""

    @property
    def keeps_gates(self) -> bool:
        """Whether this is the host that stands at gates: a load balancer's is told what was passed."""
        return self.executor is not Executor.LOAD_BALANCER

    def of(self, track: Track, prepared: Collection[str]) -> Track | None:
        """Return the steps of a track that this host takes now; C(prepared): the replicas found ready."""
        if self.executor is None:
            return track
        steps = list(track.steps)
        if track.replica in prepared:
            while steps and steps[0].verb in _PREPARE:
                steps.pop(0)
        mine = tuple(takewhile(lambda step: step.executor is self.executor, steps))
        if not mine or (mine[0].verb is Verb.DESTROY and not self.destroys):
            return None
        return replace(track, steps=mine)

    def prepares(self, track: Track) -> bool:
        """Whether this is the host that finds a replica ready, and did so with this track."""
        return self.executor is Executor.ENGINE and track.steps[-1].verb in _PREPARE


WHOLE = Part()
