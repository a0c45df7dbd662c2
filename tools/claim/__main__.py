# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`make claim`: many cutovers in a row under load, and what became of every request; build/claim/.

First the same load without cutovers, to compare with; then the cutovers, each a whole `ansible-playbook
immutable.cutover.replace`, the load running over many of them; then, as positive controls, naive orders under the same
load: a claim counts only if the same measurement sees them lose.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench.process import CommandFailed, Measured
from tools.bench.site import NEW, OLD, ROOT, Site, settle
from tools.claim import report
from tools.claim.naive import ORDERS
from tools.claim.report import Books
from tools.loadgen import Load
from tools.sample import SampleFailed

NAME = "cutover-claim"
FOLDER = ROOT / "build" / "claim"
RATE_OPTIONS = ("--timeout", "60", "--connect-timeout", "30")
"""On a busy machine an answer may be late; that it is late is in the latency, and is no loss."""


@dataclass(frozen=True)
class Plan:
    """How much of what."""

    cutovers: int
    rate: float
    replicas: int
    each_load: int
    quiet_seconds: float
    controls: int


@dataclass
class Claim:
    """One whole run."""

    site: Site
    plan: Plan
    quiet: Books = field(default_factory=Books)
    under: Books = field(default_factory=Books)
    controls: dict[str, Books] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    running: str = NEW

    def measure(self) -> None:
        """Everything, in order."""
        strategy = {"max_surge": self.plan.replicas, "max_unavailable": 0}
        self.site.scale(self.plan.replicas, strategy)
        with self._load(self.quiet):
            time.sleep(self.plan.quiet_seconds)
        while len(self.seconds) < self.plan.cutovers:
            self._cutovers(min(self.plan.each_load, self.plan.cutovers - len(self.seconds)))
        for order in ORDERS:
            self._control(order)

    def _cutovers(self, count: int) -> None:
        """Cut over so often under one load."""
        with self._load(self.under):
            for _number in range(count):
                self.seconds.append(self._other().seconds)
                done, total = len(self.seconds), self.plan.cutovers
                print(f"cutover {done} of {total}: {self.seconds[-1]:.1f} s", flush=True)
        print(f"  {self.under.line()}", flush=True)

    def _control(self, order: str) -> None:
        """Replace in a naive order, under the same load."""
        books = self.controls.setdefault(order, Books())
        for _number in range(self.plan.controls):
            # The collection's own replicas are what a control begins with, and what it is measured on.
            self.site.replace(NEW)
            with self._load(books):
                script = ("tools.claim.naive", order)
                self.site.floor(NEW, OLD, self.plan.replicas, 1, script)
        print(f"control {order}: {books.line()}", flush=True)

    def _other(self) -> Measured:
        wanted = OLD if self.running == NEW else NEW
        done = self.site.replace(wanted)
        if self.site.running() != {wanted}:
            raise CommandFailed(f"{self.site.running()} run instead of {wanted}")
        self.running = wanted
        return done

    def _load(self, books: Books) -> report.Accounted:
        load = Load(
            self.site.sample.url,
            rate=self.plan.rate,
            out=FOLDER / "load",
            seed=1 + books.loads,
            options=RATE_OPTIONS,
        )
        return report.Accounted(load, books, settle)


def main() -> int:
    """Exit code 0: nothing was lost by any cutover, and every naive order lost something."""
    parser = argparse.ArgumentParser(prog="python -m tools.claim", description=__doc__)
    parser.add_argument("--cutovers", type=int, default=300)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests per second")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--each-load", type=int, default=25, help="cutovers under one load")
    parser.add_argument("--quiet-seconds", type=float, default=120.0, help="without cutovers")
    parser.add_argument("--controls", type=int, default=3, help="of each naive order")
    parser.add_argument("--keep", action="store_true", help="leave the site as it is at the end")
    given = vars(parser.parse_args())
    keep = given.pop("keep")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    site = Site(int(os.environ.get("CLAIM_PORT", "8491")), NAME, FOLDER)
    claim = Claim(site, Plan(**given))
    try:
        site.sample.prepare()
        claim.measure()
    except (CommandFailed, SampleFailed) as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        write(claim)
        if not keep:
            site.remove()
    return 0 if report.holds(claim.under, claim.controls) else 1


def write(claim: Claim) -> None:
    """Leave what is known, also of a run that was broken off."""
    data = report.data(
        asked=vars(claim.plan),
        began=claim.began,
        seconds=claim.seconds,
        quiet=claim.quiet,
        under=claim.under,
        controls=claim.controls,
        versions=report.versions(claim.site.sample),
    )
    (FOLDER / "claim.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    text = report.page(data)
    (FOLDER / "claim.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten: {_shown(FOLDER / 'claim.md')}, {_shown(FOLDER / 'claim.json')}")


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
