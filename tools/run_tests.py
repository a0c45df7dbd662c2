# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Run parts of the test suite, all of them whatever fails, and say at the end how many tests passed and failed.

Usage: run_tests.py lint|unit|sanity|integration|molecule ...

A test is: one checker of lint, one sanity test, one pytest test, one Molecule scenario. A part that ends red without
naming a failed test, or that ran nothing at all, counts as one failed test: green means that something was tested.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
REPORTS = ROOT / "build" / "test"
PACKAGE = "ansible_collections.immutable.cutover.plugins"
MYPY_PATH = (("MYPYPATH", f"{ROOT}:{ROOT / '.ansible' / 'collections'}"),)
# antsibull-docs leaves a log in the home folder.
LOG_HOME = (("HOME", str(REPORTS)),)


@dataclass(frozen=True)
class Tally:
    """How many tests passed, and the names of those that did not."""

    passed: int = 0
    failed: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed)

    def closing_line(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed"


@dataclass(frozen=True)
class Check:
    """A command that is one test by itself."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


def run(command: Sequence[str], environment: Iterable[tuple[str, str]] = ()) -> int:
    """Run a command of the virtual environment at the repository root, its output going to ours."""
    print(f"$ {' '.join(command)}", flush=True)
    argv = [str(BIN / command[0]), *command[1:]]
    env = os.environ | dict(environment)
    return subprocess.run(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False).returncode


def run_captured(command: Sequence[str]) -> tuple[int, str]:
    """Like run, and give back what it printed."""
    print(f"$ {' '.join(command)}", flush=True)
    argv = [str(BIN / command[0]), *command[1:]]
    lines = []
    with subprocess.Popen(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


def judged(name: str, returncode: int, tally: Tally) -> Tally:
    """What a command's tests amount to, knowing how it ended."""
    if returncode != 0 and not tally.failed:
        return tally + Tally(failed=(f"{name}: ended with {returncode}",))
    if returncode == 0 and tally == Tally():
        return Tally(failed=(f"{name}: ran no test",))
    return tally


def read_junit(text: str) -> Tally:
    """The result of a pytest run from its junit file; a skipped test is no passed test."""
    tally = Tally()
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            tally += Tally(failed=(name,))
        elif "skipped" in outcomes:
            tally += Tally(failed=(f"{name} (skipped)",))
        else:
            tally += Tally(passed=1)
    return tally


def read_sanity(output: str) -> Tally:
    """The result of `ansible-test sanity` from what it printed."""
    names = re.findall(r'^Running sanity test "([\w-]+)"', output, re.MULTILINE)
    listed = re.search(
        r"^FATAL: The \d+ sanity test\(s\) listed below .* failed\..*\n((?:[a-z][\w -]*(?:--python \S+)?\n)*)",
        output,
        re.MULTILINE,
    )
    failed = tuple(f"sanity {name}" for name in listed.group(1).splitlines()) if listed else ()
    return Tally(len(names) - len(failed), failed)


def checks(items: Iterable[Check]) -> Tally:
    tally = Tally()
    for item in items:
        ok = run(item.command, item.environment) == 0
        tally += Tally(passed=1) if ok else Tally(failed=(item.name,))
    return tally


def pytest(name: str, paths: Sequence[str]) -> Tally:
    present = [path for path in paths if (ROOT / path).exists()]
    if not present:
        return Tally(failed=(f"{name}: no {' nor '.join(paths)}",))
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    code = run(("python", "-m", "pytest", "-q", f"--junit-xml={report}", *present))
    tally = read_junit(report.read_text(encoding="utf-8")) if report.exists() else Tally()
    return judged(name, code, tally)


def lint() -> Tally:
    production = ("ansible-lint", "--offline", "--profile", "production", "--strict")
    docs = ("antsibull-docs", "lint-collection-docs", "--plugin-docs")
    return checks(
        (
            Check("ruff format", ("ruff", "format", "--check", "--quiet", ".")),
            Check("ruff", ("ruff", "check", "--quiet", ".")),
            Check("mypy plugins", ("mypy", "-p", PACKAGE), MYPY_PATH),
            Check("mypy tools", ("mypy", "tools", "tests"), MYPY_PATH),
            Check("shellcheck", ("shellcheck", "tools/venv.sh", ".ci/run")),
            Check("yamllint", ("yamllint", "--strict", ".")),
            Check("ansible-lint", production, (("NO_COLOR", "1"),)),
            Check("antsibull-docs", (*docs, "--validate-collection-refs", "all", "."), LOG_HOME),
            Check("antsibull-changelog", ("antsibull-changelog", "lint")),
        )
    )


def unit() -> Tally:
    return pytest("unit", ("tests/unit", "tests/tools"))


def sanity() -> Tally:
    """ansible-test, which also runs the units once more: the way Galaxy and other collections' CI do it."""
    script = ("python", "tools/ansible_test.py")
    code, output = run_captured((*script, "sanity"))
    tally = judged("ansible-test sanity", code, read_sanity(output))
    junit = ROOT / ".ansible/test/ansible_collections/immutable/cutover/tests/output/junit"
    for old in junit.glob("*-units.xml"):
        old.unlink()
    code = run((*script, "units", "tests/unit/plugins/"))
    units = Tally()
    for report in sorted(junit.glob("*-units.xml")):
        units += read_junit(report.read_text(encoding="utf-8"))
    return tally + judged("ansible-test units", code, units)


def integration() -> Tally:
    return pytest("integration", ("tests/integration/pytest",))


def scenario(name: str) -> Tally:
    """Run one scenario, its output going to a file, for it may run beside others."""
    # Scenarios that run side by side would rewrite each other's inventory in a shared folder.
    folder = REPORTS / "molecule" / name
    folder.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"MOLECULE_EPHEMERAL_DIRECTORY": str(folder)}
    command = [str(BIN / "molecule"), "test", "--no-command-borders", "-s", name]
    log = REPORTS / f"molecule-{name}.log"
    started = time.monotonic()
    with log.open("wb") as stream:
        code = subprocess.run(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    output = log.read_text(encoding="utf-8", errors="replace")
    tally = read_molecule(name, code, output)
    shown = output if tally.failed else ""
    print(f"{shown}{name}: {tally.closing_line()} in {time.monotonic() - started:.0f} s, {log}")
    return tally


def read_molecule(name: str, code: int, output: str) -> Tally:
    """The result of a scenario; Molecule passes over a playbook that is not there, which is no pass."""
    if code:
        return Tally(failed=(f"molecule {name}: ended with {code}",))
    if "Missing playbook" in output or "Executed: Successful" not in output:
        return Tally(failed=(f"molecule {name}: a playbook of its sequence was not run",))
    return Tally(passed=1)


def molecule() -> Tally:
    """All scenarios, two at a time: most of their time is spent waiting."""
    names = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = sum(pool.map(scenario, names), Tally())
    return judged("molecule", 0, found)


PARTS: dict[str, Callable[[], Tally]] = {
    "lint": lint,
    "unit": unit,
    "sanity": sanity,
    "integration": integration,
    "molecule": molecule,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        print(__doc__, file=sys.stderr)
        return 2
    REPORTS.mkdir(parents=True, exist_ok=True)
    total = Tally()
    summary = []
    for name in names:
        print(f"\n===== {name} =====", flush=True)
        started = time.monotonic()
        tally = PARTS[name]()
        summary.append(f"{name}: {tally.closing_line()} in {time.monotonic() - started:.0f} s")
        total += tally
    print("\n===== summary =====")
    print("\n".join(summary))
    for failure in total.failed:
        print(f"failed: {failure}")
    print(total.closing_line())
    return 1 if total.failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
