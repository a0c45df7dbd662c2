# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""From rows of the release journal to the life of each replica."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

BEGIN, OK = "begin", "ok"
RUN = "run"
"""The step of the rows about a whole run: they tell nothing that the rows of its steps do not."""

MILESTONES = {
    "ready": "ready",
    "register": "registered",
    "activate": "active",
    "await": "drained",
    "destroy": "destroyed",
}
"""Step: the milestone reached when it has ended well."""

BEGINNINGS = {"start": "started", "drain": "draining"}
"""Step: the milestone reached when it begins."""


@dataclass(frozen=True, slots=True)
class Event:
    """What the receipt needs of a journal row; `time` is when what it tells had ended."""

    time: float
    run: str
    step: str
    outcome: str
    replica: str = ""
    release: str = ""
    version: str = ""
    seconds: float = 0.0
    closed: int = 0
    """Long-lived connections that the step closed."""
    gate: str = ""
    kind: str = ""
    at: str = ""
    verdict: str = ""
    reason: str = ""
    task: str = ""
    when: str = ""
    message: str = ""

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Event:
        return cls(
            time=float(row["time"]),
            run=str(row.get("run", "")),
            step=str(row["step"]),
            outcome=str(row["outcome"]),
            replica=str(row.get("replica") or ""),
            release=str(row.get("release") or ""),
            version=str(row.get("version") or ""),
            seconds=float(row.get("seconds") or 0.0),
            closed=int((row.get("detail") or {}).get("long_lived_closed") or 0),
            gate=str((row.get("detail") or {}).get("gate") or ""),
            kind=str((row.get("detail") or {}).get("kind") or ""),
            at=str((row.get("detail") or {}).get("at") or ""),
            verdict=str((row.get("detail") or {}).get("verdict") or ""),
            reason=str((row.get("detail") or {}).get("reason") or ""),
            task=str((row.get("detail") or {}).get("task") or ""),
            when=str((row.get("detail") or {}).get("when") or ""),
            message=str((row.get("detail") or {}).get("message") or ""),
        )


@dataclass(frozen=True, slots=True)
class Replica:
    """When a replica passed each milestone; None: before this cutover, after it, or never."""

    name: str
    release: str = ""
    version: str = ""
    started: float | None = None
    ready: float | None = None
    registered: float | None = None
    active: float | None = None
    draining: float | None = None
    drained: float | None = None
    destroyed: float | None = None

    @property
    def drain_seconds(self) -> float | None:
        if self.draining is None or self.drained is None:
            return None
        return round(self.drained - self.draining, 3)

    def first(self) -> float:
        """The first milestone seen."""
        times = [value for value in list(asdict(self).values())[3:] if value is not None]
        return min(times)


@dataclass(frozen=True, slots=True)
class Gate:
    """When something waited at a gate; C(until) None: it still did when the journal ends."""

    gate: str
    kind: str
    since: float
    until: float | None = None


def gates(events: Iterable[Event]) -> list[Gate]:
    """The gates in the order in which they were reached.

    A gate is left when it is passed or when a replica is worked on again: nothing is, as long as all wait there.
    """
    found: list[Gate] = []
    for event in sorted(events, key=lambda event: event.time):
        waits = bool(found) and found[-1].until is None
        here = waits and event.gate == found[-1].gate
        if event.step == "gate" and not here:
            found.append(Gate(event.gate, event.kind, event.time))
        elif waits and (event.outcome == OK if here else bool(event.replica)):
            found[-1] = replace(found[-1], until=event.time - (0 if here else event.seconds))
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of a canary; C(at) is the gate, or empty for the watch beside it."""

    time: float
    at: str
    verdict: str
    reason: str


def verdicts(events: Iterable[Event]) -> list[Verdict]:
    """Every verdict, in order."""
    found = [event for event in events if event.step == "analysis" and event.verdict]
    return [
        Verdict(event.time, event.at, event.verdict, event.reason)
        for event in sorted(found, key=lambda event: event.time)
    ]


@dataclass(frozen=True, slots=True)
class Task:
    """A one-off task; C(until) None: it still ran when the journal ends."""

    task: str
    when: str
    since: float
    until: float | None = None
    outcome: str = ""
    message: str = ""


def tasks(events: Iterable[Event]) -> list[Task]:
    """The one-off tasks in the order in which they began. What another run had begun has no beginning here."""
    under_way: dict[str, Task] = {}
    found: list[Task] = []
    for event in sorted(events, key=lambda event: event.time):
        if not event.task:
            continue
        if event.outcome == BEGIN:
            under_way[event.task] = Task(event.task, event.when, event.time)
            continue
        began = under_way.pop(event.task, None)
        since, when = event.time - event.seconds, began.when if began else ""
        found.append(Task(event.task, when, since, event.time, event.outcome, event.message))
    return sorted([*found, *under_way.values()], key=lambda task: task.since)


def read_events(path: Path | str) -> list[Event]:
    """The rows of a journal; a last line that was cut by a crash is left out."""
    events = []
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if not isinstance(row, dict) or row.get("step") == RUN:
                continue
            if {"time", "step", "outcome"} <= row.keys():
                events.append(Event.parse(row))
    return events


def _milestones(events: Iterable[Event]) -> dict[str, float]:
    """The first time at which each milestone was reached (a rerun may report it again)."""
    reached: dict[str, float] = {}
    for event in events:
        if event.step in BEGINNINGS and event.outcome in (BEGIN, OK):
            name, time = BEGINNINGS[event.step], event.time
            time -= event.seconds if event.outcome == OK else 0.0
        elif event.step in MILESTONES and event.outcome == OK:
            name, time = MILESTONES[event.step], event.time
        else:
            continue
        reached[name] = min(time, reached.get(name, time))
    return reached


def replicas(events: Iterable[Event], seen: Mapping[str, str]) -> list[Replica]:
    """Every replica the events tell about, the oldest first.

    `seen` maps instances to the version that clients saw, for rows that do not name a version.
    """
    grouped: dict[str, list[Event]] = {}
    for event in events:
        if event.replica:
            grouped.setdefault(event.replica, []).append(event)
    found = []
    for name, own in grouped.items():
        milestones = _milestones(own)
        if milestones:
            version = next((e.version for e in own if e.version), seen.get(name, ""))
            release = next((e.release for e in own if e.release), "")
            found.append(Replica(name=name, release=release, version=version, **milestones))
    return sorted(found, key=lambda replica: (replica.started is not None, replica.first()))
