# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The parts of the suite, cut into jobs that can run beside each other.

A test is: one checker of lint, one sanity test, one pytest test, one Molecule scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from tools.run_tests.console import REPORTS, ROOT, Console
from tools.run_tests.results import Tally, judged, read_junit, read_molecule, read_sanity

PACKAGE = "ansible_collections.immutable.cutover.plugins"
MYPY_PATH = (("MYPYPATH", f"{ROOT}:{ROOT / '.ansible' / 'collections'}"),)
# antsibull-docs leaves a log in the home folder.
LOG_HOME = (("HOME", str(REPORTS)),)
INTEGRATION = ROOT / "tests" / "integration" / "pytest"
LONG = (
    "test_kill",
    "test_hosts_strategies",
    "test_canary",
    "test_strategies",
    "test_hosts",
    "test_hosts_canary",
    "engine",
    "rebase",
    "sanity",
    "bake",
    "test_chaos",
    "rollback",
    "test_tasks",
    "default",
    "registry",
    "blue_green",
    "canary",
    "test_bake_many",
    "test_bake_proxy",
    "test_recover",
    "test_readme",
    "test_role_load_balancer",
)
"""The jobs that take longest, longest first: they begin first, so that none is left alone at the end."""


@dataclass(frozen=True)
class Job:
    """Something that runs beside others and counts its tests."""

    part: str
    name: str
    count: Callable[[Console], Tally]

    @property
    def order(self) -> tuple[int, str]:
        """Sorts the long ones first."""
        return (LONG.index(self.name) if self.name in LONG else len(LONG), self.name)


@dataclass(frozen=True)
class Check:
    """A command that is one test by itself."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


def checks(items: Iterable[Check], console: Console) -> Tally:
    """Run all of them, whatever fails."""
    tally = Tally()
    for item in items:
        ok = console.run(item.command, item.environment) == 0
        tally += Tally(passed=1) if ok else Tally(failed=(item.name,))
    return tally


def pytest(name: str, paths: Iterable[str], console: Console) -> Tally:
    """Run the tests of these files or folders."""
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    code = console.run(("python", "-m", "pytest", "-q", f"--junit-xml={report}", *paths))
    tally = read_junit(report.read_text(encoding="utf-8")) if report.exists() else Tally()
    return judged(name, code, tally)


def lint(console: Console) -> Tally:
    """Run every checker."""
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
        ),
        console,
    )


def sanity(console: Console) -> Tally:
    """ansible-test, which also runs the units: the way Galaxy and other collections' CI do it."""
    script = ("python", "tools/ansible_test.py")
    code = console.run((*script, "sanity"))
    tally = judged("ansible-test sanity", code, read_sanity(console.text))
    junit = ROOT / ".ansible/test/ansible_collections/immutable/cutover/tests/output/junit"
    for old in junit.glob("*-units.xml"):
        old.unlink()
    code = console.run((*script, "units", "tests/unit/plugins/"))
    units = Tally()
    for report in sorted(junit.glob("*-units.xml")):
        units += read_junit(report.read_text(encoding="utf-8"))
    return tally + judged("ansible-test units", code, units)


def scenario(name: str, console: Console) -> Tally:
    """Run one scenario of Molecule."""
    # Scenarios that run side by side would rewrite each other's inventory in a shared folder.
    folder = REPORTS / "molecule" / name
    folder.mkdir(parents=True, exist_ok=True)
    code = console.run(
        ("molecule", "test", "--no-command-borders", "-s", name),
        (("MOLECULE_EPHEMERAL_DIRECTORY", str(folder)),),
    )
    return read_molecule(name, code, console.text)


def _integration() -> list[Job]:
    """One job for each file, and one for each folder of files that share fixtures."""
    files = {path.stem: path for path in INTEGRATION.glob("test_*.py")}
    folders = {path.parent.name: path.parent for path in INTEGRATION.glob("*/test_*.py")}
    return [
        Job("integration", name, partial(pytest, f"integration-{name}", [str(path)]))
        for name, path in sorted({**files, **folders}.items())
    ]


def _molecule() -> list[Job]:
    names = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    return [Job("molecule", name, partial(scenario, name)) for name in names]


def _unit(*folders: str) -> Job:
    return Job("unit", "unit", partial(pytest, "unit", folders))


PARTS: Mapping[str, Callable[[], list[Job]]] = {
    "lint": lambda: [Job("lint", "lint", lint)],
    "unit": lambda: [_unit("tests/unit", "tests/tools")],
    "sanity": lambda: [Job("sanity", "sanity", sanity)],
    "integration": _integration,
    "molecule": _molecule,
}


def jobs(names: Collection[str]) -> list[Job]:
    """Return the jobs of parts; the units of the plugins, which ansible-test runs as well, come once."""
    found = [job for name in names for job in PARTS[name]()]
    if "sanity" not in names:
        return found
    return [_unit("tests/tools") if job.part == "unit" else job for job in found]
