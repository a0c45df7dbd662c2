# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`python -m tools.bench`: what a replace costs over a raw script, as ratios; build/bench.json.

Both work on the same site in turn, under the same load: the script takes it from 1.1.0 to 1.0.0, the collection from
1.0.0 to 1.1.0. A ratio is the median of the collection's wall times over the median of the script's, process start
included on both sides. Nothing here passes or fails by its time; a lost request fails. On a machine that is busy with
something else the ratios rise, because the collection computes more than the script: the load average is noted, and
the ratio of the best times beside the ratio of the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tools.bench.figures import PATH, note
from tools.bench.hosts import measure_hosts
from tools.bench.process import CommandFailed, Measured
from tools.bench.site import FOLDER, NEW, OLD, ROOT, Site, settle
from tools.loadgen import Load
from tools.sample import SampleFailed, environment

MIX = {"keepalive": 60.0, "new": 20.0, "post": 10.0, "slow": 8.0, "stream": 2.0, "websocket": 2.0}
"""Requests per second by kind; the slow ones take 2-3 s."""

TARGETS = {
    "replace_n1": 1.4,
    "replace_n4": 1.4,
    "replace_n16": 1.4,
    "rolling_n16_by4": 1.4,
    "noop": 3.0,
}


@dataclass(frozen=True)
class Case:
    """One shape of a replace: how many replicas, how many at once, how often."""

    name: str
    replicas: int
    surge: int
    rounds: int

    @property
    def strategy(self) -> dict[str, object]:
        """The strategy of the release."""
        return {"max_surge": self.surge, "max_unavailable": 0, "min_ready_seconds": 0}


CASES = (
    Case("replace_n1", 1, 1, 5),
    Case("replace_n4", 4, 1, 3),
    Case("replace_n16", 16, 16, 3),
    Case("rolling_n16_by4", 16, 4, 3),
)


FLIP = Case("flip_back", 4, 4, 3)


@dataclass
class Times:
    """What was measured of one contestant."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    failed: int = 0
    planned: int = 0

    def note(self, run: Measured) -> None:
        """Take in one run."""
        self.seconds.append(run.seconds)
        self.peak_mib = max(self.peak_mib, run.peak_mib)

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        listed = " ".join(f"{seconds:.2f}" for seconds in self.seconds)
        return f"median {self.median:.2f} s of {listed}"


class Bench:
    """All measurements on one site."""

    def __init__(self, site: Site, rounds: int | None) -> None:
        self._site = site
        self._rounds = rounds
        self.result: dict[str, float | int] = {}
        self.failed = 0
        self.peak_mib = 0.0

    def replace(self, case: Case) -> None:
        """Measure one case, contestants in turn."""
        self._site.scale(case.replicas, case.strategy)
        floor, ours = Times(), Times()
        for number in range(self._rounds or case.rounds):
            print(f"{case.name}: round {number + 1}", file=sys.stderr, flush=True)
            self._under_load(
                floor, lambda: self._site.floor(NEW, OLD, case.replicas, case.surge), OLD
            )
            self._under_load(ours, lambda: self._site.replace(NEW), NEW)
        self._note(case.name, ours, floor)
        failed = {"failed_requests": ours.failed, "floor_failed_requests": floor.failed}
        self.result |= {f"{case.name}_{key}": value for key, value in failed.items()}
        self.result[f"{case.name}_requests"] = ours.planned
        print(f"  requests: {ours.planned} planned, {ours.failed} failed;", end=" ")
        print(f"under the script: {floor.planned} planned, {floor.failed} failed", flush=True)
        self.failed += ours.failed + floor.failed

    def noop(self, rounds: int) -> None:
        """Measure a replace that has nothing to do."""
        bare, ours = Times(), Times()
        for _round in range(self._rounds or rounds):
            bare.note(self._site.bare())
            ours.note(self._site.replace(NEW))
        self._note("noop", ours, bare)

    def flip(self) -> None:
        """Measure a rollback of blue_green while what was replaced is kept: the time beyond a bare playbook's.

        C(flip_back) is until the old ones have all requests again; C(flip_back_end) is until the playbook has also
        waited for the requests in flight on the others and removed those.
        """
        self._site.scale(FLIP.replicas, {"type": "blue_green", "scale_down_delay": 0})
        self._site.write_specs(FLIP.replicas, {"type": "blue_green", "scale_down_delay": 3600})
        self._site.rollback(NEW)
        bare, ours, flips = Times(), Times(), Times()

        def rollback() -> Measured:
            run, seconds = self._site.flip(NEW)
            flips.seconds.append(seconds)
            return run

        for number in range(self._rounds or FLIP.rounds):
            print(f"{FLIP.name}: round {number + 1}", file=sys.stderr, flush=True)
            self._site.switch(NEW)
            bare.note(self._site.bare())
            self._under_load(ours, rollback, OLD)
        above = flips.median - bare.median
        self.failed += ours.failed
        self.result |= {
            FLIP.name: round(above, 2),
            f"{FLIP.name}_best": round(min(flips.seconds) - min(bare.seconds), 2),
            f"{FLIP.name}_end": round(ours.median - bare.median, 2),
            f"{FLIP.name}_rounds": len(ours.seconds),
            f"{FLIP.name}_requests": ours.planned,
            f"{FLIP.name}_failed_requests": ours.failed,
            f"{FLIP.name}_load_average": round(os.getloadavg()[0], 1),
        }
        print(f"{FLIP.name}: {above:.2f} s beyond a bare playbook (target: under 3 s)")
        print(f"  the flip: {flips}")
        print(f"  the whole playbook: {ours}")
        print(f"  bare playbook: {bare}", flush=True)

    def _under_load(self, times: Times, run: Callable[[], Measured], expected: str) -> None:
        """Run under load from a moment before to a moment after; the other version must be gone then."""
        with Load(self._site.sample.url, mix=MIX, out=FOLDER / "load") as load:
            settle()
            times.note(run())
            settle()
            books = load.stop()
        if self._site.running() != {expected}:
            raise CommandFailed(f"{self._site.running()} run instead of {expected}")
        times.planned += books.planned
        times.failed += books.failed + books.planned - books.accounted
        if books.failed:
            print(f"  failed: {books.failed_by_outcome} of {books.failed_by_kind}", flush=True)

    def _note(self, name: str, ours: Times, base: Times) -> None:
        ratio = ours.median / base.median
        self.peak_mib = max(self.peak_mib, ours.peak_mib)
        self.result |= {
            name: round(ratio, 2),
            f"{name}_seconds": round(ours.median, 2),
            f"{name}_base_seconds": round(base.median, 2),
            f"{name}_best": round(min(ours.seconds) / min(base.seconds), 2),
            f"{name}_rounds": len(ours.seconds),
            f"{name}_load_average": round(os.getloadavg()[0], 1),
        }
        best = self.result[f"{name}_best"]
        print(
            f"{name}: {ratio:.2f} (target: at most {TARGETS[name]:g}); of the best times {best:.2f}"
        )
        print(f"  collection: {ours}")
        print(f"  {'bare playbook' if name == 'noop' else 'raw script'}: {base}", flush=True)


def measure_all(
    site: Site, cases: Sequence[Case], rounds: int | None, *, noop: bool, flip: bool, hosts: bool
) -> Bench:
    """Measure the cases, each from nothing."""
    bench = Bench(site, rounds)
    if hosts:
        found = measure_hosts(site.sample)
        bench.result |= found
        bench.failed += int(found["hosts_50_failed_requests"])
    site.sample.prepare()
    for case in cases:
        site.clear()
        bench.replace(case)
        if noop and case is cases[min(1, len(cases) - 1)]:
            bench.noop(7)
    if flip:
        site.clear()
        bench.flip()
    bench.result["controller_peak_mib"] = round(bench.peak_mib)
    bench.result["failed_requests"] = bench.failed
    return bench


def bakes() -> int:
    """Measure the bakes, too: a process of its own, because they import the collection."""
    paths = {"PYTHONPATH": str(ROOT / ".ansible" / "collections")}
    command = (sys.executable, "-m", "tools.bench.bake")
    return subprocess.run(command, cwd=ROOT, env={**environment(), **paths}, check=False).returncode


def main() -> int:
    """Exit code 0: nothing was lost, whatever the times are."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument(
        "--only",
        choices=[*(case.name for case in CASES), FLIP.name, "hosts", "bakes"],
        help="one case",
    )
    parser.add_argument("--rounds", type=int, help="instead of each case's own number")
    parser.add_argument("--keep", action="store_true", help="leave the site as it is at the end")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.only == "bakes":
        return bakes()
    site = Site(int(os.environ.get("BENCH_PORT", "8490")))
    cases = [case for case in CASES if options.only in (None, case.name)]
    try:
        wanted = {name: options.only in (None, name) for name in (FLIP.name, "hosts")}
        bench = measure_all(
            site, cases, options.rounds, noop=True, flip=wanted[FLIP.name], hosts=wanted["hosts"]
        )
    except (CommandFailed, SampleFailed) as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            site.remove()
    note(bench.result, whole=options.only is None)
    print(
        f"controller's peak memory: {bench.result['controller_peak_mib']} MiB (ansible-playbook and its children)"
    )
    print(f"written: {PATH}")
    bakes_failed = bakes() if options.only is None else 0
    return 1 if bench.failed or bakes_failed else 0


if __name__ == "__main__":
    sys.exit(main())
