# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From module parameters to one-off tasks and back to a result; private, no stability promised."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import front
from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import (
    Outcome,
    Resume,
    Turn,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.choice import Choice
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.host_checks import (
    check_host,
    check_secrets,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.recovery import (
    held_beside,
    refused_beside,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.run_log import RunLog
from ansible_collections.immutable.cutover.plugins.module_utils._apply.task_records import (
    TaskRecords,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.task_runner import (
    ADHOC,
    LOOK,
    Ran,
    TaskRunner,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    Fenced,
    InvalidInput,
    LeaseHeld,
    Overtaken,
)
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal, Row
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    parse_spec,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.task_spec import (
    AFTER,
    BEFORE,
    TaskSpec,
    command_of,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World

TO = "tasks"
"""What the journal says such a run works towards."""


@dataclass(frozen=True)
class Work:
    """The tasks to run, of which release, on which engine."""

    release: Release
    tasks: tuple[TaskSpec, ...]
    engine: Engine
    state_dir: str
    adhoc: bool
    waits_for: str = ""
    """Why tasks that come after traffic cannot run yet."""

    @property
    def app(self) -> str:
        """The app's name."""
        return self.release.spec.app


def run_tasks(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Validate everything, then run what has not run for this release, for one turn."""
    work, turn = _work(params), front.turn_of(params["turn"])
    only_plan = check or params["turn"].get("plan")
    if work.waits_for or not work.tasks:
        if not only_plan:
            Lease(work.state_dir, work.app, SystemClock()).leave(turn.holder.run)
        return _result(work, [work.waits_for] if work.waits_for else [], needed=False)
    lines = [_line(task, work) for task in work.tasks]
    if only_plan:
        return {**_result(work, lines, needed=True), "changed": False}
    if not turn.epoch and (first := _before_it(work, turn)):
        return first
    return _adhoc(work, turn) if work.adhoc else _leased(work, turn, lines)


def _work(params: Mapping[str, Any]) -> Work:
    spec, state_dir = parse_spec(params["spec"]), str(params["state_dir"])
    adhoc = bool(params["command"])
    if adhoc == bool(params["when"]):
        raise InvalidInput(
            "when", params["when"], "must be before_traffic or after, or command be given instead"
        )
    engine, releases = factory.connect(params["engine"]), Releases(state_dir, spec.app)
    engine.version()
    to = _running(spec, releases) if adhoc else ""
    release = Choice(spec, to, releases, state_dir, SystemClock()).release(engine)
    done = TaskRecords(state_dir, spec.app).done(release.id)
    tasks = tuple(t for t in spec.tasks if t.when == params["when"] and t.name not in done)
    if adhoc:
        tasks = (_command(params),)
    _check(release, tasks, engine)
    after = any(task.when == AFTER for task in tasks)
    waits = _still_there(release, releases, engine) if after else ""
    return Work(release, tasks, engine, state_dir, adhoc, waits)


def _held(work: Work) -> Begun | None:
    """Return another release that waits at a gate; beside it nothing of this one is done before its traffic."""
    if not any(task.when == BEFORE for task in work.tasks) or work.adhoc:
        return None
    return held_beside(work.release, Releases(work.state_dir, work.app))


def _before_it(work: Work, turn: Turn) -> dict[str, Any]:
    """Return what comes first where another release waits at a gate, as for the release itself."""
    held, spec = _held(work), work.release.spec
    if held is None:
        return {}
    if spec.strategy.while_held == "wait":
        Lease(work.state_dir, work.app, SystemClock()).leave(turn.holder.run)
        return front.waits_for(held, turn)
    # An abort over several hosts is more than the host of the tasks can do.
    if spec.strategy.while_held == "refuse" or spec.balancer_hosts:
        raise refused_beside(work.app, held)
    return front.aborts_first(held)


def _running(spec: AppSpec, releases: Releases) -> str:
    completed = releases.completed()
    if not completed:
        raise CutoverError(
            f"no release of {spec.app} runs on this host, and a command runs in the image of the one that does; "
            "nothing was changed"
        )
    return completed[-1]


def _command(params: Mapping[str, Any]) -> TaskSpec:
    fields = Fields({"command": params["command"], "timeout": params["timeout"]}, "")
    return TaskSpec(ADHOC, command_of(fields), timeout=fields.seconds("timeout", 300))


def _check(release: Release, tasks: Sequence[TaskSpec], engine: Engine) -> None:
    """Refuse what this host or the image does not have, before anything is started."""
    if not tasks:
        return
    check_host(release, engine)
    check_secrets(release)
    cpus, path = os.cpu_count() or 1, dict(release.spec.env).get("PATH", "")
    for task in tasks:
        option = f"tasks.{task.name}"
        if task.limits.cpus > cpus:
            raise InvalidInput(
                f"{option}.resources.cpus", task.limits.cpus, f"must not be above the host's {cpus}"
            )
        if engine.missing_programs(release.image_id, [task.command[0]], path):
            raise InvalidInput(
                f"{option}.command",
                task.command[0],
                f"command not found in image {release.image_id}, or not executable there",
            )


def _still_there(release: Release, releases: Releases, engine: Engine) -> str:
    """Say what of an older image still serves on this host; empty where nothing does."""
    if releases.completed()[-1:] != [release.id]:
        return f"tasks after traffic wait until release {release.id} is complete on this host"
    replicas = engine.containers({names.APP: release.spec.app, names.PROCESS: ""})
    old = sorted(item.name for item in replicas if item.image_id != release.image_id)
    return f"tasks after traffic wait: {', '.join(old)} still there" if old else ""


def _line(task: TaskSpec, work: Work) -> str:
    when = "" if work.adhoc else f" ({task.when})"
    return f"run task {task.name}{when} in the image of release {work.release.id}"


# Working.


def _leased(work: Work, turn: Turn, lines: list[str]) -> dict[str, Any]:
    """Run tasks of a release under the lease of the app: nobody deploys, and nobody runs them, meanwhile."""
    clock = SystemClock()
    lease, journal = Lease(work.state_dir, work.app, clock), Journal(work.state_dir, work.app)
    journal.runs()  # what cannot be read is refused before anything changes
    log = RunLog(journal, turn.holder.run, work.release, clock)
    try:
        state = lease.acquire(
            turn.holder,
            turn.ttl,
            turn.take_over,
            turn.epoch,
            turn.waits,
            turn.gone,
            lambda: _held(work) is None,
        )
    except Overtaken as error:
        return {"changed": False, "status": "again", "message": error.message}
    except LeaseHeld as error:
        return {"changed": False, "status": "waiting", "message": error.message, **error.details}
    log.epoch = state.epoch
    if not turn.epoch:
        log.begin(turn.holder, TO, Releases(work.state_dir, work.app).all()[-1:])

    def act(what: Callable[[], None]) -> None:
        with lease.guard(state.epoch):
            what()

    def keep() -> None:
        lease.renew(turn.holder.run, turn.ttl, state.epoch)

    try:
        result = _turn(work, turn, journal, state.epoch, act, keep)
    except CutoverError as error:
        log.fail(error, state.epoch)
        if not isinstance(error, Fenced):
            lease.release(turn.holder.run)
        about = {"app": work.app, "release": work.release.id, "version": work.release.spec.version}
        about |= {"image": work.release.spec.image, "image_id": work.release.image_id}
        rows = [asdict(row) for row in journal.written]
        error.details.update({**about, "epoch": state.epoch, "journal": rows})
        raise
    if result["status"] == "done":
        log.end(Outcome("done", World(()), Resume(), (), ()), "")
        lease.release(turn.holder.run)
    return {
        **result,
        "epoch": state.epoch,
        "lines": [] if turn.epoch else lines,
        "journal": [asdict(row) for row in journal.written],
    }


def _adhoc(work: Work, turn: Turn) -> dict[str, Any]:
    """Run what a person asks for; it keeps nobody from deploying meanwhile."""
    journal = Journal(work.state_dir, work.app)
    result = _turn(work, turn, journal, 0, lambda what: what(), lambda: None)
    return {**result, "epoch": 0, "lines": [], "journal": [asdict(row) for row in journal.written]}


def _turn(
    work: Work,
    turn: Turn,
    journal: Journal,
    epoch: int,
    act: Callable[[Callable[[], None]], None],
    keep: Callable[[], None],
) -> dict[str, Any]:
    clock = SystemClock()
    deadline = clock.monotonic() + turn.seconds
    timers = Timers(clock, dict(turn.resume.began))

    def tell(task: str, outcome: str, seconds: float, detail: Mapping[str, object]) -> None:
        journal.append(
            Row(
                time=clock.now(),
                run=turn.holder.run,
                epoch=epoch,
                app=work.app,
                step="task",
                outcome=outcome,
                release=work.release.id,
                version=work.release.spec.version,
                seconds=seconds,
                detail={"task": task, **detail},
            )
        )

    of = turn.holder.run if work.adhoc else ""
    records = TaskRecords(work.state_dir, work.app)
    runner = TaskRunner(
        work.release, work.engine, work.state_dir, timers, records, act, tell, of=of
    )
    left, ran = list(work.tasks), list[Ran]()
    while left and clock.monotonic() < deadline:
        ended = runner.look(left[0])
        if ended is not None:
            ran.append(ended)
            left.pop(0)
        elif left:
            clock.sleep(LOOK)
        keep()
    return {
        **_result(work, [], needed=bool(left)),
        "changed": bool(ran),
        "status": "more" if left else "done",
        "actions": [f"run task {item.name}" for item in ran],
        "progress": [runner.note] if left else [],
        "tasks": [item.data() for item in ran],
        "resume": {"began": dict(timers.began)},
    }


def _result(work: Work, lines: list[str], *, needed: bool) -> dict[str, Any]:
    return {
        "changed": False,
        "needed": needed,
        "app": work.app,
        "release": work.release.id,
        "version": work.release.spec.version,
        "image_id": work.release.image_id,
        "status": "done",
        "lines": lines,
        "actions": [],
        "progress": [],
        "journal": [],
        "tasks": [],
        "before": {},
        "after": {},
    }
