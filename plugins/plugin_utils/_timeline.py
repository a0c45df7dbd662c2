# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From rows of the journal to what is drawn of them: when each replica was in which state, and what happened meanwhile.

Pure, private, no stability promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Row = Mapping[str, Any]

STARTING, READY, SERVING, DRAINING, IDLE = "starting", "ready", "serving", "draining", "idle"
_BEGINS = {"start": STARTING, "drain": DRAINING}
"""Step: the state that its beginning means."""
_ENDS = {"ready": READY, "activate": SERVING, "await": IDLE}
"""Step: the state that its good end means."""
_BEFORE = {
    "start": "",
    "ready": STARTING,
    "warm": READY,
    "register": READY,
    "check": READY,
    "activate": READY,
    "confirm": SERVING,
    "drain": SERVING,
    "await": DRAINING,
    "deregister": IDLE,
    "destroy": IDLE,
}
"""Step: the state of a replica that nothing was told of before."""
_FOREVER = float("inf")
_TROUBLE = ("failed", "fenced", "interrupted")


@dataclass(frozen=True)
class Span:
    """What was so from when to when. C(share) is in percent, of a canary's part of the requests."""

    state: str
    since: float
    until: float
    share: float = 0.0


@dataclass(frozen=True)
class Lane:
    """A line of the drawing: a replica, a one-off task, or the share of a process's requests that a release gets."""

    name: str
    version: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Gate:
    """When everything waited at a gate; C(open): it still did when the journal ends."""

    name: str
    kind: str
    since: float
    until: float
    open: bool = False


@dataclass(frozen=True)
class Event:
    """Something that a person looks for: a verdict, a failure, or the beginning and the end of a run."""

    time: float
    kind: str
    text: str


@dataclass(frozen=True)
class Timeline:
    """All of it. Times are seconds since the epoch."""

    app: str
    since: float
    until: float
    lanes: tuple[Lane, ...]
    gates: tuple[Gate, ...]
    events: tuple[Event, ...]


@dataclass
class _Life:
    """A replica, as far as its rows have been read."""

    version: str = ""
    release: str = ""
    state: str = ""
    since: float = 0.0
    spans: list[Span] = field(default_factory=list)

    def turn(self, state: str, time: float) -> None:
        if state == self.state:
            return
        if self.state and time > self.since:
            self.spans.append(Span(self.state, self.since, time))
        self.state, self.since = state, time


def timeline(rows: Iterable[Row]) -> Timeline | None:
    """Return what rows of one or more runs tell; None where they tell nothing."""
    told = sorted((row for row in rows if _is_row(row)), key=lambda row: float(row["time"]))
    if not told:
        return None
    since = min(float(row["time"]) - float(row.get("seconds") or 0) for row in told)
    until = max(float(told[-1]["time"]), since + 0.001)
    lives = _lives(told, since)
    for life in lives.values():
        life.turn("", until)
    lanes = [Lane(name, life.version, tuple(life.spans)) for name, life in lives.items()]
    lanes.sort(key=lambda lane: (lane.spans[0].since if lane.spans else until, lane.name))
    more = [*_shares(told, lives, until), *_tasks(told, until)]
    return Timeline(
        app=str(told[0].get("app") or ""),
        since=since,
        until=until,
        lanes=tuple(lane for lane in (*lanes, *more) if lane.spans),
        gates=tuple(_gates(told, until)),
        events=tuple(_events(told)),
    )


def _is_row(row: object) -> bool:
    if not isinstance(row, Mapping) or not {"time", "step", "outcome"} <= set(row):
        return False
    return isinstance(row["time"], (int, float)) and not isinstance(row["time"], bool)


def _lives(rows: Sequence[Row], since: float) -> dict[str, _Life]:
    lives: dict[str, _Life] = {}
    for row in rows:
        name, step, ok = str(row.get("replica") or ""), row["step"], row["outcome"] == "ok"
        if not name or step not in _BEFORE:
            continue
        life = lives.get(name)
        if life is None:
            life = lives[name] = _Life(state=_BEFORE[step], since=since)
        life.version = life.version or str(row.get("version") or "")
        life.release = life.release or str(row.get("release") or "")
        time = float(row["time"])
        if step in _BEGINS and row["outcome"] in ("begin", "ok") and life.state != _BEGINS[step]:
            life.turn(_BEGINS[step], time - (float(row.get("seconds") or 0) if ok else 0))
        elif step in _ENDS and ok:
            life.turn(_ENDS[step], time)
        elif step == "destroy" and ok:
            life.turn("", time)
    return lives


@dataclass
class _Shares:
    """Which part of a process's requests the release that comes gets, as targets are weighed, activated and drained."""

    process: str
    weights: dict[str, int] = field(default_factory=dict)
    """Of each target that serves; a row names only those that change."""
    coming: str = ""
    version: str = ""
    lanes: dict[str, Lane] = field(default_factory=dict)
    """By release."""

    def read(self, row: Row, releases: Mapping[str, str]) -> None:
        """Take up what a row says."""
        name, step, ok = str(row.get("replica") or ""), row["step"], row["outcome"] == "ok"
        given = _detail(row).get("weights")
        if step == "weigh" and ok:
            self.coming, self.version = str(row.get("release")), str(row.get("version") or "")
        if ok and isinstance(given, Mapping):
            self.weights |= {str(key): int(weight) for key, weight in given.items()}
        if step == "activate" and ok:
            self.weights.setdefault(name, 1)
        elif step == "drain" or (step == "destroy" and ok):
            self.weights.pop(name, None)
        self._draw(float(row["time"]), releases)

    def _draw(self, time: float, releases: Mapping[str, str]) -> None:
        mine = sum(w for name, w in self.weights.items() if _release(name, releases) == self.coming)
        share = round(100.0 * mine / max(1, sum(self.weights.values())), 1)
        for release, lane in self.lanes.items():
            last = lane.spans[-1]
            if last.until > time and (release, last.share) != (self.coming, share):
                spans = (*lane.spans[:-1], replace(last, until=time))
                self.lanes[release] = replace(lane, spans=spans)
        known = self.lanes.get(self.coming) or Lane(f"share: {self.process}", self.version, ())
        under_way = known.spans[-1:] and known.spans[-1].until > time
        if 0 < share < 100 and not under_way:
            spans = (*known.spans, Span("share", time, _FOREVER, share))
            self.lanes[self.coming] = replace(known, spans=spans)


def _shares(rows: Sequence[Row], lives: Mapping[str, _Life], until: float) -> list[Lane]:
    """Return the shares of every process whose targets were weighed: a canary's."""
    releases = {name: life.release for name, life in lives.items()}
    lanes: list[Lane] = []
    weighed = [str(row.get("process")) for row in rows if row["step"] == "weigh"]
    for process in dict.fromkeys(weighed):
        shares = _Shares(process)
        for row in rows:
            if row.get("process") == process:
                shares.read(row, releases)
        for lane in shares.lanes.values():
            spans = tuple(replace(span, until=min(span.until, until)) for span in lane.spans)
            lanes.append(replace(lane, spans=spans))
    return lanes


def _release(replica: str, releases: Mapping[str, str]) -> str:
    """Return the release of a replica: by its rows, or where it has none by its name (APP-PROCESS-RELEASE-NUMBER)."""
    return releases.get(replica) or "".join(replica.rsplit("-", 2)[1:2])


def _tasks(rows: Sequence[Row], until: float) -> list[Lane]:
    lanes: list[Lane] = []
    begun: dict[str, tuple[float, str]] = {}
    for row in rows:
        name, time = str(_detail(row).get("task") or ""), float(row["time"])
        if not name:
            continue
        if row["outcome"] == "begin":
            begun[name] = (time, str(row.get("version") or ""))
            continue
        since, version = begun.pop(name, (time - float(row.get("seconds") or 0), ""))
        state = "failed" if row["outcome"] in _TROUBLE else "task"
        lanes.append(Lane(f"task {name}", version, (Span(state, since, time),)))
    still = [Lane(f"task {k}", v[1], (Span("task", v[0], until),)) for k, v in begun.items()]
    return lanes + still


def _gates(rows: Sequence[Row], until: float) -> list[Gate]:
    """Return when something waited where. A gate is left when it is passed, or when a replica is worked on again."""
    found: list[Gate] = []
    for row in rows:
        time, detail = float(row["time"]), _detail(row)
        here = bool(found) and found[-1].open and detail.get("gate") == found[-1].name
        if row["step"] == "gate" and not here and row["outcome"] in ("begin", "held"):
            found.append(
                Gate(str(detail.get("gate")), str(detail.get("kind")), time, until, open=True)
            )
        elif found and found[-1].open and _leaves(row, here):
            found[-1] = replace(found[-1], until=time, open=False)
    return found


def _leaves(row: Row, here: bool) -> bool:
    if row["step"] == "gate" and here:
        return bool(row["outcome"] == "ok")
    return bool(row.get("replica")) and row["outcome"] == "begin"


def _events(rows: Sequence[Row]) -> list[Event]:
    found = []
    for row in rows:
        detail, time, step = _detail(row), float(row["time"]), str(row["step"])
        said = str(detail.get("message") or "")
        if step == "run":
            release = " ".join(str(row.get(key) or "") for key in ("version", "release")).strip()
            text = f"run {row.get('run') or ''}: {row['outcome']}, release {release}"
            kind = "failed" if row["outcome"] in _TROUBLE else "run"
            found.append(Event(time, kind, f"{text}: {said}" if said else text))
        elif step == "analysis" and detail.get("verdict"):
            at = detail.get("at") or "the watch"
            kind = "failed" if detail["verdict"] == "fail" else "verdict"
            found.append(
                Event(time, kind, f"{detail['verdict']} at {at}: {detail.get('reason') or ''}")
            )
        elif row["outcome"] in _TROUBLE:
            what = " ".join(part for part in (step, str(row.get("replica") or "")) if part)
            found.append(Event(time, "failed", f"{what} {row['outcome']}: {said}"))
    return found


def _detail(row: Row) -> Mapping[str, Any]:
    detail = row.get("detail")
    return detail if isinstance(detail, Mapping) else {}
