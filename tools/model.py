# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Check the model of the cutover protocol with spin: with all rules no violation, without any one of them one.

Usage: python -m tools.model [--full]

Needs Debian's packages spin, gcc and libc6-dev. What spin makes goes to build/model/. Ends with 1 if a verdict is not
the expected one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests" / "model" / "cutover.pml"
BUILD = ROOT / "build" / "model"
RULES = ("READY", "CAP", "DRAINCHK", "VIEW", "FENCE")
# Bytes and transitions far beyond what the largest run needs: a search that was cut short is no verdict.
COMPILE = ("-w", "-DSAFETY", "-DNOREDUCE", "-DMEMLIM=16000")
DEPTH = 1_000_000
_ASSERTION = re.compile(r"/\* ([A-Z_]{3,}) \*/")


class ModelFailed(Exception):
    """A tool is missing, or did not do what it is there for."""


@dataclass(frozen=True)
class Run:
    """One search: how large the world is, and which rule is left out of it (none: the protocol itself)."""

    replicas: int
    kills: int
    tracks: int
    without: str = ""
    reach: bool = False
    """Look for a run that is done after every takeover: the model must be able to get to its end."""

    @property
    def name(self) -> str:
        """Name it for people."""
        what = "reaches its end" if self.reach else "all rules"
        if self.without:
            what = f"without {self.without}"
        return f"N={self.replicas} kills<={self.kills} steps at a time={self.tracks}, {what}"

    @property
    def folder(self) -> str:
        """Name it for the file system."""
        what = "reach" if self.reach else f"no_{self.without}".lower() if self.without else "all"
        return f"n{self.replicas}_k{self.kills}_t{self.tracks}_{what}"

    @property
    def defines(self) -> tuple[str, ...]:
        """Return what the preprocessor is told."""
        found = [f"-DN={self.replicas}", f"-DKILLS={self.kills}", f"-DTRACKS={self.tracks}"]
        if self.without:
            found.append(f"-DNO_{self.without}")
        if self.reach:
            found.append("-DREACH")
        return tuple(found)

    @property
    def expects_violation(self) -> bool:
        """Whether a verdict of no violation would be the wrong one."""
        return bool(self.without) or self.reach


@dataclass(frozen=True)
class Verdict:
    """What a search found: how many states, and what was violated (empty: nothing, in any state)."""

    run: Run
    states: int
    violated: str
    seconds: float

    @property
    def expected(self) -> bool:
        """Whether it is what the protocol promises."""
        return bool(self.violated) == self.run.expects_violation

    def __str__(self) -> str:
        found = f"violates {self.violated}" if self.violated else "no violation"
        if self.run.reach:
            found = "yes" if self.violated else "no"
        wrong = "" if self.expected else "  <-- NOT EXPECTED"
        return f"{self.run.name}: {found}, {self.states:,} states, {self.seconds:.0f} s{wrong}"


CONTROLS = tuple(Run(2, 1, 2, without=rule) for rule in RULES) + (Run(2, 1, 2, reach=True),)
QUICK = (Run(3, 1, 1), Run(2, 1, 2), Run(2, 3, 1), Run(3, 0, 2), *CONTROLS)
FULL = (Run(3, 3, 1), Run(3, 1, 2), Run(2, 3, 2), *QUICK)


def check(run: Run) -> Verdict:
    """Let spin translate the model, compile what it makes, and search every state."""
    folder = BUILD / run.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _call(["spin", "-a", *run.defines, str(MODEL)], folder)
    # A violation is found at once: then compiling well takes longer than searching.
    level = "-O0" if run.expects_violation else "-O2"
    _call(["gcc", level, *COMPILE, "-o", "pan", "pan.c"], folder)
    text = _call(["./pan", f"-m{DEPTH}"], folder)
    (folder / "report.txt").write_text(text, encoding="utf-8")
    return read(run, text, _violated(folder, run) if "assertion violated" in text else "")


def read(run: Run, text: str, violated: str) -> Verdict:
    """Make a verdict of a report; one of a search that did not see everything is none."""
    states = re.search(r"^\s*([\d.e+]+) states, stored", text, re.MULTILINE)
    errors = re.search(r"errors: (\d+)", text)
    seconds = re.search(r"elapsed time ([\d.]+) seconds", text)
    cut = "Search not completed" in text and not violated
    if states is None or errors is None or cut or "max search depth too small" in text:
        raise ModelFailed(f"{run.name}: no whole search:\n{text}")
    if bool(int(errors[1])) != bool(violated):
        raise ModelFailed(f"{run.name}: a violation that is no assertion of the model:\n{text}")
    return Verdict(
        run, int(float(states[1])), violated, float(seconds[1]) if seconds is not None else 0.0
    )


def _violated(folder: Path, run: Run) -> str:
    """Follow the trail to the assertion, and return the name it has in the model."""
    trail = _call(["spin", "-k", "cutover.pml.trail", *run.defines, str(MODEL)], folder)
    line = re.search(r"cutover\.pml:(\d+), Error: assertion violated", trail)
    if line is None:
        raise ModelFailed(f"{run.name}: the trail does not end at an assertion:\n{trail[-2000:]}")
    name = _ASSERTION.search(MODEL.read_text(encoding="utf-8").splitlines()[int(line[1]) - 1])
    return name[1] if name else f"line {line[1]}"


def _call(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ
        )
    except FileNotFoundError:
        raise ModelFailed(
            f"{command[0]} is missing (Debian: apt install spin gcc libc6-dev)"
        ) from None
    text = done.stdout + done.stderr
    if done.returncode and command[0] != "spin":
        raise ModelFailed(f"{' '.join(command)}: ended with {done.returncode}\n{text}")
    return text


def check_all(runs: Sequence[Run], told: Callable[[Verdict], None]) -> list[Verdict]:
    """Check them side by side, telling each verdict as it comes; in the given order at the end."""

    def one(run: Run) -> Verdict:
        verdict = check(run)
        told(verdict)
        return verdict

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(one, runs))


def main(words: Sequence[str]) -> int:
    """Check what was asked for."""
    if words not in ([], ["--full"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        verdicts = check_all(FULL if words else QUICK, lambda verdict: print(verdict, flush=True))
    except ModelFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    wrong = [verdict for verdict in verdicts if not verdict.expected]
    print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} verdicts are the expected ones")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
