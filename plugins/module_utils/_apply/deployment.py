# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the release modules do, once: validate everything, plan, work, remember; private, no stability promised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._apply import leftovers
from ansible_collections.immutable.cutover.plugins.module_utils._apply.canary_site import (
    check_canary,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.connect import connect_all
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import (
    BoundedClock,
    Executor,
    Outcome,
    Resume,
    Run,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.image_facts import (
    check_image,
    commands_of,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.probes import (
    readiness_probe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.recovery import (
    FINISH,
    UNDO,
    finished,
    resolve,
    way,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    ReleaseRecord,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.retention import (
    prune,
    restored,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.run_log import RunLog
from ansible_collections.immutable.cutover.plugins.module_utils._clock import (
    SystemClock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._disk import require
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    Fenced,
    InvalidInput,
    LeaseHeld,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import resolve_image
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import verify_image
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

PREVIOUS = "previous"
ABORT = "abort"
PROMOTE = "promote"
GIVE_UP = (UNDO, ABORT)
GOES_ON = (PROMOTE, FINISH)
ENDS = ("done", "held", "delayed")


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


class Deployment:
    """A wanted release on one host. Building it validates everything and changes nothing."""

    def __init__(
        self, value: object, to: str, state_dir: str, engine: Engine, clock: BoundedClock
    ) -> None:
        self._clock = clock
        self._state_dir = state_dir
        self.epoch = 0
        self.part = WHOLE
        self.beyond = 0
        wanted = parse_spec(value)
        self.site = Site(engine, self.connect(wanted), state_dir, clock, wanted.scope)
        engine.version()
        found = [(item.driver.where, item.driver.probe()) for item in self._balancers()]
        if to in ("", PROMOTE):
            check_canary(wanted.strategy, found)
        self.releases = Releases(state_dir, wanted.app)
        self._to = resolve(to, wanted.app, self.releases, lambda: observe(self.site, wanted.app))
        self.release = self._at_its_gates(self._choose(wanted, self._to, engine))
        self._check_host(engine)
        self.held = self._held()
        self.world = observe(self.site, wanted.app)
        self._check_processes()
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
        """Refuse a command that the image of a new release does not have, before anything is started (B33).

        Only for commands that the spec itself gives: those of the image were seen by whoever baked it. It costs a few
        calls of the engine, so a release that this host knows, or already runs, is not looked at again.
        """
        release, spec = self.release, self.release.spec
        known = any(replica.release == release.id for replica in self.world.replicas)
        given = {item.command[0]: item.name for item in spec.processes if item.command}
        if not given or known or self.releases.get(release.id) is not None:
            return
        path = dict(spec.env).get("PATH", "")
        for program in self.site.engine.missing_programs(release.image_id, list(given), path):
            raise InvalidInput(
                f"processes.{given[program]}.command",
                program,
                f"command not found in image {release.image_id}, or not executable there",
            )

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
        return tuple(found)

    def _left_files(self) -> list[str]:
        """Return files of ours that serve nobody any more."""
        return leftovers.files(self._state_dir, self.releases, self.release.spec, self._clock.now())

    def _balancers(self) -> list[Balancer]:
        return [balancer for group in self.site.balancers.values() for balancer in group]

    def lease_holder(self) -> Holder | None:
        """Return who has the lease now, whether alive or dead."""
        return Lease(self._state_dir, self.app, self._clock).read().holder

    def work(self, turn: Turn) -> tuple[Outcome, list[Row]]:
        """Take the lease, work for a bounded time, and when all is done note it and give the lease back."""
        self._check_secrets()
        # The lease too has the plain clock: a call that is over still gives it back.
        lease = Lease(self._state_dir, self.app, SystemClock())
        journal = Journal(self._state_dir, self.app)
        journal.runs()  # what cannot be read is refused before anything changes
        log = RunLog(journal, turn.holder.run, self.release, SystemClock())
        try:
            if self.beyond:
                lease.raise_to(self.beyond)
            state = lease.acquire(
                turn.holder, turn.ttl, turn.take_over, turn.epoch, turn.waits, turn.gone
            )
            self.epoch = log.epoch = state.epoch
            run = Run(
                turn.holder.run, state.epoch, turn.ttl, journal, lease, self.releases.pass_gate
            )
            outcome = self._work(turn, run, log)
        except LeaseHeld:
            raise
        except CutoverError as error:
            log.fail(error, turn.epoch)
            if not isinstance(error, Fenced):
                lease.release(turn.holder.run)
            raise
        return outcome, journal.written

    def _work(self, turn: Turn, run: Run, log: RunLog) -> Outcome:
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
            if self.release.wanted_replicas and self._to not in (*GIVE_UP, *GOES_ON):
                self.releases.save(self._new_record())
                self.releases.begin(Begun(self.release.id, self._to))
            hold, begun = self._promoted(), self.releases.begun()
            if hold is not None and begun is not None and begun.release == self.release.id:
                self.releases.pass_gate(hold.gate)
                run.journal.append(self._row(run, "gate", {**asdict(hold), "by": PROMOTE}))
                self.release = self._at_its_gates(self.release)
            for balancer in self._balancers():
                balancer.driver.persist()

    def _choose(self, wanted: AppSpec, to: str, engine: Engine) -> Release:
        if not to:
            image_id = resolve_image(
                wanted.image, self._state_dir, lambda ref: engine.image(ref) is not None
            )
            return self._release(wanted, image_id, engine)
        record = self._record(to, wanted)
        if record is None:
            return self._nothing(wanted)
        spec = restored(record, wanted, keep_scale=to not in (*GIVE_UP, FINISH))
        return self._release(spec, record.image_id, engine)

    def _record(self, to: str, wanted: AppSpec) -> ReleaseRecord | None:
        completed, begun = self.releases.completed(), self.releases.begun()
        if to == PROMOTE:
            record = self.releases.get(begun.release) if begun else None
            if record is None:
                raise CutoverError(
                    f"no release of {wanted.app} waits at a gate; nothing was changed"
                )
            return record
        if to in GIVE_UP:
            return self.releases.get(completed[-1]) if completed else None
        if to == FINISH:
            return finished(self.releases)
        if to == PREVIOUS:
            return self.releases.previous()
        return self.releases.named(to)

    def _at_its_gates(self, release: Release) -> Release:
        """Say which gates it has passed, and how long what it replaces is kept."""
        begun = self.releases.begun()
        mine = begun if begun is not None and begun.release == release.id else None
        back = self._to not in ("", *GOES_ON) or (self._to in GOES_ON and bool(mine and mine.to))
        delay: float = 0 if back else release.spec.strategy.scale_down_delay
        since = self.releases.kept_since(release.id)
        if delay and since:
            # A clock that was set back must not keep them for longer.
            delay = max(0.0, delay - abs(self._clock.now() - since))
        passed = frozenset(mine.passed if mine else ())
        return replace(release, passed=passed, going_back=back, delay=delay, took_over=bool(since))

    def _held(self) -> Begun | None:
        """Return another release that waits at a gate, if it is to be aborted first; refuse to overlap with it."""
        begun = self.releases.begun()
        if self._to or begun is None or not begun.held or begun.release == self.release.id:
            return None
        if self.release.spec.strategy.while_held == "refuse":
            raise CutoverError(
                f"release {begun.release} of {self.app} is held at gate {begun.held}: promote or abort it first, "
                "or set strategy.while_held to abort; nothing was changed",
                held=begun.release,
            )
        return begun

    def _nothing(self, wanted: AppSpec) -> Release:
        """Return the release to go back to when there never was one: no replica at all."""
        processes = tuple(replace(process, replicas=0, max_surge=1) for process in wanted.processes)
        return Release(replace(wanted, processes=processes), "")

    def _release(self, spec: AppSpec, image_id: str, engine: Engine) -> Release:
        image = engine.image(image_id)
        if image is None:
            raise CutoverError(
                f"image {image_id} of {spec.image} is not on this host; nothing was changed. Bake, pull or load it "
                "again, or name another kept release (the playbook status lists them)"
            )
        if spec.verify == "required":
            # In every call, before it changes anything; what is verified here is the ID that containers are made of.
            verify_image(spec.image, image.id, spec.verify_keys, self._state_dir)
        check_image(image)
        commands = commands_of(image)
        for process in spec.processes:
            named = process.name in commands or process.command or not process.replicas
            if commands and not named:
                raise InvalidInput(
                    f"processes.{process.name}.command",
                    None,
                    f"is required: the image names commands only for {', '.join(sorted(commands))}",
                )
        return Release(spec, image_id, commands)

    def _check_host(self, engine: Engine) -> None:
        networks = engine.networks()
        if self.release.spec.network not in networks:
            raise InvalidInput(
                "network",
                self.release.spec.network,
                f"network not found on this host; have {', '.join(networks)}",
            )
        if self._to:
            self._check_secrets()
        cpus = os.cpu_count() or 1
        for process in self.release.spec.processes:
            readiness_probe(process)
            if process.limits.cpus > cpus:
                raise InvalidInput(
                    f"processes.{process.name}.resources.cpus",
                    process.limits.cpus,
                    f"must not be above the host's {cpus}",
                )

    def _check_secrets(self) -> None:
        """Refuse a secret that is not there; those of a new release are placed after its plan was made."""
        for secret in self.release.spec.secrets:
            if not os.path.isfile(secret.source):
                raise InvalidInput(
                    f"secrets.{secret.name}.source", secret.source, "must be a file on this host"
                )

    def _check_processes(self) -> None:
        known = {process.name for process in self.release.spec.processes}
        for replica in self.world.replicas:
            if replica.process not in known:
                raise InvalidInput(
                    "processes",
                    sorted(known),
                    f"must keep {replica.process}: {replica.name} still runs",
                )

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


def describe_world(world: World) -> dict[str, list[dict[str, object]]]:
    """Return each process's replicas as plain data, for before, after and the info modules."""
    result: dict[str, list[dict[str, object]]] = {}
    for replica in sorted(world.replicas, key=lambda item: (item.process, item.name)):
        result.setdefault(replica.process, []).append(
            {
                "name": replica.name,
                "release": replica.release,
                "version": replica.version,
                "state": replica.phase.value,
                "address": f"{replica.address}:{replica.port}" if replica.address else "",
            }
        )
    return result
