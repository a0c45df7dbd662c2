# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work towards a goal for a bounded time: look, plan, run tracks side by side; private, no stability promised.

The loop keeps nothing that it could not see again: killed anywhere, the next call goes on from what it
observes. What it hands from call to call (C(Resume)) only keeps waits from beginning anew.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import (
    BoundedClock,
    Interrupted,
    Outcome,
    Resume,
    Run,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.canary_watch import (
    CanaryWatch,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release, Site
from ansible_collections.immutable.cutover.plugins.module_utils._apply.gates import (
    Answer,
    GateFailed,
    Gates,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.step_log import (
    StepLog,
    step_key,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.step_runner import StepRunner
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._release.part import WHOLE, Part
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import decide, past
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Decision,
    Hold,
    Step,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import Phase, World

MAX_TRACKS = 32
RENEW_EVERY = 5.0
_LOOKS = frozenset({Verb.READY, Verb.CHECK, Verb.CONFIRM})
"""A track of nothing else has changed nothing."""
_WATCHED = frozenset({"pause", "analysis"})
_DOING = {
    Verb.START: "starting",
    Verb.READY: "waiting for readiness of",
    Verb.WARM: "warming up",
    Verb.REGISTER: "registering",
    Verb.CHECK: "waiting for the health check of",
    Verb.ACTIVATE: "waiting for the health check of",
    Verb.WEIGH: "setting weights of",
    Verb.CONFIRM: "watching",
    Verb.DRAIN: "draining",
    Verb.AWAIT: "draining",
    Verb.DEREGISTER: "deregistering",
    Verb.DESTROY: "destroying",
}


class Executor:
    """One call's worth of work towards a release. Drivers in C(site) must use C(clock)."""

    def __init__(
        self,
        release: Release,
        site: Site,
        run: Run,
        clock: BoundedClock,
        resume: Resume,
        part: Part = WHOLE,
    ) -> None:
        self._release = release
        self._goal = release.goal()
        self._site = site
        self._run = run
        self._clock = clock
        self._timers = Timers(clock, dict(resume.began), dict(resume.counts))
        self._settled = set(resume.settled)
        self._checked = set(resume.checked)
        self._log = StepLog(release, run, clock, resume.pending)
        self._watch = CanaryWatch(
            release, site, self._timers, self._log.analysis, dict(resume.windows)
        )
        self._gates = Gates(
            self._timers, self._note_passed, {"analysis": self._watch.judge}, self._log.gate
        )
        self._hold: Hold | None = None
        self._answer = Answer.WAITING
        self._prepared = set(resume.prepared)
        self._part = part
        self._notes: dict[str, str] = {}
        self._running: dict[str, Future[None]] = {}
        self._current: dict[str, Step] = {}
        self._actions: list[str] = []
        self._failure: tuple[CutoverError, Step | None] | None = None
        self._world: World | None = None
        self._wake = threading.Event()
        self._runner = StepRunner(
            release,
            site,
            run.lease,
            run.epoch,
            self._timers,
            self._notes.__setitem__,
            lambda: self._failure is not None,
        )

    def work(self, seconds: float) -> Outcome:
        """Work for about that long; mutations under way are always finished first."""
        deadline = self._clock.monotonic() + seconds
        with ThreadPoolExecutor(MAX_TRACKS) as pool:
            try:
                self._loop(pool, deadline)
            except CutoverError as failure:
                self._fail(failure, None)
                if self._world is None:
                    raise
            except BaseException:
                self._clock.over.set()  # the pool would wait for every wait that is under way
                raise
        world = self._world or World(())
        status = self._status(world)
        error, step = self._failure or (None, None)
        return Outcome(
            status=status,
            world=world,
            resume=Resume(
                dict(self._timers.began),
                frozenset(self._settled),
                frozenset(self._checked),
                dict(self._log.pending),
                dict(self._timers.counts),
                dict(self._watch.state),
                prepared=frozenset(self._prepared),
            ),
            actions=tuple(self._actions),
            progress=self._progress(world),
            error=error,
            failed_step=step,
            hold=self._hold,
            left=self._gates.left(self._hold) if self._hold else 0,
            down=self._goal.strategy == "recreate",
        )

    def _status(self, world: World) -> str:
        """Say how it ended; a call whose time ran out with its last step needs no other one."""
        if self._failure:
            return "failed"
        decision = decide(self._goal, world)
        self._hold = None if decision.tracks else decision.hold
        if self._part is not WHOLE and decision.tracks:
            return "more"
        if self._clock.over.is_set() and (decision.tracks or decision.hold):
            return "more"
        self._clock.over.clear()
        if self._hold is None:
            return "done"
        return "more" if self._answer is Answer.WAITING else self._answer.value

    def _loop(self, pool: ThreadPoolExecutor, deadline: float) -> None:
        every = min(RENEW_EVERY, self._run.ttl / 3)
        renew_at = self._clock.monotonic() + every
        while True:
            self._wake.clear()
            self._reap()
            world = self._world = self._observe()
            self._log.look(world)
            decision = Decision(())
            if not self._clock.over.is_set():
                self._watch.look(self._goal, world)
                decision = decide(self._goal, world, frozenset(self._running))
                for track in decision.tracks:
                    self._launch(pool, track)
            if not self._running and not self._goes_on(decision.hold):
                return
            now = self._clock.monotonic()
            if now >= deadline or self._failure:
                self._clock.over.set()
            if now >= renew_at:
                self._run.lease.renew(self._run.id, self._run.ttl, self._run.epoch)
                renew_at = now + every
            self._wake.wait(min(1.0, every, max(0.02, deadline - now)))

    def _observe(self) -> World:
        world = observe(self._site, self._release.spec.app, frozenset(self._settled))
        return replace(world, checked=frozenset(self._checked))

    def _goes_on(self, hold: Hold | None) -> bool:
        """Stand at a gate; False when this call, or the run, ends there."""
        if hold is None:
            return False
        if not self._part.keeps_gates:
            return self._part.watches and hold.kind in _WATCHED
        answer = self._answer = self._gates.ask(hold)
        if answer is Answer.PASSED:
            self._goal = past(self._goal, hold)
            self._wake.set()
        if self._part is not WHOLE and self._goal.strategy == "canary":
            # Its figures are counted elsewhere, and only new ones make a difference.
            return answer is Answer.PASSED
        return answer in (Answer.PASSED, Answer.WAITING)

    def _note_passed(self, gate: str) -> None:
        with self._run.lease.guard(self._run.epoch):
            self._run.passed(gate)

    def _reap(self) -> None:
        for name in [name for name, future in self._running.items() if future.done()]:
            self._running.pop(name).result()

    def _launch(self, pool: ThreadPoolExecutor, track: Track) -> None:
        mine = self._part.of(track, self._prepared)
        if mine is not None and len(self._running) < MAX_TRACKS:
            self._running[track.replica] = pool.submit(self._track, mine)

    def _track(self, track: Track) -> None:
        try:
            for step in track.steps:
                self._current[track.replica] = step
                if self._clock.over.is_set():
                    raise Interrupted("interrupted between two steps")
                self._step(step)
                if any(item.verb not in _LOOKS for item in track.steps):
                    self._actions.append(f"{step.verb.value} {step.replica}")
        except Interrupted:
            return
        except CutoverError as error:
            self._fail(error, self._current[track.replica])
        else:
            self._current.pop(track.replica, None)
            if self._part.prepares(track):
                self._prepared.add(track.replica)
        finally:
            self._wake.set()

    def _fail(self, error: CutoverError, step: Step | None) -> None:
        """End the call by its first failure; what fails after it is in the journal."""
        if isinstance(error, GateFailed):
            self._log.scrub(error)
        if self._failure is None:
            self._failure = (error, step)
        self._clock.over.set()

    def _step(self, step: Step) -> None:
        self._log.begin(step)
        try:
            detail = self._runner.run(step)
        except Interrupted:
            raise
        except CutoverError as error:
            self._log.fail(step, error)
            raise
        self._timers.began.pop(step_key(step), None)
        self._notes.pop(step.replica, None)
        self._log.end(step, detail)
        if step.verb is Verb.START:
            self._prepared.discard(step.replica)
        if step.verb in (Verb.START, Verb.REGISTER):  # under the name of one that was there before
            self._checked.discard(step.replica)
        if step.verb is Verb.CONFIRM:
            self._settled.add(step.replica)
        if step.verb is Verb.CHECK:
            self._checked.add(step.replica)

    def _progress(self, world: World) -> tuple[str, ...]:
        """Say how far each process is, and what is being waited for."""
        lines = []
        for want in self._goal.wants:
            done = sum(
                replica.release == want.release and replica.phase is Phase.SERVING
                for replica in world.of(want.process)
            )
            lines.append(f"{want.process} {done}/{want.replicas} replaced")
        if self._hold is not None and self._hold.kind == "pause":
            lines.append(f"gate {self._hold.gate}: {self._gates.left(self._hold):.0f} s left")
        if self._watch.note:
            lines.append(self._watch.note)
        for name, step in sorted(self._current.items()):
            waited = f"{self._log.since(step_key(step)):.0f} s"
            note = self._notes.get(name)
            lines.append(f"{_DOING[step.verb]} {name}: {note + ', ' if note else ''}{waited}")
        return tuple(lines)
