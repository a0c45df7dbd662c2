# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`python -m tools.chaos`: disturb runs at every point, and see whether the next one puts it right.

The results are in build/chaos/: report.json, report.md, results.jsonl; failed/ has journals and logs of what failed.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from tools.chaos import report
from tools.chaos.cases import Case, chosen, matrix, sample
from tools.chaos.control import kill_first
from tools.chaos.engine import NoEngine
from tools.chaos.faults import FAULTS
from tools.chaos.remote import NoCable
from tools.chaos.run import FAILED, FLAKY, PASSED, UNREACHED, Options, Result, run_case
from tools.chaos.world import FOLDER, World, world
from tools.sample import ROOT

RESULTS = FOLDER / "results.jsonl"


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    parse = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parse.add_argument("--list", action="store_true", help="name the cases and run none")
    parse.add_argument(
        "--only", nargs="+", default=[], metavar="PATTERN", help="cases by name, as a shell matches"
    )
    parse.add_argument(
        "--sample", type=int, metavar="N", help="draw so many, every fault as often as any other"
    )
    parse.add_argument(
        "--seed", type=int, default=0, help="what is drawn, and where within a step (default 0)"
    )
    parse.add_argument(
        "--resume", action="store_true", help="leave out what passed in the run before"
    )
    parse.add_argument("--minutes", type=float, help="begin no case after that time")
    parse.add_argument(
        "--pause", type=float, default=60.0, help="seconds between SIGSTOP and SIGCONT (default 60)"
    )
    parse.add_argument(
        "--hang",
        type=float,
        default=30.0,
        help="seconds in which the engine does not answer (default 30)",
    )
    parse.add_argument("--rate", type=float, default=60.0, help="requests per second (default 60)")
    parse.add_argument(
        "--host-engine",
        action="store_true",
        help="use this machine's engine, and leave out what disturbs it",
    )
    parse.add_argument(
        "--ssh",
        action="store_true",
        help="have every run go over ssh, not only where the fault needs it",
    )
    parse.add_argument(
        "--no-ssh", action="store_true", help="leave out what needs a controller of its own"
    )
    return parse


def select(arguments: argparse.Namespace, cases: Sequence[Case]) -> list[Case]:
    """Return the cases that were asked for."""
    found = chosen(cases, arguments.only) if arguments.only else list(cases)
    if arguments.sample:
        found = sample(found, arguments.seed, arguments.sample)
    return found


def go_through(
    site: World, cases: Sequence[Case], options: Options, minutes: float | None
) -> list[Result]:
    """Run the cases, saying of each what came out."""
    results = []
    end = time.monotonic() + minutes * 60 if minutes else float("inf")
    for number, case in enumerate(cases, 1):
        if time.monotonic() > end:
            print(f"time is up: {len(cases) - number + 1} cases were not begun", flush=True)
            break
        result = run_case(site, case, options)
        report.append(RESULTS, result)
        results.append(result)
        print(
            f"[{number}/{len(cases)}] {result.outcome:9} {result.seconds:5.0f} s  {case.id}: at {result.landed}, "
            f"ended with {_codes(result)}, "
            f"{result.planned} requests, {result.failed} failed ({result.excused} excused)",
            flush=True,
        )
        for problem in result.problems:
            print(f"    {' '.join(problem.split())[:400]}", flush=True)
    return results


def _codes(result: Result) -> str:
    by = f", by {result.by}" if result.by else ""
    return " and ".join(str(code) for code in result.ended) + by


def versions(site: World) -> dict[str, str]:
    """Return what it ran with."""
    engine = site.site.docker("version", "--format", "{{.Server.Version}}").strip()
    balancer = site.site.docker("exec", site.site.sample.balancer, "haproxy", "-v").split("\n")[0]
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "ansible-core": metadata.version("ansible-core"),
        "Docker Engine": engine,
        "HAProxy": balancer.removeprefix("HAProxy version ").split(" ")[0],
        "Python": platform.python_version(),
        "Linux": platform.release().split("-")[0],
    }


def write(about: dict[str, object], results: Sequence[Result], cases: Sequence[Case]) -> None:
    """Leave both reports."""
    (FOLDER / "report.json").write_text(report.as_json(about, results), encoding="utf-8")
    (FOLDER / "report.md").write_text(report.as_markdown(about, results, cases), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0: every case passed and the control lost; 1: not so."""
    arguments = parser().parse_args(words)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    cases = matrix(own_engine=not arguments.host_engine, over_ssh=not arguments.no_ssh)
    selected = select(arguments, cases)
    if arguments.list:
        print("\n".join(case.id for case in selected))
        return 0
    options = Options(
        arguments.seed, arguments.rate, arguments.pause, arguments.hang, arguments.ssh
    )
    try:
        return run(arguments, cases, selected, options)
    except NoEngine as error:
        without = ", ".join(name for name, fault in FAULTS.items() if fault.own_engine)
        print(f"{error}\nuse --host-engine, which leaves out {without}", file=sys.stderr)
        return 2
    except NoCable as error:
        without = ", ".join(name for name, fault in FAULTS.items() if fault.over_ssh)
        print(f"{error}\nuse --no-ssh, which leaves out {without}", file=sys.stderr)
        return 2


def _stop(number: int, _frame: object) -> NoReturn:
    """End in order: engine, replicas and load are taken away."""
    sys.exit(128 + number)


def run(
    arguments: argparse.Namespace, cases: Sequence[Case], selected: list[Case], options: Options
) -> int:
    """Set the site up, run the control and the cases, and report."""
    earlier: list[Result] = []
    if arguments.resume:
        earlier = [item for item in report.read(RESULTS) if item.outcome == PASSED]
        done = {item.id for item in earlier}
        selected = [case for case in selected if case.id not in done]
    else:
        RESULTS.unlink(missing_ok=True)
    print(f"{len(selected)} of {len(cases)} cases, seed {arguments.seed}", flush=True)
    with world(with_engine=not arguments.host_engine, with_ssh=not arguments.no_ssh) as site:
        about: dict[str, object] = {
            "date": datetime.date.today().isoformat(),
            "seed": arguments.seed,
            "pause_seconds": options.pause,
            "hang_seconds": options.hang,
            "requests_per_second": options.rate,
            "versions": versions(site),
        }
        naive = kill_first(site.site, site.current, options.rate)
        about["control"] = f"an old replica killed first: {naive.failed} of {naive.planned} lost"
        print(f"positive control: {about['control']}", flush=True)
        results = earlier + go_through(site, selected, options, arguments.minutes)
    write(about, results, cases)
    counted = report.summary(results)
    print(f"{counted}\n{FOLDER / 'report.md'}")
    bad = counted[FAILED] + counted[FLAKY] + counted[UNREACHED]
    return 0 if naive.failed and results and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
