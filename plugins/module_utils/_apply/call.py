# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one call of a run is given, how it ends, and what it hands to the next; private, no stability promised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply.gates import GateFailed
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError, Fenced
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Hold,
    Step,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World

COMES_UP = frozenset(
    {
        Verb.START,
        Verb.READY,
        Verb.WARM,
        Verb.REGISTER,
        Verb.CHECK,
        Verb.ACTIVATE,
        Verb.CONFIRM,
    }
)


class Interrupted(CutoverError):
    """The call's time is over, or another track failed: a wait ends here and is taken up again later."""


class BoundedClock:
    """A clock whose sleeps end when the call has to return."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.over = threading.Event()

    def monotonic(self) -> float:
        """Return the monotonic clock."""
        return self._clock.monotonic()

    def now(self) -> float:
        """Return the wall clock."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise Interrupted as soon as the call is over."""
        if self.over.is_set():
            raise Interrupted("interrupted: the wait goes on in the next call")
        self._clock.sleep(seconds)


@dataclass(frozen=True)
class Run:
    """Under what a call works: the run's ID and its epoch of the lease."""

    id: str
    epoch: int
    ttl: int
    journal: Journal
    lease: Lease
    passed: Callable[[str], None] = lambda _gate: None
    """Notes on the host that the release was let through a gate; called inside the fence."""


@dataclass(frozen=True)
class Resume:
    """What is handed to the next call of the same run."""

    began: Mapping[str, float] = field(default_factory=dict)
    settled: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()
    pending: Mapping[str, float] = field(default_factory=dict)
    """Steps that have begun and not ended, with the wall time of their beginning: they are journalled once."""
    counts: Mapping[str, float] = field(default_factory=dict)
    """What steps that have not ended have counted."""
    windows: Mapping[str, Any] = field(default_factory=dict)
    """The counters that a canary's figures are compared with."""
    prepared: frozenset[str] = frozenset()
    """The replicas that were found ready, where the rest is another host's part."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    C(done), C(more) to do, C(failed) with the first error, C(held) at a gate where somebody decides, or C(delayed):
    complete, and what was replaced is kept for a while.
    """

    status: str
    world: World
    resume: Resume
    actions: tuple[str, ...]
    progress: tuple[str, ...]
    error: CutoverError | None = None
    failed_step: Step | None = None
    hold: Hold | None = None
    """The gate it stands at."""
    left: float = 0
    """How many seconds that gate has still to be waited at, where it is about time."""
    down: bool = False
    """Its strategy takes the old away before the new comes: whatever fails, nothing may serve."""

    @property
    def worth_undoing(self) -> bool:
        """Whether it failed while something came up: going back does not mend a drain, or a lost lease."""
        if isinstance(self.error, GateFailed):
            return True
        if self.failed_step is None or isinstance(self.error, Fenced):
            return False
        return self.down or self.failed_step.verb in COMES_UP


@dataclass(frozen=True)
class Turn:
    """One call's share of a run: who runs, for how long, and what the call before handed on."""

    holder: Holder
    ttl: int
    seconds: float
    resume: Resume
    take_over: int = 0
    epoch: int = 0
    """The epoch this run has had since its first call; 0 in the first call."""
    undo_follows: bool = False
    """Keep the lease when this call fails in what is worth undoing: the same run goes on to undo it."""
    retires: str = ""
    """The release that this run completed: only what it replaced is left to be taken away."""
    undoes: str = ""
    """The failure of this run that the call undoes."""
    waits: float = 0.0
    """Seconds that the run will go on asking for the lease."""
    gone: tuple[str, ...] = ()
    """Runs in line for the lease that are known to be dead."""
