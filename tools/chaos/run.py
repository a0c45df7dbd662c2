# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""One case from its beginning to its judgement, under a load of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.chaos import check
from tools.chaos.cases import AGAIN, PLAYBOOKS, RECOVER, THIRD, Case
from tools.chaos.faults import MEANWHILE, UNTIL_NEXT, Fault, Later, Scene
from tools.chaos.moments import wait_for
from tools.chaos.remote import Remote
from tools.chaos.rig import Ended, NotReached, Playing, Release
from tools.chaos.world import FOLDER, SECRET, World
from tools.loadgen import Load
from tools.loadgen.load import Result as Books
from tools.loadgen.outcome import OK, Row

PASSED, FAILED, FLAKY, UNREACHED = "passed", "failed", "flaky", "unreached"
PATIENT = ("--slow", "1-2", "--timeout", "120", "--connect-timeout", "60")
"""On a busy host, or while something hangs, an answer may be late; that it is late is no loss."""
TTL = 10
"""Seconds after which a lease ends whose holder is on another controller, where nobody here can see that it is dead."""
SETTLE = 2.0
"""After a restart HAProxy takes all servers for up until its first checks."""


@dataclass(frozen=True)
class Options:
    """How cases are run."""

    seed: int = 0
    rate: float = 60.0
    pause: float = 60.0
    hang: float = 30.0
    over_ssh: bool = False
    """Whether every run goes over ssh, not only where the fault needs it."""


@dataclass(frozen=True)
class Result:
    """What became of a case."""

    id: str
    outcome: str
    problems: tuple[str, ...] = ()
    landed: str = ""
    """The last row of the journal when the fault came."""
    by: str = ""
    """How the next run reached the host: from the controller of the disturbed one (C(ssh)), or from another one."""
    ended: tuple[int | None, ...] = ()
    """Exit codes of the run that was disturbed (negative: by which signal) and of the one after it."""
    planned: int = 0
    accounted: int = 0
    failed: int = 0
    excused: int = 0
    """How many of the failed may fail by this fault."""
    temporary: int = 0
    """Temporary folders of Ansible itself that were left; none of them with a secret."""
    seconds: float = 0.0
    kept: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass
class Account:
    """What is gathered while a case runs."""

    began: float = 0.0
    over: float = 0.0
    landed: str = ""
    by: str = ""
    reached: bool = True
    codes: list[int | None] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Known:
    """The releases of a case: of the run that is disturbed, of a third, what ran, and what ran before that."""

    killed: Release
    third: Release
    current: Release
    older: Release


def allowed(case: Case, known: Known, *, reached: bool = True) -> list[Release]:
    """Return which releases may run in the end; more than one where it depends on who had the lease first."""
    # A run that is alive and had not begun may get the lease after the next one has given it back.
    late = [known.killed] if case.fault.lives and not case.point.begun else []
    if case.then == AGAIN:
        return [known.killed]
    if case.then == RECOVER:
        return [known.killed, known.current]
    if case.then == THIRD:
        return [known.third, *late]
    # A rollback of a run that had not begun, or has gone back by itself, leads to what ran before.
    unsure = not case.point.begun or case.fault.undoes or not reached
    return [known.current, *([known.older] if unsure else []), *late]


def may_fail(fault: Fault, row: Row, *, began: float, over: float) -> bool:
    """Whether the fault itself takes away who would have answered; C(began) is 0 when it never came."""
    if fault.loses not in (MEANWHILE, UNTIL_NEXT) or not began:
        return False
    return row.planned + row.latency_ms / 1000 >= began and row.planned <= over


class CaseRun:
    """One try of one case."""

    def __init__(self, world: World, case: Case, options: Options, folder: Path) -> None:
        self._world = world
        self._site = world.site
        self._case = case
        self._options = options
        self._folder = folder
        self._random = case.random(options.seed)
        self._account = Account()
        self._rows = check.tail(self._site)
        self._apart = world.remote if case.fault.over_ssh or options.over_ssh else None

    def go(self) -> Result:
        """Run and judge it."""
        started = time.monotonic()
        shutil.rmtree(self._folder, ignore_errors=True)
        temporary = self._folder / "tmp"
        temporary.mkdir(parents=True)
        names = ("TMPDIR", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TMP")
        self._site.environment = {name: str(temporary) for name in names}
        load = Load(
            self._site.sample.url,
            rate=self._options.rate,
            options=PATIENT,
            out=self._folder / "load",
            seed=self._options.seed + 1,
        )
        account = self._account
        with load:
            try:
                self._disturb()
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                account.problems.append(f"{type(error).__name__}: {str(error)[-3000:]}")
            books = load.stop()
        failed, excused = self._lost(books)
        account.problems += check.secrets_left(temporary, SECRET)
        outcome = FAILED if account.problems else PASSED if account.reached else UNREACHED
        return Result(
            id=self._case.id,
            outcome=outcome,
            problems=tuple(account.problems),
            landed=account.landed,
            by=account.by,
            ended=tuple(account.codes),
            planned=books.planned,
            accounted=books.accounted,
            failed=failed,
            excused=excused,
            temporary=len(list(temporary.iterdir())),
            seconds=round(time.monotonic() - started, 1),
        )

    def _disturb(self) -> None:
        world, case, account = self._world, self._case, self._account
        older = world.older()
        killed = self._release()
        run = self._site.start("replace", killed, remote=self._apart)
        account.logs.append(run.log)
        third = world.release(surge=2) if case.then == THIRD else killed
        remote = self._way()
        with self._fault(run) as over:
            account.landed = _landed(run)
            if remote is not None:
                over()
            follow = self._site.start(PLAYBOOKS[case.then], third, remote=remote)
            account.logs.append(follow.log)
            ended = follow.end(240 + self._options.pause)
        if case.fault.loses == UNTIL_NEXT:
            account.over = time.time()
        account.codes = [self._end(run), ended.code]
        if ended.code != 0:
            account.problems.append(f"the run after it ends with {ended.code}: {_why(ended)}")
        known = Known(killed, third, world.current, older)
        self._judge(allowed(case, known, reached=account.reached))

    def _way(self) -> Remote | None:
        """Choose how the next run gets to the host: as this one, once that works again, or at once from elsewhere."""
        if self._apart is None or (self._case.fault.over_ssh and self._random.random() < 0.5):
            return None
        self._account.by = "ssh"
        return self._apart

    @contextlib.contextmanager
    def _fault(self, run: Playing) -> Iterator[Callable[[], None]]:
        """Let it happen; what has to be done later is done while the body runs, or at the latest after it.

        Gives what waits until that was done, where the fault is between controller and host.
        """
        account = self._account
        later: Later | None = None
        try:
            wait_for(self._case.point, run, self._random.random())
            account.began = time.time()
            later = self._case.fault.inject(self._scene(run))
            account.over = time.time() + SETTLE
        except NotReached:
            account.reached = False
        timer = threading.Timer(later.seconds, later.act) if later else None
        if timer:
            timer.start()
        try:
            yield timer.join if timer and self._case.fault.over_ssh else lambda: None
        finally:
            if timer:
                timer.join()

    def _scene(self, run: Playing) -> Scene:
        options = self._options
        world = self._world
        return Scene(run, self._site, world.engine, options.pause, options.hang, world.remote)

    def _release(self) -> Release:
        case = self._case
        more: dict[str, object] = {}
        lease: dict[str, int] = {}
        if case.fault.name == "pause":
            # Its lease ends in the middle of the pause.
            lease["ttl"] = max(5, int(self._options.pause / 4))
        if self._apart is not None:
            lease["ttl"] = TTL
        if case.then == RECOVER:
            # It would be told who is in the way, and do nothing, while a run that lives has the lease.
            lease["wait"] = 300
        if lease:
            more["release_lease"] = lease
        is_task = case.point.kind == "task"
        if is_task:
            more["release_receipt"] = str(self._folder / "receipt.json")
        return self._world.release(
            secret=is_task or self._random.random() < 0.3,
            delay=4 if case.point.name == "turn" else 0.5,
            release_strategy=_strategy(case),
            **more,
        )

    def _end(self, run: Playing) -> int | None:
        """Wait for the disturbed run, and for what it left."""
        run.orphans_end(60)
        return run.end(120 + self._options.pause).code

    def _judge(self, allowed: list[Release]) -> None:
        runs = check.serving(self._site)
        release = next((item for item in allowed if runs == {item.mark}), allowed[0])
        problems = check.amiss(self._site, release, self._rows.rows())
        # If it has not come about, one more run would have something to do, and that says nothing more.
        if not problems:
            problems = check.changes(self._site, release)
        self._world.current = release
        self._account.problems += problems

    def _lost(self, books: Books) -> tuple[int, int]:
        """Count what failed, and what of it may fail; complain about the rest."""
        failed = [row for row in books.rows() if row.outcome != OK]
        fault, account = self._case.fault, self._account
        excused = [
            row for row in failed if may_fail(fault, row, began=account.began, over=account.over)
        ]
        lost = [row for row in failed if row not in excused]
        if books.planned != books.accounted:
            self._account.problems.append(
                f"{books.planned} requests were planned, {books.accounted} accounted for"
            )
        if lost:
            first = "; ".join(
                f"{row.kind} {row.planned:.3f} {row.outcome} {row.detail}" for row in lost[:5]
            )
            self._account.problems.append(f"{len(lost)} of {books.planned} lost: {first}")
        return len(failed), len(excused)

    def keep(self, folder: Path) -> str:
        """Keep what tells why it failed; returns where."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, log in enumerate(self._account.logs):
            with contextlib.suppress(OSError):
                shutil.copy(log, folder / f"run-{number + 1}.log")
        with contextlib.suppress(OSError):
            shutil.copy(self._site.config, folder / "haproxy.cfg")
        lines = [f"{row}\n" for row in self._rows.rows()]
        (folder / "journal.txt").write_text("".join(lines), encoding="utf-8")
        for name in ("rows.csv", "summary.json"):
            with contextlib.suppress(OSError):
                shutil.copy(self._folder / "load" / name, folder / name)
        (folder / "problems.txt").write_text(
            "\n".join(self._account.problems) + "\n", encoding="utf-8"
        )
        return str(folder)


def _strategy(case: Case) -> dict[str, object]:
    """Return by which strategy the run that is disturbed works; all of its gates are passed by themselves."""
    common = {"min_ready_seconds": 1}
    if case.point.strategy == "blue_green":
        return {"type": "blue_green", "pause": 2, "scale_down_delay": 2, **common}
    if case.point.strategy == "canary":
        steps = [{"weight": 20}, {"pause": 2}, {"weight": 60}, {"pause": 2}]
        # A fault may cost requests, and so would the canary: then it would be the figures that decide.
        look = {"max_error_rate": 100}
        return {"type": "canary", "max_surge": 2, "steps": steps, "analysis": look, **common}
    return {"max_surge": case.surge, **common}


def _landed(run: Playing) -> str:
    rows = run.rows()
    if not rows:
        return "nothing journalled"
    last = rows[-1]
    return f"{last['step']} {last['outcome']} {last['replica']}".strip()


def _why(ended: Ended) -> str:
    lines = ended.text.splitlines()
    fatal = [line for line in lines if "fatal:" in line or "ERROR" in line or "msg:" in line]
    return " | ".join(fatal)[-1500:] or ended.text[-1500:]


def run_case(world: World, case: Case, options: Options) -> Result:
    """Run a case, once more if it fails, and leave the site ready for the next one."""
    folder = FOLDER / "case"
    first = _try(world, case, options, folder, 1)
    if first.outcome == PASSED:
        return first
    second = _try(world, case, options, folder, 2)
    if second.outcome == UNREACHED or first.outcome == UNREACHED:
        return second
    outcome = FLAKY if second.outcome == PASSED else FAILED
    kept = second.as_data() | {"outcome": outcome, "kept": first.kept}
    kept["problems"] = first.problems + second.problems
    return Result(**kept)


def _try(world: World, case: Case, options: Options, folder: Path, number: int) -> Result:
    run = CaseRun(world, case, options, folder)
    result = run.go()
    if result.outcome == FAILED:
        name = case.id.replace("/", "_")
        kept = run.keep(FOLDER / "failed" / name / f"try-{number}")
        result = Result(**(result.as_data() | {"kept": kept}))
        world.settle()
    world.site.environment = {}
    world.site.tidy()
    shutil.rmtree(folder, ignore_errors=True)
    return result
