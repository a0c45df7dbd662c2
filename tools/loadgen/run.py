# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The open loop: send what is planned when it is planned, whatever the server does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.loadgen import outcome, stats
from tools.loadgen.client import Client, Shape, Target
from tools.loadgen.connection import Limits
from tools.loadgen.ledger import Ledger
from tools.loadgen.outcome import ExchangeFailed, Row, read_rows
from tools.loadgen.plan import DEFAULT_MIX, Planned, plan

NAP = 0.2
BURST = 64
"""At most so many requests that are late are sent without letting answers in."""


@dataclass(frozen=True)
class Options:
    """What to send where, and where to write what became of it."""

    url: str
    out: Path
    mix: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_MIX))
    seed: int = 1
    duration: float | None = None
    shape: Shape = field(default_factory=Shape)
    limits: Limits = field(default_factory=Limits)
    progress: bool = False

    @property
    def rows(self) -> Path:
        return self.out / "rows.csv"

    @property
    def summary(self) -> Path:
        return self.out / "summary.json"


class Run:
    """One run of the generator, in the running event loop."""

    def __init__(self, options: Options, ledger: Ledger) -> None:
        self._options = options
        self._ledger = ledger
        self._client = Client(
            Target.parse(options.url), options.seed, options.shape, options.limits
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop_at = float("inf") if options.duration is None else options.duration
        self._epoch = 0.0
        self._zero = 0.0

    def elapsed(self) -> float:
        return time.perf_counter() - self._zero

    def stop(self) -> None:
        """Plan nothing beyond now; what was planned before is still sent and awaited."""
        self._stop_at = min(self._stop_at, self.elapsed())

    async def run(self, started: Callable[[float], None]) -> tuple[float, float]:
        """Run to the end; returns when the plan began and ended, in wall-clock seconds."""
        self._epoch, self._zero = time.time(), time.perf_counter()
        started(self._epoch)
        reporter = asyncio.create_task(self._report())
        await self._send_all()
        ended = self._epoch + min(self._stop_at, self.elapsed())
        while self._tasks:
            await asyncio.wait(self._tasks)
        reporter.cancel()
        self._client.close()
        self._ledger.flush()
        return self._epoch, ended

    async def _send_all(self) -> None:
        burst = 0
        for planned in plan(self._options.mix, self._options.seed):
            while (wait := planned.offset - self.elapsed()) > 0 and planned.offset <= self._stop_at:
                await asyncio.sleep(min(wait, NAP))
                burst = 0
            if planned.offset > self._stop_at:
                return
            self._launch(planned)
            burst += 1
            if burst % BURST == 0:
                await asyncio.sleep(0)

    def _launch(self, planned: Planned) -> None:
        self._ledger.plan(planned)
        task = asyncio.create_task(self._one(planned, self.elapsed() - planned.offset))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, planned))

    async def _one(self, planned: Planned, lag: float) -> None:
        try:
            seen = await self._client.send(planned)
        except ExchangeFailed as exc:
            self._settle(planned, exc.outcome, lag, status=exc.status, detail=exc.detail[:200])
        else:
            self._settle(
                planned,
                outcome.OK,
                lag,
                status=seen.status,
                version=seen.version,
                instance=seen.instance,
            )

    def _settle(self, planned: Planned, result: str, lag: float, **more: Any) -> None:
        row = Row(
            id=planned.id,
            kind=planned.kind,
            planned=self._epoch + planned.offset,
            latency_ms=(self.elapsed() - planned.offset) * 1000,
            outcome=result,
            lag_ms=lag * 1000,
            **more,
        )
        self._ledger.settle(row)

    def _done(self, task: asyncio.Task[None], planned: Planned) -> None:
        """A mistake of the generator itself must not lose a request either."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._settle(planned, outcome.CLIENT_ERROR, 0.0, detail=repr(error)[:200])

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._ledger.flush()
            if self._options.progress:
                print(self.progress(), file=sys.stderr, flush=True)

    def progress(self) -> str:
        books = self._ledger
        failed = ", ".join(f"{count} {name}" for name, count in sorted(books.failed.items()))
        return (
            f"{self.elapsed():.0f} s: {books.planned} planned, {books.accounted} accounted, "
            f"{books.in_flight} in flight, {sum(books.failed.values())} failed"
            + (f" ({failed})" if failed else "")
        )


def summarise(options: Options, planned: int, started: float, ended: float) -> dict[str, Any]:
    """The summary of a finished run, counted from the rows that were written."""
    rows = list(read_rows(options.rows))
    usage = os.times()
    return {
        "schema": 1,
        "url": options.url,
        "seed": options.seed,
        "rates": dict(options.mix),
        "started": round(started, 6),
        "ended": round(ended, 6),
        "requests": {"planned": planned, **stats.counts(rows)},
        "latency_ms": stats.by_kind(rows),
        "lag_ms": stats.latency(row.lag_ms for row in rows),
        "versions": stats.versions(rows, started),
        "failures": stats.listed(rows),
        "generator_cpu_seconds": round(usage.user + usage.system, 2),
    }


async def execute(
    options: Options, started: Callable[[float], None], ready: Callable[[Run], None]
) -> dict[str, Any]:
    """Run with files: rows while it runs, the summary (written atomically) at its end."""
    options.out.mkdir(parents=True, exist_ok=True)
    options.summary.unlink(missing_ok=True)
    with open(options.rows, "w", newline="", encoding="utf-8") as stream:
        ledger = Ledger(stream)
        run = Run(options, ledger)
        ready(run)
        begun, ended = await run.run(started)
    summary = summarise(options, ledger.planned, begun, ended)
    part = options.summary.with_suffix(".part")
    part.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    part.replace(options.summary)
    return summary
