# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The matrix of the kill harness (CR-01): what it covers, how it draws, and what it reports."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Verb
from tools.chaos import __main__ as command
from tools.chaos import report
from tools.chaos.cases import Case, chosen, follow_ups, matrix, sample
from tools.chaos.check import MUTATING, drafts
from tools.chaos.engine import NoEngine, own_engine
from tools.chaos.faults import FAULTS
from tools.chaos.moments import moment
from tools.chaos.points import STEPS, STRATEGIES, Point, points, tasks
from tools.chaos.rig import Release, Site, Tail
from tools.chaos.run import FAILED, PASSED, UNREACHED, Known, Result, allowed, may_fail
from tools.loadgen.outcome import Row
from tools.sample import Sample


def test_cr_01_every_step_of_a_replica_is_a_point() -> None:
    # The sample app has nothing to warm up, and images are pruned with the record.
    others = {"warm", "prune", "record"}
    of_strategies = {name for names in STRATEGIES.values() for name in names} - {"gate"}
    assert set(STEPS) | of_strategies == {verb.value for verb in Verb} - others
    assert set(MUTATING) - {"record"} < set(STEPS)
    found = {(point.name, point.replica, point.when) for point in points() if point.kind == "step"}
    for name in STEPS:
        for replica in ("first", "last"):
            for when in ("before", "during", "after"):
                assert (name, replica, when) in found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cr_01_what_other_strategies_do_otherwise_is_a_point(strategy: str) -> None:
    found = {point.id for point in points() if point.strategy == strategy}
    assert {f"{strategy}/gate/{when}" for when in ("before", "during", "after")} < found
    assert f"{strategy}/activate/last/after" in found
    assert len({point.id for point in points()}) == len(points())


def test_cr_01_every_task_of_the_role_is_a_point() -> None:
    named = tasks()
    assert named[0].startswith("Validating arguments")
    assert "Apply the release" in named and "Copy each secret that is not there yet" in named
    assert not any("include" in name.lower() for name in named)
    assert len(named) == len(set(named))


def test_cr_01_the_matrix_has_every_point_and_fault_and_next_run() -> None:
    cases = matrix()
    assert len({case.id for case in cases}) == len(cases)
    assert {case.point for case in cases} == set(points())
    assert {case.fault.name for case in cases} == set(FAULTS)
    assert {case.then for case in cases} == set(follow_ups()) >= {"again", "rollback", "third"}
    assert matrix() == cases, "the same each time"
    without = {case.fault.name for case in matrix(own_engine=False)}
    assert set(FAULTS) - without == {"engine_restart", "engine_hangs"}
    without = {case.fault.name for case in matrix(over_ssh=False)}
    assert set(FAULTS) - without == {"host_unreachable", "connection_cut"}
    for name in ("kill_module", "connection_cut"):
        assert all(case.point.in_module for case in cases if case.fault.name == name)


def test_cr_01_a_sample_is_the_same_for_a_seed_and_has_every_fault_alike() -> None:
    cases = matrix()
    drawn = sample(cases, 5, 3 * len(FAULTS))
    assert drawn == sample(cases, 5, len(drawn)) != sample(cases, 6, len(drawn))
    assert sample(cases, 5, 12) == drawn[:12], "a longer sample begins as a shorter one"
    assert set(collections.Counter(case.fault.name for case in drawn).values()) == {3}
    assert len(sample(cases[:4], 5, 9)) == 4


def test_cases_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert {case.fault.name for case in chosen(matrix(), ["*+pause+*"])} == {"pause"}
    assert command.main(["--list", "--only", "step/drain/*+kill+again"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


CURRENT, OLDER, KILLED, THIRD = (Release(name, "1", Path(name)) for name in "cokt")


@pytest.mark.parametrize(
    ("kind", "fault", "then", "expected"),
    [
        ("step", "kill", "again", [KILLED]),
        ("step", "kill", "rollback", [CURRENT]),
        ("step", "kill", "third", [THIRD]),
        ("step", "pause", "rollback", [CURRENT]),
        ("task", "kill", "rollback", [CURRENT, OLDER]),
        ("task", "pause", "third", [THIRD, KILLED]),
        ("task", "host_unreachable", "third", [THIRD, KILLED]),
        ("step", "connection_cut", "rollback", [CURRENT]),
        ("step", "lb_restart", "rollback", [CURRENT, OLDER]),
        ("step", "lb_restart", "third", [THIRD]),
    ],
)
def test_what_may_run_in_the_end(kind: str, fault: str, then: str, expected: list[Release]) -> None:
    case = Case(Point(kind, "drain", "before", "first"), FAULTS[fault], then)
    assert allowed(case, Known(KILLED, THIRD, CURRENT, OLDER)) == expected


def test_results_survive_a_torn_line_and_are_counted(tmp_path: Path) -> None:
    good = Result("step/drain/first/before+kill+again", PASSED, planned=10, accounted=10)
    bad = Result("step/drain/last/before+kill+again", FAILED, ("1 of 9 lost",), failed=1)
    path = tmp_path / "results.jsonl"
    report.append(path, good)
    report.append(path, bad)
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"id": "half')
    results = report.read(path)
    assert results == [good, bad]
    counted = report.summary(results)
    assert (counted["cases"], counted[PASSED], counted[FAILED], counted[UNREACHED]) == (2, 1, 1, 0)
    assert json.loads(report.as_json({"date": "x"}, results))["requests"]["failed"] == 1
    text = report.as_markdown({"date": "x", "versions": {"HAProxy": "2.6"}}, results, matrix())
    assert "| kill | 2 | 1 | 0 | 1 | 0 |" in text and "1 of 9 lost" in text


def test_a_journal_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"a": 1}\n', encoding="utf-8")
    tail = Tail(path)
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"a": 2}\n{"a"')
        stream.flush()
        assert tail.rows() == [{"a": 2}]
        stream.write(": 3}\n")
    assert tail.rows() == [{"a": 2}, {"a": 3}]


def test_se_26_the_checker_finds_unfinished_files(tmp_path: Path) -> None:
    site = Site(Sample("x", tmp_path, 1), tmp_path / "state")
    (site.app_folder / "releases").mkdir(parents=True)
    for name in ("lease.json", "lease.json.new.17", "releases/index.json.new.4", "journal.jsonl"):
        (site.app_folder / name).touch()
    names = [path.name for path in drafts(site)]
    assert names == ["lease.json.new.17", "index.json.new.4"]


class Fake:
    """A run of which only the journal and the output are known."""

    def __init__(self, rows: list[dict[str, str]], said: str = "") -> None:
        self.said = said
        self._rows = rows

    def rows(self) -> list[dict[str, str]]:
        """Return what it has journalled."""
        return self._rows


def row(step: str, outcome: str, replica: str) -> dict[str, str]:
    return {"step": step, "outcome": outcome, "replica": replica}


@pytest.mark.parametrize(
    ("point", "rows", "come"),
    [
        (Point("step", "drain", "before", "first"), [row("drain", "begin", "old-1")], True),
        (Point("step", "drain", "after", "first"), [row("drain", "begin", "old-1")], False),
        (Point("step", "drain", "before", "last"), [row("drain", "begin", "old-1")] * 2, False),
        (
            Point("step", "drain", "during", "last"),
            [row("drain", "begin", "old-1"), row("drain", "begin", "old-2")],
            True,
        ),
        # What served before is looked at too; that is not the step that is meant.
        (Point("step", "confirm", "before", "first"), [row("confirm", "begin", "old-1")], False),
        (
            Point("step", "confirm", "before", "first"),
            [row("start", "begin", "new-1"), row("confirm", "begin", "new-1")],
            True,
        ),
        (Point("step", "record", "after"), [row("record", "ok", "")], True),
    ],
)
def test_a_point_comes_with_its_row(point: Point, rows: list[dict[str, str]], come: bool) -> None:
    assert bool(moment(point)(Fake(rows))) is come  # type: ignore[arg-type]  # a fake run


def test_a_task_is_over_when_the_next_one_begins() -> None:
    begun = "TASK [immutable.cutover.release : Plan the release] ****\n"
    over = begun + "ok: [local]\n\nTASK [immutable.cutover.release : Apply the release] ***\n"
    for when, said, come in (("before", "", False), ("before", begun, True)):
        found = moment(Point("task", "Plan the release", when))(Fake([], said))  # type: ignore[arg-type]  # a fake run
        assert bool(found) is come
    for said, come in ((begun, False), (over, True), (begun + "ok\n\nPLAY RECAP ***\n", True)):
        found = moment(Point("task", "Plan the release", "after"))(Fake([], said))  # type: ignore[arg-type]  # a fake run
        assert bool(found) is come


def test_the_validation_of_a_role_is_found_under_its_longer_name() -> None:
    said = f"TASK [immutable.cutover.release : {tasks()[0]} - Replace what runs by a release] ***\n"
    assert moment(Point("task", tasks()[0], "before"))(Fake([], said))  # type: ignore[arg-type]  # a fake run
    other = "TASK [immutable.cutover.release : Plan the releases of others] ***\n"
    assert not moment(Point("task", "Plan the release", "before"))(Fake([], other))  # type: ignore[arg-type]  # a fake run


@pytest.mark.parametrize(
    ("fault", "planned", "seconds", "excused"),
    [
        ("kill", 11.0, 1.0, False),
        ("lb_restart", 11.0, 1.0, True),
        ("lb_restart", 8.0, 3.0, True),  # it was under way when HAProxy went
        ("lb_restart", 8.0, 1.0, False),
        ("lb_restart", 16.0, 1.0, False),
    ],
)
def test_only_what_was_under_way_meanwhile_may_be_lost(
    fault: str, planned: float, seconds: float, excused: bool
) -> None:
    lost = Row(1, "slow", planned, seconds * 1000, "refused")
    assert may_fail(FAULTS[fault], lost, began=10.0, over=15.0) is excused
    assert may_fail(FAULTS[fault], lost, began=0.0, over=0.0) is False, "it never came"


def test_an_engine_that_does_not_start_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, folder = tmp_path / "bin", tmp_path / "engine"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    (programs / "dockerd").write_text("#!/bin/sh\necho 'iptables: permission denied'; exit 1\n")
    (programs / "dockerd").chmod(0o755)
    with (
        pytest.raises(NoEngine, match="does not start: iptables: permission denied"),
        own_engine(folder),
    ):
        pass
    assert not folder.exists()
