# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From rows to what a person reads of a run."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils import _history

T0 = 1_700_000_000.0
HOLDER = {"run": "r1", "user": "ann", "host": "ctl1", "job": "41", "url": "https://awx.example/41"}


def row(at: float, step: str, outcome: str, run: str = "r1", **more: Any) -> dict[str, Any]:
    return {
        "time": T0 + at,
        "run": run,
        "epoch": 3,
        "app": "shop",
        "step": step,
        "outcome": outcome,
        "release": "bbbbbbbb",
        "version": "2",
        "replica": "",
        "seconds": 0.0,
        "detail": {},
        **more,
    }


def begin(run: str = "r1", at: float = 0.0, to: str = "", **more: Any) -> dict[str, Any]:
    detail = {
        "to": to,
        "from": {"release": "aaaaaaaa", "version": "1"},
        "image": "shop@sha256:1",
        "holder": {**HOLDER, "run": run},
    }
    return row(at, "run", "begin", run, detail=detail, **more)


NEW, OLD = "shop-web-bbbbbbbb-1", "shop-web-aaaaaaaa-1"
STEPS = [
    row(1, "start", "ok", replica=NEW, seconds=0.3),
    row(2, "activate", "ok", replica=NEW, seconds=1.5),
    row(9, "destroy", "ok", replica=OLD, release="aaaaaaaa", version="1", seconds=0.1),
]


def shown(*rows: dict[str, Any], holder: str = "", replicas: bool = False) -> list[str]:
    return _history.lines(_history.stories(rows), holder, replicas=replicas)


def test_one_block_a_run_with_when_who_what_and_how_it_ended() -> None:
    assert shown(begin(), *STEPS, row(12, "run", "done"), replicas=True) == [
        "2023-11-14 22:13:20Z  replace 1 (aaaaaaaa) -> 2 (bbbbbbbb): done after 12 s",
        "    by ann, run r1, host ctl1, job 41 (https://awx.example/41)",
        "    image shop@sha256:1",
        "    1 started, 1 activated, 1 destroyed",
        f"      {NEW}: start 0.3 s, activate 1.5 s",
        f"      {OLD}: destroy 0.1 s",
    ]


def end(outcome: str, at: float = 5.0, **detail: Any) -> dict[str, Any]:
    return row(at, "run", outcome, detail=detail)


# (id, rows after the beginning, who holds the lease, what the first line ends with)
ENDS: list[tuple[str, list[dict[str, Any]], str, str]] = [
    ("done", [end("done")], "", "done after 5.0 s"),
    ("failed", [end("failed", message="m")], "", "failed after 5.0 s"),
    ("rolled-back", [end("failed", rolled_back=True)], "", "failed after 5.0 s, rolled back"),
    ("fenced", [end("fenced")], "", "fenced after 5.0 s"),
    ("held", [end("held")], "", "held at a gate: promote or abort it"),
    (
        "interrupted",
        [row(2, "start", "ok", replica=NEW), end("interrupted", 90.0)],
        "",
        "interrupted after 2.0 s: it died, and another run went on",
    ),
    ("late-word", [end("interrupted"), end("fenced", 9.0)], "", "fenced after 9.0 s"),
    ("late-word-first", [end("fenced", 4.0), end("interrupted")], "", "fenced after 4.0 s"),
    ("under-way", [row(3, "start", "begin", replica=NEW)], "r1", "under way for 3.0 s"),
    ("dead", [], "", "no end recorded: it died, or still runs without the lease"),
]


@pytest.mark.parametrize(
    ("rows", "holder", "says"), [pytest.param(*entry[1:], id=entry[0]) for entry in ENDS]
)
def test_how_it_ended(rows: list[dict[str, Any]], holder: str, says: str) -> None:
    first = shown(begin(), *rows, holder=holder)[0]
    assert first.endswith(f"-> 2 (bbbbbbbb): {says}"), first


@pytest.mark.parametrize(
    ("to", "kind"),
    [("", "replace"), ("previous", "rollback"), ("1.0.0", "rollback"), ("undo", "recover")],
)
def test_what_it_was(to: str, kind: str) -> None:
    assert f"  {kind} " in shown(begin(to=to), end("done"))[0]


def test_the_message_of_a_failure_is_shown_and_a_step_without_an_end() -> None:
    lines = shown(
        begin(), row(1, "ready", "begin", replica=NEW), end("failed", message="why"), replicas=True
    )
    assert lines[-2:] == ["    why", f"      {NEW}: ready not ended"]


def test_gates_and_verdicts_are_shown_with_the_steps() -> None:
    gate = {"gate": "switch", "kind": "approval"}
    lines = shown(
        begin(),
        row(1, "gate", "begin", detail=gate),
        row(2, "gate", "ok", detail=gate),
        row(3, "analysis", "failed", detail={"gate": "a1", "reason": "5 of 20 failed"}),
        end("failed", message="why"),
        replicas=True,
    )
    assert lines[-2:] == ["      gate switch: ok", "      analysis a1: failed, 5 of 20 failed"]


def test_runs_are_chosen_by_id_release_or_version_and_only_the_last() -> None:
    rows = [
        row_
        for number in range(5)
        for row_ in (begin(f"r{number}", number), row(number, "run", "done", f"r{number}"))
    ]
    rows[0]["release"], rows[0]["version"] = "cccccccc", "9"
    found = _history.stories(rows)

    def ids(run: str = "", release: str = "", last: int = 10) -> list[str]:
        return [story.run for story in _history.chosen(found, run, release, last)]

    assert ids(last=2) == ["r3", "r4"]
    assert ids(run="r1") == ["r1"]
    assert ids(release="9") == ids(release="cccccccc") == ["r0"]
    assert ids(release="bbbbbbbb", last=1) == ["r4"]
    assert ids(run="nosuch") == []


def test_a_journal_from_before_runs_were_noted_is_still_read() -> None:
    found = _history.stories([*STEPS, row(12, "record", "ok")])
    data = _history.as_data(found[0], "")
    assert (data["kind"], data["outcome"], data["seconds"]) == ("run", "done", 11.0)
    assert shown() == ["no run is recorded"]


def test_tasks_of_a_release_and_commands_by_hand_are_told_apart() -> None:
    ran = [
        row(1, "task", "begin", detail={"task": "migrate"}),
        row(4, "task", "ok", detail={"task": "migrate"}),
    ]
    assert shown(begin(to="tasks"), *ran, row(4, "run", "done"), replicas=True)[0::3] == [
        "2023-11-14 22:13:20Z  tasks 1 (aaaaaaaa) -> 2 (bbbbbbbb): done after 4.0 s",
        "      task migrate: ok after 0.0 s",
    ]
    by_hand = [
        row(0, "task", "begin", detail={"task": "adhoc"}),
        row(2, "task", "failed", detail={"task": "adhoc"}),
    ]
    (first, *_rest) = shown(*by_hand)
    assert first == "2023-11-14 22:13:20Z  command 2 (bbbbbbbb): failed after 2.0 s"
    (under_way, *_rest) = shown(*by_hand[:1])
    assert "no end recorded" in under_way
