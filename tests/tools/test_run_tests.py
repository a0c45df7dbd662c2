# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""How results are counted: nothing red may be reported green."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tools.run_tests import __main__ as runner
from tools.run_tests import parts
from tools.run_tests.__main__ import main, run, run_all
from tools.run_tests.console import REPORTS, Console
from tools.run_tests.parts import Check, Job
from tools.run_tests.results import Tally, judged, read_junit, read_molecule, read_sanity

JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="a.test_x" name="test_good" />
<testcase classname="a.test_x" name="test_bad"><failure message="1 is not 2">no</failure></testcase>
<testcase classname="" name="a.test_y"><error message="1 is not 2">cannot import</error></testcase>
<testcase classname="a.test_x" name="test_not_run"><skipped/></testcase>
<testcase classname="a.test_x" name="test_twice_bad"><failure/><error/></testcase>
<testcase classname="a.test_x" name="test_loud"><system-out>x</system-out></testcase>
</testsuite></testsuites>"""

SANITY = """Running sanity test "ansible-doc"
Running sanity test "import" on Python 3.11
ERROR: plugins/x.py:1:0: Running sanity test "shebang"
Running sanity test "pep8"
"""


def test_a_skipped_test_has_not_passed() -> None:
    assert read_junit(JUNIT) == Tally(
        2,
        (
            "a.test_x::test_bad",
            "a.test_y",
            "a.test_x::test_not_run (skipped)",
            "a.test_x::test_twice_bad",
        ),
        ("1 is not 2",),
    )


@pytest.mark.parametrize(
    ("ending", "tally"),
    [
        ("", Tally(3)),
        (
            "FATAL: The 1 sanity test(s) listed below (out of 3) failed. See above.\npep8\n",
            Tally(2, ("sanity pep8",)),
        ),
        (
            "FATAL: The 2 sanity test(s) listed below (out of 3) failed. See above.\n"
            'import --python 3.11\npep8\nFATAL: Command "x" returned exit status 1.\n',
            Tally(1, ("sanity import --python 3.11", "sanity pep8")),
        ),
    ],
    ids=["all passed", "one failed", "two failed"],
)
def test_reads_what_ansible_test_prints(ending: str, tally: Tally) -> None:
    assert read_sanity(SANITY + ending) == tally


@pytest.mark.parametrize(
    ("code", "output", "passed"),
    [
        (0, "verify: \x1b[32mExecuted: Successful", 1),
        (1, "verify: \x1b[32mExecuted: Successful", 0),
        (0, "converge: Executed: Successful\nside_effect: \x1b[35mExecuted: Missing playbook", 0),
        (0, "", 0),
    ],
    ids=["green", "red", "a playbook that is not there", "nothing ran"],
)
def test_a_scenario_is_green_only_if_all_its_playbooks_ran(
    code: int, output: str, passed: int
) -> None:
    tally = read_molecule("default", code, output)
    assert (tally.passed, len(tally.failed)) == (passed, 1 - passed)


@pytest.mark.parametrize(
    ("code", "tally", "result"),
    [
        (0, Tally(2), Tally(2)),
        (1, Tally(2, ("x",)), Tally(2, ("x",))),
        (1, Tally(2), Tally(2, ("part: ended with 1",))),
        (0, Tally(), Tally(0, ("part: ran no test",))),
    ],
    ids=["green", "red", "red without a reason", "nothing ran"],
)
def test_a_part_is_green_only_if_it_tested_something(
    code: int, tally: Tally, result: Tally
) -> None:
    assert judged("part", code, tally) == result


def test_runs_every_part_and_ends_with_the_sum(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reports: Path
) -> None:
    def jobs(part: str, **tallies: Tally) -> list[Job]:
        return [Job(part, name, partial(known, tally)) for name, tally in tallies.items()]

    def known(tally: Tally, _console: Console) -> Tally:
        return tally

    found = {
        "one": lambda: jobs("one", x=Tally(3, ("bad",)), y=Tally(1)),
        "two": lambda: jobs("two", z=Tally(4)),
        "empty": lambda: jobs("empty"),
        "hollow": lambda: jobs("hollow", h=Tally()),
    }
    monkeypatch.setattr(parts, "PARTS", found)
    assert main(["one", "two"]) == 1
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "one: 4 passed, 1 failed",
        "two: 4 passed, 0 failed",
        "failed: bad",
        "8 passed, 1 failed",
    ]
    assert main(["two"]) == 0
    assert (main(["empty"]), main(["hollow"])) == (1, 1)
    for unknown in (["three"], []):
        with pytest.raises(SystemExit, match="2"):
            main(unknown)


def test_long_jobs_begin_first_and_no_more_than_asked_for_run_at_once(reports: Path) -> None:
    began: list[str] = []
    running: set[str] = set()

    def job(name: str) -> Job:
        def count(_console: Console) -> Tally:
            began.append(name)
            running.add(name)
            assert len(running) == 1
            running.discard(name)
            return Tally(1)

        return Job("part", name, count)

    names = ["zebra", parts.LONG[2], "ape", parts.LONG[0]]
    assert run_all(map(job, names), 1) == {"part": Tally(4)}
    assert began == [parts.LONG[0], parts.LONG[2], "ape", "zebra"]


def test_the_units_of_the_plugins_run_once() -> None:
    """Where ansible-test does it, pytest runs those of the tools."""

    def folders(*names: str) -> list[tuple[str, ...]]:
        made = [job.count for job in parts.jobs(names) if job.part == "unit"]
        return [call.args[1] for call in made if isinstance(call, partial)]

    assert folders("unit") == [("tests/unit", "tests/tools")]
    assert folders("unit", "sanity") == folders("sanity", "unit") == [("tests/tools",)]


def test_every_long_job_is_one() -> None:
    assert {job.name for part in parts.PARTS.values() for job in part()} >= set(parts.LONG)


def test_a_checker_that_fails_is_named_and_what_it_printed_is_shown(
    reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = (
        Check("good", ("python", "-c", "print('fine')")),
        Check("bad", ("python", "-c", "print('broken'); raise SystemExit(3)")),
        Check("told", ("python", "-c", "import os; os.environ['TOLD']"), (("TOLD", "1"),)),
    )
    job = Job("part", "checks", lambda console: parts.checks(items, console))
    assert run(job) == Tally(2, ("bad",))
    printed = capsys.readouterr().out
    assert "\nbroken\n" in printed and "part checks: 2 passed, 1 failed in " in printed
    good = Job("part", "good", lambda console: parts.checks(items[:1], console))
    assert run(good) == Tally(1)
    assert "fine" not in capsys.readouterr().out


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for logs below the checkout, as the real one."""
    with tempfile.TemporaryDirectory(dir=REPORTS.parent) as folder:
        monkeypatch.setattr(runner, "REPORTS", Path(folder))
        yield Path(folder)
