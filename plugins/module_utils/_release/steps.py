# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps: what can be done to one replica, in the only order it can be done; private, no stability promised."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verb(str, enum.Enum):
    """What a step does."""

    START = "start"
    READY = "ready"
    WARM = "warm"
    REGISTER = "register"
    CHECK = "check"
    ACTIVATE = "activate"
    WEIGH = "weigh"
    """Set the weights of a process's targets; its C(replica) is the process."""
    CONFIRM = "confirm"
    DRAIN = "drain"
    AWAIT = "await"
    DEREGISTER = "deregister"
    DESTROY = "destroy"
    PRUNE = "prune"
    RECORD = "record"


class Executor(str, enum.Enum):
    """Where a step must run."""

    ENGINE = "engine"
    LOAD_BALANCER = "load_balancer"


_WHERE = {
    Verb.REGISTER: Executor.LOAD_BALANCER,
    Verb.CHECK: Executor.LOAD_BALANCER,
    Verb.ACTIVATE: Executor.LOAD_BALANCER,
    Verb.WEIGH: Executor.LOAD_BALANCER,
    Verb.CONFIRM: Executor.LOAD_BALANCER,
    Verb.DRAIN: Executor.LOAD_BALANCER,
    Verb.AWAIT: Executor.LOAD_BALANCER,
    Verb.DEREGISTER: Executor.LOAD_BALANCER,
}


@dataclass(frozen=True)
class Step:
    """One verb on one replica."""

    verb: Verb
    process: str
    replica: str
    release: str
    slot: int
    weights: tuple[tuple[str, int], ...] = ()
    """The weight that each target gets with it, in this order."""

    @property
    def executor(self) -> Executor:
        """Where it must run."""
        return _WHERE.get(self.verb, Executor.ENGINE)


@dataclass(frozen=True)
class Track:
    """Steps on one replica that follow each other without asking the planner in between.

    Each step still re-checks its own precondition when it runs.
    """

    steps: tuple[Step, ...]

    @property
    def replica(self) -> str:
        """The one replica it is about."""
        return self.steps[0].replica


@dataclass(frozen=True)
class Hold:
    """A gate: nothing more begins until it is passed."""

    gate: str
    """Its name within the release; noted on the host when it is passed."""
    kind: str
    """C(approval): a person promotes or aborts; C(pause): C(seconds) pass; C(analysis): figures decide.

    C(delay): the release is complete and only what it replaced is still kept, for C(seconds).
    """
    seconds: float = 0


@dataclass(frozen=True)
class Decision:
    """What may begin now; with a hold and no track everything waits at that gate."""

    tracks: tuple[Track, ...]
    hold: Hold | None = None


@dataclass(frozen=True)
class Batch:
    """Tracks that run side by side or one gate, and how many replicas serve when they begin."""

    tracks: tuple[Track, ...]
    serving: tuple[tuple[str, int], ...]
    hold: Hold | None = None


@dataclass(frozen=True)
class Plan:
    """All batches up to the wanted state, with the capacity along the way (process, replicas)."""

    release: str
    batches: tuple[Batch, ...]
    before: tuple[tuple[str, int], ...]
    lowest: tuple[tuple[str, int], ...]
    after: tuple[tuple[str, int], ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step in order."""
        return tuple(
            step for batch in self.batches for track in batch.tracks for step in track.steps
        )
