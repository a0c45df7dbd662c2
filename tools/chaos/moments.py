# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""When a point has come, in a run that is under way."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from tools.chaos.points import APPLY, BEFORE, DURING, LAST, Point
from tools.chaos.rig import REPLICAS, Playing

Moment = Callable[[Playing], object]
COMES_UP = ("start", "ready", "register", "activate", "confirm")


def wait_for(point: Point, run: Playing, fraction: float) -> None:
    """Return when the run is there; C(fraction) of what it usually takes is where "during" is."""
    run.until(moment(point))
    if point.when == DURING:
        time.sleep(fraction * point.seconds)


def moment(point: Point) -> Moment:
    """Return what tells that the point, or for "during" the beginning of it, has come."""
    if point.kind == "task":
        return task(point.name, over=point.when not in (BEFORE, DURING))
    if point.kind == "moment":
        named: dict[str, Moment] = {"fork": Forked(), "lease": leased, "turn": said("replaced")}
        return named[point.name]
    count = REPLICAS if point.replica == LAST else 1
    if point.name == "record":
        return (
            step("destroy", "ok", REPLICAS) if point.when == DURING else step("record", "ok", count)
        )
    return step(point.name, "begin" if point.when in (BEFORE, DURING) else "ok", count)


def step(name: str, outcome: str, count: int = 1) -> Moment:
    """The moment when the journal shows this of so many replicas; steps that only look at old ones do not count."""

    def came(run: Playing) -> bool:
        rows = run.rows()
        new = {row["replica"] for row in rows if row["step"] == "start"}
        found = {
            row["replica"]
            for row in rows
            if (row["step"], row["outcome"]) == (name, outcome)
            and (name not in COMES_UP or row["replica"] in new)
        }
        return len(found) >= count

    return came


def said(text: str) -> Moment:
    """The moment when it prints this."""
    return lambda run: text in run.said


def task(name: str, *, over: bool) -> Moment:
    """The moment when a task of the role begins, or when the next one does."""

    # Ansible adds the role's own words to the name of the task that validates its arguments.
    banner = re.compile(rf"TASK \[immutable\.cutover\.release : {re.escape(name)}(\]| - )")

    def came(run: Playing) -> bool:
        text = run.said
        found = banner.search(text)
        rest = text[found.end() :] if found else ""
        return bool(found) and (not over or "\nTASK [" in rest or "\nPLAY RECAP" in rest)

    return came


class Forked:
    """The moment when the worker of the task that applies the release was just forked, and is nowhere yet."""

    def __init__(self) -> None:
        self._before: set[int] = set()

    def __call__(self, run: Playing) -> bool:
        """Look at the workers."""
        workers = {process.pid for process in run.tree() if process.depth == 1}
        if f"{APPLY}]" not in run.said:
            self._before = workers
        return bool(workers - self._before)


def leased(run: Playing) -> bool:
    """The moment when it has the lease and has done nothing yet."""
    return run.site.lease()["epoch"] > run.before
