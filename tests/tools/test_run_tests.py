# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""How results are counted: nothing red may be reported green."""

from __future__ import annotations

import pytest

from tools import run_tests
from tools.run_tests import Tally, judged, read_junit, read_molecule, read_sanity

JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="a.test_x" name="test_good" />
<testcase classname="a.test_x" name="test_bad"><failure>no</failure></testcase>
<testcase classname="" name="a.test_y"><error>cannot import</error></testcase>
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
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"one": lambda: Tally(3, ("bad",)), "two": lambda: Tally(4)}
    monkeypatch.setattr(run_tests, "PARTS", parts)
    assert run_tests.main(["one", "two"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["failed: bad", "7 passed, 1 failed"]
    assert run_tests.main(["two"]) == 0
    assert run_tests.main(["three"]) == 2
    assert run_tests.main([]) == 2


def test_a_checker_that_fails_is_named() -> None:
    items = (
        run_tests.Check("good", ("python", "-c", "")),
        run_tests.Check("bad", ("python", "-c", "raise SystemExit(3)")),
        run_tests.Check(
            "told", ("python", "-c", "import os; os.environ['TOLD']"), (("TOLD", "1"),)
        ),
    )
    assert run_tests.checks(items) == Tally(2, ("bad",))
