# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Builds the receipt: load rows and journal rows, joined by wall-clock time."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.loadgen import stats
from tools.loadgen.outcome import OK, Row, read_rows
from tools.loadgen.plan import KEEPALIVE, NEW, POST
from tools.receipt.journal import (
    Event,
    Replica,
    gates,
    read_events,
    replicas,
    tasks,
    verdicts,
)

SCHEMA = 1
QUICK_KINDS = (KEEPALIVE, NEW, POST)
"""Kinds whose latency is the server's; the others are slow on purpose."""


@dataclass(frozen=True)
class Cutover:
    """One cutover to report: the load that ran meanwhile and the journal that tells what was done.

    Journal rows count if they lie within the load and, if `runs` is given, belong to these runs.
    """

    name: str
    load: Path
    journal: Path
    runs: tuple[str, ...] = ()


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")


def _events(cutover: Cutover, since: float, until: float) -> list[Event]:
    return [
        event
        for event in read_events(cutover.journal)
        if since <= event.time <= until and (not cutover.runs or event.run in cutover.runs)
    ]


def _instances(rows: Iterable[Row]) -> dict[str, str]:
    """The version that each instance answered with."""
    return {row.instance: row.version for row in rows if row.instance and row.version}


def _phases(rows: Iterable[Row], started: float, finished: float) -> dict[str, Any]:
    """Latency of quick requests before, during and after the cutover, by planned time."""
    values: dict[str, list[float]] = {"before": [], "during": [], "after": []}
    for row in rows:
        if row.outcome == OK and row.kind in QUICK_KINDS:
            late = "after" if row.planned > finished else "during"
            values["before" if row.planned < started else late].append(row.latency_ms)
    return {phase: stats.latency(latencies) for phase, latencies in values.items()}


def _failures(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """How many requests of which kind failed how."""
    table: dict[tuple[str, str, int], int] = defaultdict(int)
    for row in rows:
        if row.outcome != OK:
            table[row.kind, row.outcome, row.status] += 1
    return [
        {"kind": kind, "outcome": result, "status": status, "count": count}
        for (kind, result, status), count in sorted(table.items())
    ]


def _span(events: Sequence[Event]) -> tuple[float, float]:
    return min(event.time - event.seconds for event in events), max(e.time for e in events)


def _drains(found: Iterable[Replica]) -> dict[str, float]:
    return {r.name: r.drain_seconds for r in found if r.drain_seconds is not None}


def build_cutover(cutover: Cutover) -> dict[str, Any]:
    """The receipt of one cutover."""
    summary = json.loads((cutover.load / "summary.json").read_text(encoding="utf-8"))
    rows = list(read_rows(cutover.load / "rows.csv"))
    load_ended = max([summary["ended"], *(row.finished for row in rows)])
    events = _events(cutover, summary["started"], load_ended)
    if not events:
        raise ValueError(f"{cutover.journal}: no row within the load of {cutover.name!r}")
    started, finished = _span(events)
    found = replicas(events, _instances(rows))
    return {
        "name": cutover.name,
        "started": round(started, 3),
        "finished": round(finished, 3),
        "seconds": round(finished - started, 3),
        "load_started": summary["started"],
        "load_ended": round(load_ended, 3),
        "requests": {"planned": summary["requests"]["planned"], **stats.counts(rows)},
        "failures": _failures(rows),
        "latency_ms": _phases(rows, started, finished),
        "latency_kinds": list(QUICK_KINDS),
        "latency_by_kind": stats.by_kind(rows),
        "versions": stats.versions(rows, summary["started"]),
        "replicas": [asdict(replica) for replica in found],
        "drain_seconds": _drains(found),
        "gates": [asdict(gate) for gate in gates(events)],
        "tasks": [asdict(task) for task in tasks(events)],
        "verdicts": [asdict(verdict) for verdict in verdicts(events)],
        "journal": {
            "rows": len(events),
            "runs": sorted({event.run for event in events}),
            "failed": sum(1 for event in events if event.outcome == "failed"),
            "fenced": sum(1 for event in events if event.outcome == "fenced"),
            "long_lived_closed": sum(event.closed for event in events),
        },
        "generator": {
            "seed": summary["seed"],
            "rates": summary["rates"],
            "cpu_seconds": summary["generator_cpu_seconds"],
            "lag_ms": summary["lag_ms"],
        },
    }


def environment() -> dict[str, Any]:
    """The machine the figures were measured on."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 0,
        "load_average": round(os.getloadavg()[0], 2),
    }


def build(
    app: str, cutovers: Sequence[Cutover], tools: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The whole receipt, as it is written to receipt.json."""
    parts = [build_cutover(cutover) for cutover in cutovers]
    return {
        "schema": SCHEMA,
        "app": app,
        "created": _iso(datetime.now(UTC).timestamp()),
        "requests": {
            name: sum(part["requests"][name] for part in parts)
            for name in ("planned", "accounted", "failed")
        },
        "cutovers": parts,
        "tools": dict(tools or {}),
        "environment": environment(),
    }
