# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Numbers from rows: counts, percentiles, and what happened in each second."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tools.loadgen.outcome import OK, Row

MAX_LISTED = 50


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of an ordered, non-empty sequence."""
    rank = max(1, -(-len(ordered) * share // 100))
    return ordered[int(rank) - 1]


def latency(values: Iterable[float]) -> dict[str, float | int | None]:
    """Count and percentiles in milliseconds."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0, "p50": None, "p90": None, "p99": None, "max": None}
    shares = {f"p{share}": round(percentile(ordered, share), 1) for share in (50, 90, 99)}
    return {"count": len(ordered), **shares, "max": round(ordered[-1], 1)}


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """Accounted and failed requests, by kind of request and by kind of failure."""
    failed = [row for row in rows if row.outcome != OK]
    return {
        "accounted": len(rows),
        "failed": len(failed),
        "by_kind": dict(sorted(Counter(row.kind for row in rows).items())),
        "failed_by_kind": dict(sorted(Counter(row.kind for row in failed).items())),
        "failed_by_outcome": dict(sorted(Counter(row.outcome for row in failed).items())),
    }


def versions(rows: Iterable[Row], origin: float) -> list[list[Any]]:
    """Per second since `origin` (by planned time): how many answers each version gave."""
    seconds: dict[int, Counter[str]] = defaultdict(Counter)
    for row in rows:
        name = (row.version or "unknown") if row.outcome == OK else "failed"
        seconds[int((row.planned - origin) // 1)][name] += 1
    if not seconds:
        return []
    return [[s, dict(sorted(seconds[s].items()))] for s in range(min(seconds), max(seconds) + 1)]


def by_kind(rows: Iterable[Row]) -> dict[str, dict[str, float | int | None]]:
    """Latency of the successful requests of each kind."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.outcome == OK:
            values[row.kind].append(row.latency_ms)
    return {kind: latency(values[kind]) for kind in sorted(values)}


def listed(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The first failures, with what is known about them."""
    failures = [row for row in rows if row.outcome != OK][:MAX_LISTED]
    return [
        {
            "id": row.id,
            "kind": row.kind,
            "planned": row.planned,
            "latency_ms": row.latency_ms,
            "outcome": row.outcome,
            "status": row.status,
            "detail": row.detail,
        }
        for row in failures
    ]
