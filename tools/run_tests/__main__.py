# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Run parts of the test suite, all of them whatever fails, and say at the end how many tests passed and failed.

A part that ends red without naming a failed test, or that ran nothing at all, counts as one failed test: green means
that something was tested. Several jobs run at a time, because most of them wait most of the time for containers.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from tools.run_tests import parts
from tools.run_tests.console import REPORTS, ROOT, Console
from tools.run_tests.parts import Job
from tools.run_tests.results import Tally, judged


def run(job: Job) -> Tally:
    """Run one job and say how it went; what it printed is shown only if something failed."""
    console = Console(REPORTS / f"{job.part}-{job.name}.log")
    started = time.monotonic()
    tally = judged(job.name, 0, job.count(console))
    shown = console.text if tally.failed else ""
    took = f"{time.monotonic() - started:.0f} s, {console.log.relative_to(ROOT)}"
    print(f"{shown}{job.part} {job.name}: {tally.closing_line()} in {took}", flush=True)
    return tally


def run_all(jobs: Iterable[Job], at_once: int) -> dict[str, Tally]:
    """Run jobs side by side, the long ones first; return the result of each part."""
    found: dict[str, Tally] = {}
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        running = {pool.submit(run, job): job for job in sorted(jobs, key=lambda job: job.order)}
        for future in as_completed(running):
            part = running[future].part
            found[part] = found.get(part, Tally()) + future.result()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: every test passed."""
    parser = argparse.ArgumentParser(prog="python -m tools.run_tests", description=__doc__)
    parser.add_argument("parts", nargs="+", choices=list(parts.PARTS), metavar="part")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="at a time")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys(options.parts))
    found = {name: Tally() for name in names}
    found |= run_all(parts.jobs(names), options.jobs)
    total = sum((judged(name, 0, tally) for name, tally in found.items()), Tally())
    print("\n===== summary =====")
    for name in names:
        print(f"{name}: {judged(name, 0, found[name]).closing_line()}")
    for reason in total.reasons:
        print(f"----- why:\n{reason}")
    for failure in total.failed:
        print(f"failed: {failure}")
    print(total.closing_line())
    return 1 if total.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
