# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Geometry of the drawings: pure functions from the receipt to shapes that the template draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

WIDTH = 1000
LEFT = 232
RIGHT = 64
ROW = 26
BAR = 14
RATE_HEIGHT = 150
MAX_COLUMNS = 120
MAX_NAME = 28
TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds since the start of the load to horizontal pixels."""

    end: float

    def x(self, second: float) -> float:
        inside = min(max(second, 0.0), self.end)
        return round(LEFT + (WIDTH - LEFT - RIGHT) * inside / self.end, 2)


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a row or column: place, size, style and what a pointer on it says."""

    x: float
    y: float
    width: float
    height: float
    style: str
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything of the drawing with the common time axis."""

    height: float
    names: tuple[Label, ...]
    bars: tuple[Bar, ...]
    notes: tuple[Label, ...]
    columns: tuple[Bar, ...]
    time_ticks: tuple[Tick, ...]
    rate_ticks: tuple[Tick, ...]
    window: Bar
    gates: tuple[Bar, ...]
    gantt_bottom: float
    rate_top: float
    rate_bottom: float


def version_styles(cutovers: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A fixed style per version, in the order of first appearance, the same in all drawings."""
    styles: dict[str, str] = {}
    for part in cutovers:
        seen = [name for ignored, counted in part["versions"] for name in counted]
        for name in [*seen, *(replica["version"] for replica in part["replicas"])]:
            if name and name != "failed" and name not in styles:
                styles[name] = f"v{len(styles) % 4 + 1}"
    return styles


def nice_step(span: float, wanted: int) -> float:
    """The smallest usual step that gives at most so many ticks."""
    return next((s for s in TICK_STEPS if span / s <= wanted), ceil(span / wanted / 3600) * 3600)


def nice_ceiling(value: float) -> float:
    """The next round number for the top of an axis."""
    if value <= 0:
        return 1.0
    unit = 10 ** floor(log10(value))
    return next(unit * step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 8, 10) if unit * step >= value)


def _phases(replica: Mapping[str, Any], end: float) -> list[tuple[str, float, float]]:
    """Phase, from, to: what a replica was doing when, as far as the journal tells."""
    starts = replica["started"]
    active = replica["active"] if replica["active"] is not None else replica["registered"]
    if starts is None:
        active = active if active is not None else 0.0
    points = [
        ("starting", starts),
        ("ready", replica["ready"]),
        ("active", active),
        ("draining", replica["draining"]),
        ("idle", replica["drained"]),
    ]
    known = [(name, float(at)) for name, at in points if at is not None]
    last = replica["destroyed"] if replica["destroyed"] is not None else end
    ends = [at for ignored, at in known[1:]] + [float(last)]
    return [(name, at, to) for (name, at), to in zip(known, ends, strict=True) if to > at]


def _short(name: str) -> str:
    """The end of a long name, which tells replicas apart."""
    return name if len(name) <= MAX_NAME else "\u2026" + name[1 - MAX_NAME :]


def _relative(replica: Mapping[str, Any], origin: float) -> dict[str, Any]:
    """The replica with times in seconds since `origin`."""
    times = {key: value - origin for key, value in replica.items() if isinstance(value, float)}
    return {**replica, **times}


def _row(
    replica: Mapping[str, Any], top: float, scale: Scale, styles: Mapping[str, str]
) -> list[Bar]:
    version = replica["version"] or "unknown version"
    bars = []
    for phase, begin, end in _phases(replica, scale.end):
        left, right = scale.x(begin), scale.x(end)
        title = f"{replica['name']} ({version}) {phase}: {end - begin:.1f} s"
        style = f"{phase} {styles.get(replica['version'], 'v0')}"
        bars.append(Bar(left, top, round(max(right - left, 1.0), 2), BAR, style, title))
    return bars


def _task(task: Mapping[str, Any], top: float, origin: float, scale: Scale) -> Bar:
    """A one-off task, a row like a replica's."""
    since = task["since"] - origin
    until = scale.end if task["until"] is None else task["until"] - origin
    left, right = scale.x(max(since, 0.0)), scale.x(until)
    title = f"task {task['task']} {task['outcome'] or 'still running'}: {until - since:.1f} s"
    style = "failed" if task["outcome"] == "failed" else "task"
    return Bar(left, top, round(max(right - left, 1.0), 2), BAR, style, title)


def _columns(
    part: Mapping[str, Any], scale: Scale, styles: Mapping[str, str], bottom: float
) -> tuple[list[Bar], float]:
    """Stacked columns of requests per second, and the value at the top of the axis."""
    bucket = ceil(scale.end / MAX_COLUMNS)
    totals: dict[int, dict[str, float]] = {}
    for second, counted in part["versions"]:
        own = totals.setdefault(int(second // bucket), {})
        for name, count in counted.items():
            own[name] = own.get(name, 0.0) + count
    whole = {slot: c for slot, c in totals.items() if (slot + 1) * bucket <= scale.end + 0.5}
    top = nice_ceiling(max((sum(c.values()) / bucket for c in whole.values()), default=1.0))
    order = [*styles, "unknown", "failed"]
    bars = []
    for slot, counted in whole.items():
        left, right = scale.x(slot * bucket), scale.x((slot + 1) * bucket)
        y = bottom
        for name in sorted(counted, key=order.index):
            height = round(RATE_HEIGHT * counted[name] / bucket / top, 2)
            y = round(y - height, 2)
            style = styles.get(name, "failed" if name == "failed" else "v0")
            title = f"{slot * bucket} s: {counted[name] / bucket:.0f} requests/s {name}"
            bars.append(Bar(left, y, round(right - left - 1, 2), height, style, title))
    return bars, top


def timeline(part: Mapping[str, Any], styles: Mapping[str, str]) -> Timeline:
    """The replicas' lives above the requests per second, on one time axis."""
    origin = part["load_started"]
    last = max((second for second, ignored in part["versions"]), default=0)
    scale = Scale(max(last, part["finished"] - origin, 1.0))
    names, bars, notes = [], [], []
    top = 30.0
    for index, absolute in enumerate(part["replicas"]):
        replica = _relative(absolute, origin)
        y = top + index * ROW
        own = _row(replica, y, scale, styles)
        bars += own
        names.append(Label(LEFT - 12, y + BAR - 2.5, _short(replica["name"])))
        drain = part["drain_seconds"].get(replica["name"])
        if drain is not None and own:
            edge = own[-1].x + own[-1].width + 7
            notes.append(Label(round(edge, 2), y + BAR - 3, f"{drain:.1f} s"))
    for index, task in enumerate(part["tasks"], start=len(part["replicas"])):
        y = top + index * ROW
        bars.append(_task(task, y, origin, scale))
        names.append(Label(LEFT - 12, y + BAR - 2.5, _short(f"task {task['task']}")))
    gantt_bottom = top + max(len(part["replicas"]) + len(part["tasks"]), 1) * ROW
    rate_top = gantt_bottom + 52
    rate_bottom = rate_top + RATE_HEIGHT
    columns, ceiling = _columns(part, scale, styles, rate_bottom)
    step = nice_step(scale.end, 14)
    begin, finish = part["started"] - origin, part["finished"] - origin
    return Timeline(
        height=rate_bottom + 44,
        names=tuple(names),
        bars=tuple(bars),
        notes=tuple(notes),
        columns=tuple(columns),
        time_ticks=tuple(_time_ticks(scale, step)),
        rate_ticks=tuple(
            Tick(rate_bottom - RATE_HEIGHT * share, f"{ceiling * share:g}")
            for share in (0.0, 0.5, 1.0)
        ),
        window=Bar(
            scale.x(begin),
            12,
            scale.x(finish) - scale.x(begin),
            rate_bottom - 12,
            "window",
            f"cutover: {finish - begin:.1f} s",
        ),
        gates=tuple(_gate(gate, origin, scale, gantt_bottom) for gate in part["gates"]),
        gantt_bottom=gantt_bottom,
        rate_top=rate_top,
        rate_bottom=rate_bottom,
    )


def _gate(gate: Mapping[str, Any], origin: float, scale: Scale, bottom: float) -> Bar:
    """A band over all replicas for as long as they wait at a gate."""
    since = gate["since"] - origin
    until = scale.end if gate["until"] is None else gate["until"] - origin
    left, right = scale.x(since), scale.x(until)
    title = f"gate {gate['gate']} ({gate['kind']}): {until - since:.1f} s"
    return Bar(left, 24, round(max(right - left, 1.0), 2), bottom - 24, "gate", title)


def _time_ticks(scale: Scale, step: float) -> list[Tick]:
    count = int(scale.end // step)
    return [Tick(scale.x(index * step), f"{index * step:g}") for index in range(count + 1)]


@dataclass(frozen=True, slots=True)
class Range:
    """Percentiles of one phase as places on a logarithmic axis, in percent of its width."""

    name: str
    count: int
    dots: tuple[tuple[str, float, str], ...]


LATENCY_MARKS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0, 20000.0)


def latency_axis(phases: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Bounds in milliseconds around all values."""
    values = [phase[key] for phase in phases for key in ("p50", "max") if phase[key]]
    low = max((mark for mark in LATENCY_MARKS if mark <= min(values, default=1.0)), default=0.1)
    high = next((mark for mark in LATENCY_MARKS if mark >= max(values, default=10.0)), 100000.0)
    return low, high if high > low else low * 10


def ranges(latency: Mapping[str, Mapping[str, Any]]) -> tuple[list[Range], list[Tick]]:
    """Dots of each phase and the ticks of the axis."""
    low, high = latency_axis(list(latency.values()))

    def place(value: float) -> float:
        return round(100 * log10(max(value, low) / low) / log10(high / low), 2)

    rows = []
    for name, phase in latency.items():
        keys = [key for key in ("p50", "p90", "p99", "max") if phase[key] is not None]
        dots = tuple((key, place(phase[key]), f"{phase[key]:g}") for key in keys)
        rows.append(Range(name, phase["count"], dots))
    marks = [mark for mark in LATENCY_MARKS if low <= mark <= high]
    return rows, [Tick(place(mark), f"{mark:g}") for mark in marks]
