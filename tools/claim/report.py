# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The books of a claim, and the page that states it."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tools.demo import tools as tool_versions
from tools.loadgen import Load
from tools.loadgen.outcome import OK, Row, read_rows
from tools.loadgen.stats import percentile
from tools.sample import Sample

SHARES = (50, 99)


@dataclass
class Books:
    """What became of the requests of some loads."""

    loads: int = 0
    planned: int = 0
    accounted: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By kind of request and kind of failure."""
    kinds: Counter[str] = field(default_factory=Counter)
    latency: dict[str, list[float]] = field(default_factory=dict)
    lag: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Everything that was planned and did not end well, accounted for or not."""
        return sum(self.failed.values()) + self.planned - self.accounted

    def note(self, planned: int, rows: Sequence[Row]) -> None:
        """Take in the rows of one load."""
        self.loads += 1
        self.planned += planned
        self.accounted += len(rows)
        for row in rows:
            self.kinds[row.kind] += 1
            self.lag.append(row.lag_ms)
            if row.outcome == OK:
                self.latency.setdefault(row.kind, []).append(row.latency_ms)
            else:
                self.failed[f"{row.kind} {row.outcome}"] += 1

    def line(self) -> str:
        """Say it in one line."""
        listed = ", ".join(f"{count} {name}" for name, count in sorted(self.failed.items()))
        return f"{self.planned:,} planned, {self.accounted:,} accounted for, {self.lost:,} lost" + (
            f" ({listed})" if listed else ""
        )


class Accounted:
    """A load that is entered into the books when it ends, however it ends."""

    def __init__(self, load: Load, books: Books, settle: Callable[[], None]) -> None:
        self._load = load
        self._books = books
        self._settle = settle

    def __enter__(self) -> None:
        self._load.start()
        self._settle()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._settle()
        result = self._load.stop()
        self._books.note(result.planned, list(read_rows(result.out / "rows.csv")))


def holds(under: Books, controls: Mapping[str, Books]) -> bool:
    """Whether the cutovers lost nothing, and the same measurement saw every naive order lose."""
    return under.planned > 0 and not under.lost and all(books.lost for books in controls.values())


def data(
    *,
    asked: Mapping[str, Any],
    began: float,
    seconds: Sequence[float],
    quiet: Books,
    under: Books,
    controls: Mapping[str, Books],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return everything that the page states, as plain data."""
    return {
        "schema": 1,
        "date": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "minutes": round((time.time() - began) / 60, 1),
        "versions": dict(versions),
        "asked": dict(asked),
        "cutovers": len(seconds),
        "cutover_seconds": {
            "median": round(statistics.median(seconds), 2) if seconds else None,
            "max": round(max(seconds), 2) if seconds else None,
        },
        "holds": len(seconds) == asked["cutovers"] and holds(under, controls),
        "requests": _requests(under),
        "quiet": _requests(quiet),
        "latency": _latency(under, quiet),
        "controls": {name: _requests(books) for name, books in controls.items()},
    }


def _requests(books: Books) -> dict[str, Any]:
    return {
        "planned": books.planned,
        "accounted": books.accounted,
        "lost": books.lost,
        "failed": dict(sorted(books.failed.items())),
        "by_kind": dict(sorted(books.kinds.items())),
        "late_ms_p99": round(percentile(sorted(books.lag), 99), 1) if books.lag else None,
    }


def _latency(under: Books, quiet: Books) -> dict[str, Any]:
    """Percentiles by kind under cutovers, and over those of the same load without them."""
    found: dict[str, Any] = {}
    for kind in sorted(under.latency.keys() & quiet.latency.keys()):
        ours, base = sorted(under.latency[kind]), sorted(quiet.latency[kind])
        found[kind] = {
            f"p{share}": {
                "ms": round(percentile(ours, share), 1),
                "ratio": round(percentile(ours, share) / percentile(base, share), 2),
            }
            for share in SHARES
        }
    return found


def versions(sample: Sample) -> dict[str, str]:
    """Return the versions of what took part."""
    return tool_versions(sample)


def page(found: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    return "\n".join([*_claim(found), "", *_latencies(found), "", *_controls(found)]) + "\n"


def _claim(found: Mapping[str, Any]) -> list[str]:
    requests, asked = found["requests"], found["asked"]
    tools = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    verdict = "It holds" if found["holds"] else "It does not hold"
    lines = [
        f"# {found['cutovers']} consecutive cutovers under {asked['rate']:g} requests/s",
        "",
        f"Made by `make claim` on {found['date']} in {found['minutes']:g} minutes on a shared machine, with",
        f"{tools}.",
        f"{asked['replicas']} replicas of the sample app, all replaced at once; each cutover is a whole run of",
        "`ansible-playbook immutable.cutover.replace`. The load is mixed: kept-alive and new connections, POST bodies,",
        "slow requests of 2-3 s, streams and WebSockets; planned ahead, one outcome each, nothing sent twice, latency",
        "from the planned time.",
        "",
        f"**{verdict}**: {requests['planned']:,} planned, {requests['accounted']:,} accounted for,",
        f"**{requests['lost']:,} lost**.",
    ]
    if requests["failed"]:
        lines.append(f"Lost by the cutovers: {_listed(requests['failed'])}.")
    elif found["cutovers"] and requests["planned"]:
        lines += [
            f"By the rule of three (95 %), fewer than {300 / found['cutovers']:.1f} % of cutovers lose anything,",
            f"and fewer than {3e6 / requests['planned']:.2f} of a million requests.",
        ]
    return lines


def _latencies(found: Mapping[str, Any]) -> list[str]:
    requests, quiet, took = found["requests"], found["quiet"], found["cutover_seconds"]
    lines = [
        "| Kind | requests | p50 | over quiet | p99 | over quiet |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, row in found["latency"].items():
        cells = " | ".join(f"{row[p]['ms']:g} ms | {row[p]['ratio']:g}" for p in ("p50", "p99"))
        lines.append(f"| {kind} | {requests['by_kind'][kind]:,} | {cells} |")
    return [
        *lines,
        "",
        "*Over quiet* is the ratio to the same load without cutovers "
        f"({quiet['planned']:,} requests, {quiet['lost']} lost).",
        f"The generator itself sent 99 % within {requests['late_ms_p99']} ms of the plan. A cutover took",
        f"{took['median']} s (median), at most {took['max']} s.",
    ]


def _controls(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "Positive controls, the same measurement on naive orders of a raw script:",
        "",
        f"| Order ({found['asked']['controls']} replacements each) | planned | lost | what was lost |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in found["controls"].items():
        what = _listed(row["failed"]) or "nothing"
        lines.append(f"| {name} | {row['planned']:,} | {row['lost']:,} | {what} |")
    return lines


def _listed(failed: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {failure}" for failure, count in failed.items())
