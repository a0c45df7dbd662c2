# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the release modules do, once: validate everything, plan, work, remember; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import leftovers
from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import (
    BoundedClock,
    Outcome,
    Run,
    Turn,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.canary_site import (
    check_canary,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.choice import (
    ABORT,
    GIVE_UP,
    GOES_ON,
    PROMOTE,
    Choice,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.connect import connect_all
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.host_checks import (
    check_commands,
    check_host,
    check_processes,
    check_secrets,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.recovery import (
    held_beside,
    left_half_way,
    refused_beside,
    resolve,
    way,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    ReleaseRecord,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.retention import prune
from ansible_collections.immutable.cutover.plugins.module_utils._apply.run_log import RunLog
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._disk import require
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    AbortFirst,
    CutoverError,
    Fenced,
    InvalidInput,
    LeaseHeld,
    Overtaken,
)
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal, Row
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release.part import WHOLE
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import past, plan
from ansible_collections.immutable.cutover.plugins.module_utils._release.simulate import simulate
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    parse_spec,
    to_mapping,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Hold,
    Plan,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World

ENDS = ("done", "held", "delayed")


class Deployment:
    """A wanted release on one host. Building it validates everything and changes nothing."""

    def __init__(self, params: Mapping[str, Any], engine: Engine, clock: BoundedClock) -> None:
        to, state_dir = str(params["to"]), str(params["state_dir"])
        self._clock = clock
        self._state_dir = state_dir
        self.epoch = 0
        self.part = WHOLE
        self.beyond = 0
        wanted = parse_spec(params["spec"])
        self.site = Site(engine, self.connect(wanted), state_dir, clock, wanted.scope)
        engine.version()
        found = [(item.driver.where, item.driver.probe()) for item in self._balancers()]
        if to in ("", PROMOTE):
            check_canary(wanted, found)
        self.releases = Releases(state_dir, wanted.app)
        self._decided_on = self.releases.seen()
        self._to = resolve(to, wanted.app, self.releases, lambda: observe(self.site, wanted.app))
        turn = params.get("turn") or {}
        meant = (str(params.get("approved") or ""), str(turn.get("retires") or ""))
        self._choice = Choice(wanted, self._to, self.releases, state_dir, clock, *meant)
        self.release = self._choice.release(engine)
        if self._to and not params.get("rollback_unsafe"):
            self._refuse_unsafe()
        check_host(self.release, engine)
        if self._to:
            check_secrets(self.release)
        self.held = self._held()
        self.world = observe(self.site, wanted.app)
        check_processes(self.release, self.world)
        self.loose_ends = self._loose_ends()

    def connect(self, spec: AppSpec) -> dict[str, tuple[Balancer, ...]]:
        """Return the load balancers of each process."""
        if spec.balancer_hosts:
            raise InvalidInput(
                "load_balancers[0].host",
                spec.load_balancers[0].host,
                "is for the role release, which works on several hosts in turn; this module works on one",
            )
        # The drivers get the plain clock: a change they have begun is always finished and confirmed.
        return connect_all(spec, SystemClock())

    @property
    def app(self) -> str:
        """The app's name."""
        return self.release.spec.app

    def plan(self) -> Plan:
        """Return the whole way from what is seen to what is wanted, behind the gate that a promotion passes."""
        goal = self.release.goal()
        hold = self._promoted()
        return plan(past(goal, hold) if hold else goal, self.world)

    def _promoted(self) -> Hold | None:
        """Return the gate that this run lets the release through: the one before which nothing else is to be done."""
        if self._to != PROMOTE:
            return None
        hold = stands_at(plan(self.release.goal(), self.world))
        return hold if hold is not None and hold.kind != "delay" else None

    @property
    def waits(self) -> bool:
        """Whether this release waits for another one that is held, which is aborted first if not."""
        return self.release.spec.strategy.while_held == "wait"

    @property
    def way(self) -> str:
        """Say where a run goes that does not go to what the spec describes."""
        if self._to in ("", ABORT, PROMOTE) or not self.release.wanted_replicas:
            return ""
        return way(self._to, self.release.spec.version, self.release.id, self.releases.begun())

    def rests(self, hold: Hold) -> bool:
        """Tell whether the run before has done all that is to be done before this gate, and noted it."""
        if hold.kind == "delay":
            return not self.loose_ends
        begun = self.releases.begun()
        known = begun is not None and begun.held == hold.gate and begun.release == self.release.id
        return known and hold.kind == "approval" and self._to != PROMOTE

    def check_commands(self) -> None:
        """Refuse a command that the image does not have."""
        check_commands(self.release, self.world, self.site.engine, self.releases)

    def check_space(self, plan: Plan) -> None:
        """Refuse to start anything on an engine whose disk is full (RO-17)."""
        starts = sum(step.verb is Verb.START for step in plan.steps)
        if starts:
            require(self.site.engine.space(), 0, f"starting {starts} replicas")

    def expected(self, plan: Plan) -> World:
        """Return what will be seen when this run has ended: after all steps, or where somebody must approve."""
        world = self.world
        for batch in plan.batches:
            if batch.hold is not None and batch.hold.kind == "approval" and not batch.tracks:
                break
            for step in (step for track in batch.tracks for step in track.steps):
                world = simulate(self.release.goal(), world, step)
        return world

    def _loose_ends(self) -> tuple[str, ...]:
        """Say what a run that died has left, apart from replicas and targets; every run puts it in order."""
        found = [
            f"persist what {balancer.driver.where} has registered"
            for balancer in self._balancers()
            if not balancer.driver.persisted()
        ]
        begun = self.releases.begun()
        if self.releases.completed()[-1:] != [self.release.id] and self.release.wanted_replicas:
            found.append(f"record release {self.release.id}")
        elif begun is not None and (begun.release != self.release.id or not begun.held):
            found.append(f"forget release {begun.release}, which was begun")
        copies = self.site.engine.sweep_secrets(
            self.release.secrets_dir(self._state_dir), look=True
        )
        found += [f"remove the secrets of {name}, left by a dead run" for name in copies]
        found += [f"remove {path}, left by a dead run" for path in self._left_files()]
        if self.world.tasks:
            found += self._left_tasks(self.world, look=True)
        return tuple(found)

    def _left_tasks(self, world: World, *, look: bool = False) -> list[str]:
        """Remove what is left of one-off tasks; C(look): only say what that would be. Hardly a run needs it."""
        from ansible_collections.immutable.cutover.plugins.module_utils._apply import (
            task_records,
            task_runner,
        )

        engine = self.site.engine
        left = task_runner.left_over(engine, world.tasks, self._clock.now())
        if not look:
            records = task_records.TaskRecords(self._state_dir, self.app)
            task_runner.take_all_away(engine, records, left)
        return [
            f"remove {item.name}, a task {'whose time is over' if item.running else 'that has ended'}"
            for item in left
        ]

    def _refuse_unsafe(self) -> None:
        """Refuse to go back across a task that is not C(rollback_safe)."""
        from ansible_collections.immutable.cutover.plugins.module_utils._apply.task_records import (
            TaskRecords,
            refuse_unsafe,
        )

        target = self.release.id if self.release.wanted_replicas else ""
        refuse_unsafe(self._to, target, self.releases, TaskRecords(self._state_dir, self.app))

    def _left_files(self) -> list[str]:
        """Return files of ours that serve nobody any more."""
        return leftovers.files(self._state_dir, self.releases, self.release.spec, self._clock.now())

    def _balancers(self) -> list[Balancer]:
        return [balancer for group in self.site.balancers.values() for balancer in group]

    def lease_holder(self) -> Holder | None:
        """Return who has the lease now, whether alive or dead."""
        return Lease(self._state_dir, self.app, self._clock).read().holder

    def leave_line(self, run: str) -> None:
        """Give up a run's place in the line for the lease: there is nothing left to do."""
        Lease(self._state_dir, self.app, SystemClock()).leave(run)

    def work(self, turn: Turn) -> tuple[Outcome, list[Row]]:
        """Take the lease, work for a bounded time, and when all is done note it and give the lease back."""
        check_secrets(self.release)  # those of a new release are placed after its plan was made
        # The lease too has the plain clock: a call that is over still gives it back.
        lease = Lease(self._state_dir, self.app, SystemClock())
        journal = Journal(self._state_dir, self.app)
        journal.runs()  # what cannot be read is refused before anything changes
        log = RunLog(journal, turn.holder.run, self.release, SystemClock())
        try:
            if self.beyond:
                lease.raise_to(self.beyond)
            state = lease.acquire(
                turn.holder,
                turn.ttl,
                turn.take_over,
                turn.epoch,
                turn.waits,
                turn.gone,
                self._still,
            )
            self.epoch = log.epoch = state.epoch
            if not turn.epoch and (left := self.left_half_way()):
                raise AbortFirst(left.release)
            run = Run(
                turn.holder.run, state.epoch, turn.ttl, journal, lease, self.releases.pass_gate
            )
            outcome = self._work(turn, run, log)
        except (LeaseHeld, Overtaken, AbortFirst):
            raise
        except CutoverError as error:
            log.fail(error, turn.epoch)
            if self.epoch:  # the run has begun, whatever became of it
                error.details.update(release=self.release.id, epoch=self.epoch)
            if not isinstance(error, Fenced):
                lease.release(turn.holder.run)
            raise
        return outcome, journal.written

    def left_half_way(self) -> Begun | None:
        """Return another release that a run which is over has left with traffic, where this one must not join it."""
        if self._to:
            return None
        begun = self.releases.begun()
        if begun is None or begun.release == self.release.id:
            return None
        return left_half_way(self.release, self.releases, observe(self.site, self.app))

    def _still(self) -> bool:
        """Whether what this run has decided on is so yet; a promotion is somebody's choice, and refused if not."""
        return self._to == PROMOTE or self.releases.seen() == self._decided_on

    def _work(self, turn: Turn, run: Run, log: RunLog) -> Outcome:
        # Late: a run that finds nothing to do does not come here.
        from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import (
            Executor,
        )

        if not turn.epoch:
            log.begin(turn.holder, self._to, self.releases.all()[-1:])
        self._begin(run, first=not turn.epoch)
        outcome = Executor(self.release, self.site, run, self._clock, turn.resume, self.part).work(
            turn.seconds
        )
        if outcome.status == "held" and outcome.hold is not None:
            with run.lease.guard(run.epoch):
                self.releases.hold(outcome.hold.gate)
        if outcome.status in ("done", "delayed"):
            with run.lease.guard(run.epoch):
                swept = self.site.engine.sweep_secrets(self.release.secrets_dir(self._state_dir))
                pruned = self._finish(kept=outcome.status == "delayed")
                left = self._left_files()
                leftovers.remove(left)
                if outcome.world.tasks:
                    self._left_tasks(outcome.world)
            detail = {"pruned": pruned, "swept": [*swept, *left]}
            run.journal.append(self._row(run, "record", detail))
        undone_next = turn.undo_follows and outcome.worth_undoing
        if outcome.status in ENDS or (outcome.status == "failed" and not undone_next):
            log.end(outcome, turn.undoes)
            run.lease.release(run.id)
        return outcome

    def _begin(self, run: Run, *, first: bool) -> None:
        """Note where this run goes, and bring on disk what a run that died had changed and not yet persisted."""
        with run.lease.guard(self.epoch):
            if self._to in GIVE_UP:
                self.releases.close_gates()
            if not first:
                return
            self._refuse_overtaken()
            if self.release.wanted_replicas and self._to not in (*GIVE_UP, *GOES_ON):
                self.releases.save(self._new_record())
                self.releases.begin(Begun(self.release.id, self._to))
            hold, begun = self._promoted(), self.releases.begun()
            if hold is not None and begun is not None and begun.release == self.release.id:
                self.releases.pass_gate(hold.gate)
                run.journal.append(self._row(run, "gate", {**asdict(hold), "by": PROMOTE}))
                self.release = self._choice.at_its_gates(self.release)
            for balancer in self._balancers():
                balancer.driver.persist()

    def _refuse_overtaken(self) -> None:
        """Refuse to promote what another run has given up, or has finished, before this one had the lease."""
        begun = self.releases.begun()
        if self._to == PROMOTE and (begun is None or begun.release != self.release.id):
            instead = f"release {begun.release} is there instead" if begun else "none is there"
            raise CutoverError(
                f"release {self.release.id} of {self.app} does not wait at a gate any more: {instead}; "
                "nothing was changed"
            )

    def _held(self) -> Begun | None:
        """Return another release that waits at a gate, unless this one is refused for it; they never overlap."""
        other = None if self._to else held_beside(self.release, self.releases)
        if other is not None and self.release.spec.strategy.while_held == "refuse":
            raise refused_beside(self.app, other)
        return other

    def _new_record(self) -> ReleaseRecord:
        return ReleaseRecord(
            id=self.release.id,
            version=self.release.spec.version,
            image=self.release.spec.image,
            image_id=self.release.image_id,
            spec=to_mapping(self.release.spec),
        )

    def _finish(self, *, kept: bool) -> list[str]:
        if not self.release.wanted_replicas:
            self.releases.nothing_runs()
            return []
        self.releases.save(self._new_record())
        self.releases.complete(self.release.id, self._clock.now() if kept else 0)
        return prune(self.releases, self.site.engine, self._state_dir, self.release.spec)

    def _row(self, run: Run, step: str, detail: Mapping[str, object]) -> Row:
        return Row(
            time=self._clock.now(),
            run=run.id,
            epoch=run.epoch,
            app=self.app,
            step=step,
            outcome="ok",
            release=self.release.id,
            version=self.release.spec.version,
            detail=detail,
        )


def stands_at(plan: Plan) -> Hold | None:
    """Return the gate before which nothing else is to be done."""
    first = plan.batches[0] if plan.batches else None
    return first.hold if first is not None and not first.tracks else None
