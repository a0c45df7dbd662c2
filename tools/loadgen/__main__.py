# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`python -m tools.loadgen`: the command line of the load generator."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
from pathlib import Path

from tools.loadgen.client import Shape, Target
from tools.loadgen.connection import Limits
from tools.loadgen.plan import DEFAULT_MIX, scale
from tools.loadgen.run import Options, Run, execute


def _url(text: str) -> str:
    try:
        Target.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    return text


def _kind(text: str) -> tuple[str, float]:
    kind, equals, rate = text.partition("=")
    if kind not in DEFAULT_MIX or not equals or float(rate) < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected KIND=RATE, {', '.join(DEFAULT_MIX)}")
    return kind, float(rate)


def _range(text: str) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    pair = (float(low), float(high if dash else low))
    if not 0 <= pair[0] <= pair[1]:
        raise argparse.ArgumentTypeError(f"{text}: expected LOW-HIGH")
    return pair


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="python -m tools.loadgen", description=__doc__)
    parse.add_argument("--url", required=True, type=_url)
    parse.add_argument("--out", required=True, type=Path, help="folder: rows.csv, summary.json")
    parse.add_argument("--rate", type=float, help="requests per second of all kinds together")
    parse.add_argument(
        "--kind",
        type=_kind,
        action="append",
        metavar="KIND=RATE",
        help="requests per second of one kind; with this option, only the named kinds are sent",
    )
    parse.add_argument("--duration", type=float, help="seconds; without it, until SIGTERM")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--slow", type=_range, default=(2.0, 3.0), help="seconds, LOW-HIGH")
    parse.add_argument("--timeout", type=float, default=15.0, help="seconds for an answer")
    parse.add_argument("--connect-timeout", type=float, default=5.0, help="seconds")
    parse.add_argument("--until-eof", action="store_true", help="stop when stdin is closed")
    parse.add_argument("--progress", action="store_true", help="counters on stderr, once a second")
    return parse


def options(arguments: argparse.Namespace) -> Options:
    mix = dict(arguments.kind or DEFAULT_MIX)
    if arguments.rate is not None:
        mix = scale(mix, arguments.rate)
    return Options(
        url=arguments.url,
        out=arguments.out,
        mix=mix,
        seed=arguments.seed,
        duration=arguments.duration,
        shape=Shape(slow=arguments.slow),
        limits=Limits(arguments.connect_timeout, arguments.timeout),
        progress=arguments.progress,
    )


def started(epoch: float) -> None:
    print(f"started {epoch:.6f}", flush=True)


def stop_on_signals(run: Run) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, run.stop)


def stop_on_eof(run: Run) -> None:
    """Whoever holds the other end of stdin may be killed: then nobody would stop the load."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            run.stop()

    loop.add_reader(sys.stdin.fileno(), read)


def main() -> int:
    """Exit code 0: nothing failed; 1: something failed; the figures are in summary.json."""
    arguments = parser().parse_args()
    chosen = options(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    gc.freeze()

    def ready(run: Run) -> None:
        stop_on_signals(run)
        if arguments.until_eof:
            stop_on_eof(run)

    summary = asyncio.run(execute(chosen, started, ready))
    counted = summary["requests"]
    print(
        f"planned {counted['planned']} accounted {counted['accounted']} failed {counted['failed']}"
    )
    return 1 if counted["failed"] or counted["planned"] != counted["accounted"] else 0


if __name__ == "__main__":
    sys.exit(main())
