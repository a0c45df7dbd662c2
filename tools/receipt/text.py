# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The receipt for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MILESTONES = ("started", "ready", "registered", "draining", "drained", "destroyed")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as they need; the first left-aligned, the others right-aligned."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _bound(requests: Mapping[str, Any]) -> str:
    """What zero losses among n requests prove: the rule of three."""
    if requests["failed"] or not requests["accounted"]:
        return ""
    return f"; with 95 % confidence fewer than 1 in {requests['accounted'] // 3:,}"


def _latency(part: Mapping[str, Any]) -> list[str]:
    head = ("latency, ms", "requests", "p50", "p90", "p99", "max")
    rows = [
        (name, f"{v['count']:,}", _ms(v["p50"]), _ms(v["p90"]), _ms(v["p99"]), _ms(v["max"]))
        for name, v in part["latency_ms"].items()
    ]
    return _table(head, rows)


def _replicas(part: Mapping[str, Any]) -> list[str]:
    origin = part["started"]
    head = ("replica", "version", *(f"{name}" for name in MILESTONES), "drain")
    rows = []
    for replica in part["replicas"]:
        times = [replica[name] for name in MILESTONES]
        cells = ["-" if time is None else f"{time - origin:.1f} s" for time in times]
        drain = part["drain_seconds"].get(replica["name"])
        cells.append("-" if drain is None else f"{drain:.1f} s")
        rows.append((replica["name"], replica["version"] or "?", *cells))
    return _table(head, rows)


def _closed(part: Mapping[str, Any]) -> list[str]:
    """What a drain cut on purpose is no failed request, and not hidden either."""
    closed = part["journal"]["long_lived_closed"]
    return [f"long-lived connections closed by drains: {closed}"] if closed else []


def _failures(part: Mapping[str, Any]) -> list[str]:
    if not part["failures"]:
        return []
    rows = [
        (f["kind"], f["outcome"], str(f["status"] or "-"), f"{f['count']:,}")
        for f in part["failures"]
    ]
    return ["", *_table(("failed", "how", "status", "count"), rows)]


def _versions(part: Mapping[str, Any]) -> str:
    """Which version answered from when to when, in seconds since the cutover began."""
    shift = part["load_started"] - part["started"]
    spans: dict[str, tuple[float, float]] = {}
    for second, counted in part["versions"]:
        for version in counted:
            if version != "failed":
                first = spans.get(version, (second + shift, 0.0))[0]
                spans[version] = (first, second + 1 + shift)
    spelled = (f"{name} from {a:+.0f} s to {b:+.0f} s" for name, (a, b) in spans.items())
    return "  versions seen: " + ", ".join(spelled)


def _gates(part: Mapping[str, Any]) -> list[str]:
    """When something waited at a gate, in seconds since the cutover began."""
    lines = []
    for gate in part["gates"]:
        until = gate["until"]
        end = "on" if until is None else f"to {until - part['started']:+.1f} s"
        lines.append(
            f"  gate {gate['gate']} ({gate['kind']}): from {gate['since'] - part['started']:+.1f} s {end}"
        )
    return lines


def _tasks(part: Mapping[str, Any]) -> list[str]:
    """The one-off tasks, in seconds since the cutover began."""
    lines = []
    for task in part["tasks"]:
        when = f" ({task['when']})" if task["when"] else ""
        end = "on" if task["until"] is None else f"to {task['until'] - part['started']:+.1f} s"
        said = ": ".join(word for word in (task["outcome"], task["message"]) if word)
        since = f"from {task['since'] - part['started']:+.1f} s {end}"
        lines.append(f"  task {task['task']}{when}: {since}{', ' if said else ''}{said}")
    return lines


def _verdicts(part: Mapping[str, Any]) -> list[str]:
    """What was found of a canary."""
    return [
        f"  {found['verdict']} at {found['at'] or 'the watch'} ({found['time'] - part['started']:+.1f} s): "
        f"{found['reason']}"
        for found in part["verdicts"]
    ]


def _cutover(part: Mapping[str, Any]) -> list[str]:
    requests = part["requests"]
    verdict = f"{requests['failed']:,} failed of {requests['planned']:,} requests"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in requests["by_kind"].items())
    unaccounted = requests["planned"] - requests["accounted"]
    return [
        f"{part['name']}: {verdict} in {part['seconds']:.1f} s{_bound(requests)}",
        f"  sent: {kinds}" + (f"; NOT ACCOUNTED FOR: {unaccounted:,}" if unaccounted else ""),
        _versions(part),
        *_closed(part),
        *_gates(part),
        *_tasks(part),
        *_verdicts(part),
        *_failures(part),
        "",
        *_latency(part),
        "",
        *_replicas(part),
    ]


def render_text(receipt: Mapping[str, Any]) -> str:
    """A compact table per cutover."""
    blocks = ["\n".join(_cutover(part)) for part in receipt["cutovers"]]
    return f"Receipt of {receipt['app']}\n\n" + "\n\n".join(blocks) + "\n"
