# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one-off tasks in containers of the release's own image; private, no stability promised.

A container of a fixed name is a task that is under way: whoever comes next, after a run that died, finds it and waits
for its end instead of running the task a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.replicas import (
    LOG_LINES,
    explain_exit,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.scrub import Scrubber
from ansible_collections.immutable.cutover.plugins.module_utils._apply.task_records import (
    TaskRecords,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Engine,
    Resources,
    SecretFile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.plugins.module_utils._release.task_spec import (
    AFTER,
    BEFORE,
    TaskSpec,
)
from ansible_collections.immutable.cutover.plugins.module_utils._shown import age

ADHOC = "adhoc"
LOOK = 0.2
GRACE = 10
"""Seconds that a task which took too long has after SIGTERM before it is killed."""
LATE = 60
"""Seconds after its time is over, for whoever started it, before somebody else may remove what is left of a task."""

_NEXT = {
    BEFORE: "nothing was replaced. Put it right, or leave it out, and run the same playbook again",
    AFTER: "the release serves, and stays. Put the task right and run the same playbook again",
}

Act = Callable[[Callable[[], None]], None]
"""Does something inside the fence of a run."""
Tell = Callable[[str, str, float, Mapping[str, object]], None]
"""Writes a row of the journal: task, outcome, for how many seconds it ran, and detail."""


@dataclass(frozen=True)
class Ran:
    """A task that has ended, well or not."""

    name: str
    release: str
    when: str
    outcome: str
    began: float
    """Seconds since the epoch, as the engine has noted it."""
    seconds: float
    exit_code: int | None
    message: str
    log: tuple[str, ...]

    def data(self) -> dict[str, object]:
        """Return it as plain data, for results and receipts."""
        return {**asdict(self), "log": list(self.log)}


class TaskRunner:
    """Tasks of one release under one run. C(of) is what their containers' names end with."""

    def __init__(
        self,
        release: Release,
        engine: Engine,
        state_dir: str,
        timers: Timers,
        records: TaskRecords,
        act: Act,
        tell: Tell,
        *,
        of: str = "",
    ) -> None:
        self._release = release
        self._engine = engine
        self._state_dir = state_dir
        self._timers = timers
        self._records = records
        self._act = act
        self._tell = tell
        self._of = of or release.id
        self._adhoc = bool(of)
        self._scrubber = Scrubber(release.secret_values)
        self.note = ""
        """What is being waited for, for a person."""

    def look(self, task: TaskSpec) -> Ran | None:
        """Start a task or look how it is; None: it goes on. Raises when it has failed; nothing of it is then left."""
        name = names.task_name(self._release.spec.app, task.name, self._of)
        if not self._adhoc and self._others(name):
            return None
        found = named(self._engine, name)
        if (
            found is None or found.state == "created"
        ):  # nobody else is starting it: the lease is ours
            self._start(task, name, found)
            return None
        if found.state in ("running", "paused", "restarting", "removing"):
            self._go_on(task, found)
            return None
        return self._ended(task, found)

    def _start(self, task: TaskSpec, name: str, left: Container | None) -> None:
        self._timers.left(name, task.timeout)
        self._tell(task.name, "begin", 0.0, {"when": self._when(task)})

        def start() -> None:
            if left is not None:
                self._engine.remove(left.id)
            self._engine.start(self._container(task, name))

        self._act(start)
        self.note = f"task {task.name}: started"

    def _when(self, task: TaskSpec) -> str:
        return ADHOC if self._adhoc else task.when

    def _seconds(self, found: Container) -> float:
        """Return for how long it has run by the engine's clock, whichever run started it."""
        return age(found.started_at, self._timers.clock.now()) or 0.0

    def _left(self, found: Container, timeout: float) -> float:
        """Return what is left of its time. What another run has started has had some of it."""
        if found.running:
            self._timers.began_before(found.name, self._seconds(found))
        return self._timers.left(found.name, timeout)

    def _go_on(self, task: TaskSpec, found: Container) -> None:
        left = self._left(found, task.timeout)
        self.note = f"task {task.name}: running, {left:.0f} s left"
        if left > 0:
            return

        def stop() -> None:
            self._engine.stop(found.id, "SIGTERM", GRACE)

        log = self._log(found)
        self._act(stop)
        self._remove(found)
        self._fail(task, found, f"did not end within {task.timeout} s and was stopped", log, None)

    def _ended(self, task: TaskSpec, found: Container) -> Ran:
        log = self._log(found)
        if found.exit_code != 0:
            self._remove(found)
            cause = explain_exit(found.exit_code, found.error)
            said = f"ended with code {found.exit_code}" + (f" ({cause})" if cause else "")
            self._fail(task, found, said, log, found.exit_code)
        self._act(lambda: self._note(found, task.name))
        ran = self._ran(task, found, "ok", 0, "", log)
        self._tell(task.name, "ok", ran.seconds, {"exit_code": 0})
        return ran

    def _note(self, found: Container, task: str) -> None:
        if not self._adhoc:
            self._records.note(self._release.id, task)
        self._engine.remove(found.id)

    def _remove(self, found: Container) -> None:
        def remove() -> None:
            self._engine.remove(found.id)

        self._act(remove)

    def _ran(
        self,
        task: TaskSpec,
        found: Container,
        outcome: str,
        exit_code: int | None,
        message: str,
        log: tuple[str, ...],
    ) -> Ran:
        seconds = round(self._seconds(found), 3)
        began = round(self._timers.clock.now() - seconds, 3)
        when = self._when(task)
        return Ran(
            task.name, self._release.id, when, outcome, began, seconds, exit_code, message, log
        )

    def _fail(
        self,
        task: TaskSpec,
        found: Container,
        said: str,
        log: tuple[str, ...],
        exit_code: int | None,
    ) -> None:
        end = next((line.strip() for line in reversed(log) if line.strip()), "")
        message = f"task {task.name} {said}" + (f"; its log ends with: {end[:200]}" if end else "")
        ran = self._ran(task, found, "failed", exit_code, message, log)
        self._tell(task.name, "failed", ran.seconds, {"exit_code": exit_code, "message": message})
        message += "" if self._adhoc else f"; {_NEXT[task.when]}"
        raise CutoverError(
            message, task=task.name, exit_code=exit_code, log=list(log), tasks=[ran.data()]
        )

    def _log(self, found: Container) -> tuple[str, ...]:
        said = CutoverError("", log=self._engine.logs(found.id, LOG_LINES).splitlines())
        self._scrubber.error(said)
        lines = said.details["log"]
        return tuple(map(str, lines)) if isinstance(lines, list) else ()

    def _others(self, mine: str) -> bool:
        """Tell whether a task that a dead run left still goes on; note and remove those that have ended."""
        for other in tasks_of(self._engine, self._release.spec.app):
            if other.name == mine or names.ADHOC in other.labels:
                continue
            task, of = other.labels[names.TASK], other.labels.get(names.RELEASE, "")
            timeout = float(other.labels.get(names.TASK_TIMEOUT, "0"))
            if other.running and self._left(other, timeout) > 0:
                self.note = (
                    f"waiting for task {task} of release {of}, which a run that died has left"
                )
                return True
            self._act(partial(take_away, self._engine, self._records, other))
        return False

    def _container(self, task: TaskSpec, name: str) -> ContainerSpec:
        spec, limits = self._release.spec, task.limits
        adhoc = {names.ADHOC: "1"} if self._adhoc else {}
        return ContainerSpec(
            name=name,
            image_id=self._release.image_id,
            network=spec.network,
            labels={
                names.APP: spec.app,
                names.TASK: task.name,
                names.TASK_TIMEOUT: str(task.timeout),
                names.RELEASE: self._release.id,
                names.VERSION: spec.version,
                **adhoc,
            },
            env=dict(spec.env),
            resources=Resources(limits.memory, limits.cpus, limits.pids),
            command=task.command,
            secrets=tuple(SecretFile(secret.name, secret.source) for secret in spec.secrets),
            secrets_dir=self._release.secrets_dir(self._state_dir),
            restarts=False,
        )


def named(engine: Engine, name: str) -> Container | None:
    """Return the container of this name; the engine also finds an ID that begins so."""
    found = engine.inspect(name)
    return found if found is not None and found.name == name else None


def tasks_of(engine: Engine, app: str) -> tuple[Container, ...]:
    """Return the containers of tasks of an app, running or not."""
    return engine.containers({names.APP: app, names.TASK: ""})


def left_over(engine: Engine, tasks: Iterable[str], now: float) -> list[Container]:
    """Return those of the containers of tasks that nobody comes back for: ended, or over their time.

    Whoever runs a task of a release has the lease meanwhile. Who runs one by hand has not, and gets time to come back.
    """
    found = []
    for seen in filter(None, map(engine.inspect, tasks)):
        allowed = float(seen.labels.get(names.TASK_TIMEOUT, "0")) + LATE
        overdue = (age(seen.started_at, now) or 0.0) > allowed
        if overdue or not (seen.running or names.ADHOC in seen.labels):
            found.append(seen)
    return found


def take_away(engine: Engine, records: TaskRecords, left: Container) -> None:
    """Remove what is left of a task; that it ended well is noted, as its own run would have done."""
    if left.running:
        engine.stop(left.id, "SIGTERM", GRACE)
    seen = engine.inspect(left.id)
    if seen is not None and seen.exit_code == 0 and names.ADHOC not in left.labels:
        records.note(left.labels.get(names.RELEASE, ""), left.labels[names.TASK])
    engine.remove(left.id)


def take_all_away(engine: Engine, records: TaskRecords, left: Iterable[Container]) -> None:
    """Remove what is left of these tasks."""
    for item in left:
        take_away(engine, records, item)
