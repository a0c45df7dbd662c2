# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The receipt joins load and journal without losing or inventing anything."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tools.loadgen import stats
from tools.loadgen.ledger import Ledger
from tools.loadgen.outcome import HTTP_5XX, OK, TRUNCATED, Row
from tools.loadgen.plan import Planned
from tools.receipt import Cutover, build, render_html, render_text, write
from tools.receipt.chart import nice_ceiling, nice_step, timeline, version_styles
from tools.receipt.journal import Event, gates, replicas, tasks, verdicts

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs" / "receipt.schema.json").read_text(encoding="utf-8"))
T0 = 1_700_000_000.0
OLD, NEW = "shop-web-aaaaaaaa-1", "shop-web-bbbbbbbb-1"


def event(at: float, step: str, outcome: str, replica: str, seconds: float = 0.0) -> dict[str, Any]:
    release = replica.split("-")[2]
    version = {"aaaaaaaa": "1.0.0", "bbbbbbbb": "1.1.0"}[release]
    return {
        "time": T0 + at,
        "run": "r1",
        "epoch": 3,
        "app": "shop",
        "process": "web",
        "replica": replica,
        "release": release,
        "version": version,
        "step": step,
        "outcome": outcome,
        "seconds": seconds,
        "detail": {},
    }


def task_event(at: float, outcome: str, seconds: float = 0.0, **detail: object) -> dict[str, Any]:
    row = event(at, "task", outcome, NEW, seconds) | {"replica": "", "process": ""}
    return row | {"detail": {"task": "migrate", **detail}}


TASKS = [
    task_event(0.5, "begin", when="before_traffic"),
    task_event(1.7, "ok", 1.2, exit_code=0),
]
JOURNAL = [
    event(-50.0, "start", "ok", OLD, 0.3),
    event(2.0, "start", "begin", NEW),
    event(2.3, "start", "ok", NEW, 0.3),
    event(3.4, "ready", "ok", NEW, 1.0),
    event(3.5, "register", "ok", NEW, 0.1),
    event(3.6, "activate", "ok", NEW, 0.1),
    event(3.7, "drain", "begin", OLD),
    event(3.8, "drain", "ok", OLD, 0.1),
    event(5.0, "await", "failed", OLD, 1.2),
    event(6.2, "await", "ok", OLD, 1.2) | {"detail": {"long_lived_closed": 3}},
    event(6.3, "deregister", "ok", OLD, 0.1),
    event(6.5, "destroy", "ok", OLD, 0.2),
    event(99.0, "start", "ok", OLD, 0.3),
]


def load_rows(failing: bool) -> list[Row]:
    rows = []
    for number in range(100):
        planned = number / 10
        kind = "slow" if number % 10 == 0 else "keepalive"
        version = "1.1.0" if planned > 3.6 else "1.0.0"
        row = Row(number, kind, T0 + planned, 2.0 + number / 100, OK, 200, version, OLD)
        if failing and number in (40, 41, 42):
            result = TRUNCATED if kind == "slow" else HTTP_5XX
            row = Row(number, kind, T0 + planned, 1.0, result, 503 * (kind != "slow"))
        rows.append(row)
    return rows


def write_load(folder: Path, rows: list[Row]) -> None:
    folder.mkdir(parents=True)
    with open(folder / "rows.csv", "w", newline="", encoding="utf-8") as stream:
        books = Ledger(stream)
        for row in rows:
            books.plan(Planned(row.id, row.kind, 0.0))
            books.settle(row)
    summary = {
        "started": T0,
        "ended": T0 + 10,
        "seed": 1,
        "rates": {"keepalive": 9.0, "slow": 1.0},
        "requests": {"planned": len(rows)},
        "lag_ms": stats.latency([0.1]),
        "generator_cpu_seconds": 0.5,
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def make(
    folder: Path,
    failing: bool = False,
    name: str = "replace 1.0.0 -> 1.1.0",
    more: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    write_load(folder / "load", load_rows(failing))
    journal = folder / "journal.jsonl"
    lines = [json.dumps(row) for row in [*JOURNAL, *more]] + ['{"time": 17000']
    journal.write_text("\n".join(lines), encoding="utf-8")
    return build("shop", [Cutover(name, folder / "load", journal)], {"HAProxy": "2.6"})


@pytest.mark.parametrize("failing", [False, True])
def test_receipts_match_the_schema(failing: bool, tmp_path: Path) -> None:
    receipt = make(tmp_path, failing)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(receipt, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("requests", "failed"), -1),
        (("cutovers", 0, "requests", "planned"), None),
        (("cutovers", 0, "latency_ms", "during", "p99"), "fast"),
        (("cutovers", 0, "replicas", 0, "color"), "red"),
    ],
)
def test_the_schema_refuses_what_is_not_a_receipt(
    path: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    receipt = make(tmp_path)
    place: Any = receipt
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(receipt, SCHEMA)


def test_the_life_of_each_replica(tmp_path: Path) -> None:
    part = make(tmp_path)["cutovers"][0]
    old, new = part["replicas"]
    times = {k: round(v - T0, 3) for k, v in old.items() if isinstance(v, float)}
    assert times == {"draining": 3.7, "drained": 6.2, "destroyed": 6.5}
    times = {k: round(v - T0, 3) for k, v in new.items() if isinstance(v, float)}
    assert times == {"started": 2.0, "ready": 3.4, "registered": 3.5, "active": 3.6}
    assert (old["name"], old["version"], new["version"]) == (OLD, "1.0.0", "1.1.0")
    assert part["drain_seconds"] == {OLD: 2.5}
    assert (part["started"], part["finished"]) == (T0 + 2.0, T0 + 6.5)
    assert part["journal"] == {
        "rows": 11,
        "runs": ["r1"],
        "failed": 1,
        "fenced": 0,
        "long_lived_closed": 3,
    }


def test_what_a_drain_closed_is_counted_apart(tmp_path: Path) -> None:
    text = render_text(make(tmp_path))
    assert "long-lived connections closed by drains: 3" in text


def test_a_beginning_without_its_row_is_computed_from_the_end() -> None:
    found = replicas([Event(10.0, "r", "start", "ok", "a", seconds=1.5)], {"a": "2.0"})
    assert (found[0].started, found[0].version) == (8.5, "2.0")


def test_a_step_reported_again_by_a_rerun_keeps_its_first_time() -> None:
    twice = [Event(at, "r", "ready", "ok", "a") for at in (5.0, 9.0)]
    assert replicas(twice, {})[0].ready == 5.0


def test_requests_are_counted_once_each(tmp_path: Path) -> None:
    receipt = make(tmp_path, failing=True)
    part = receipt["cutovers"][0]
    assert receipt["requests"] == {"planned": 100, "accounted": 100, "failed": 3}
    assert part["failures"] == [
        {"kind": "keepalive", "outcome": HTTP_5XX, "status": 503, "count": 2},
        {"kind": "slow", "outcome": TRUNCATED, "status": 0, "count": 1},
    ]
    assert sum(count for ignored, c in part["versions"] for count in c.values()) == 100
    quick = [phase["count"] for phase in part["latency_ms"].values()]
    assert quick == [18, 41 - 2, 31], "without slow requests, and without the failed ones"


def test_latency_is_split_at_the_cutover(tmp_path: Path) -> None:
    phases = make(tmp_path)["cutovers"][0]["latency_ms"]
    quick = [row for row in load_rows(False) if row.kind == "keepalive"]
    before = [row for row in quick if row.planned < T0 + 2.0]
    after = [row for row in quick if row.planned > T0 + 6.5]
    assert phases["before"] == stats.latency(row.latency_ms for row in before)
    assert phases["after"] == stats.latency(row.latency_ms for row in after)
    assert phases["during"]["count"] == len(quick) - len(before) - len(after)


def test_a_journal_without_a_row_of_the_cutover_is_an_error(tmp_path: Path) -> None:
    make(tmp_path)
    cutover = Cutover("x", tmp_path / "load", tmp_path / "journal.jsonl", runs=("other",))
    with pytest.raises(ValueError, match="no row within the load of 'x'"):
        build("shop", [cutover])


@pytest.mark.parametrize("failing", [False, True])
def test_the_page_is_self_contained_and_says_the_result(failing: bool, tmp_path: Path) -> None:
    receipt = make(tmp_path, failing)
    page = render_html(receipt)
    assert not re.search(r"(src|href)\s*=|url\(|@import|<script|<link|https?://", page)
    assert f"{'3' if failing else '0'} of 100</span> requests failed" in page
    assert ("Failed requests" in page) is failing
    assert ('class="failed"' in page) is failing
    for style in ("starting v2", "active v1", "active v2", "draining v1"):
        assert f'class="{style}"' in page, style
    assert "2.5 s</text>" in page


def test_names_are_escaped(tmp_path: Path) -> None:
    page = render_html(make(tmp_path, name="<script>alert(1)</script>"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_text_says_what_matters(tmp_path: Path) -> None:
    good = render_text(make(tmp_path / "good"))
    assert "replace 1.0.0 -> 1.1.0: 0 failed of 100 requests in 4.5 s" in good
    assert "fewer than 1 in 33" in good
    assert re.search(rf"{OLD}\s+1\.0\.0\s+-\s+-\s+-\s+1\.7 s\s+4\.2 s\s+4\.5 s\s+2\.5 s", good)
    bad = render_text(make(tmp_path / "bad", failing=True))
    assert "3 failed of 100" in bad
    assert "confidence" not in bad
    assert re.search(r"slow\s+truncated\s+-\s+1", bad)


def test_unaccounted_requests_are_never_silent(tmp_path: Path) -> None:
    receipt = make(tmp_path)
    receipt["cutovers"][0]["requests"]["planned"] += 2
    assert "NOT ACCOUNTED FOR: 2" in render_text(receipt)
    assert "2 not accounted for" in render_html(receipt)


def test_both_files_are_written(tmp_path: Path) -> None:
    receipt = make(tmp_path)
    data, page = write(receipt, tmp_path / "out")
    assert json.loads(data.read_text(encoding="utf-8")) == receipt
    assert page.read_text(encoding="utf-8") == render_html(receipt)
    assert sorted(path.name for path in data.parent.iterdir()) == ["receipt.html", "receipt.json"]


def test_bars_do_not_overlap_and_stay_inside(tmp_path: Path) -> None:
    part = make(tmp_path)["cutovers"][0]
    drawn = timeline(part, version_styles([part]))
    for one, two in zip(drawn.bars, drawn.bars[1:], strict=False):
        assert one.y != two.y or one.x + one.width <= two.x + 1.01
    for piece in [*drawn.bars, *drawn.columns]:
        assert 232 <= piece.x <= piece.x + piece.width <= 937, piece
    heights = {piece.x: 0.0 for piece in drawn.columns}
    for piece in drawn.columns:
        heights[piece.x] += piece.height
    assert max(heights.values()) <= 150.1


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (305, 400), (356, 400), (1020, 1500)])
def test_axis_tops(value: float, top: float) -> None:
    assert nice_ceiling(value) == top


@pytest.mark.parametrize(("span", "step"), [(5, 1), (28, 2), (100, 10), (40000, 3600)])
def test_tick_steps(span: float, step: float) -> None:
    assert nice_step(span, 14) == step


def gate_row(at: float, outcome: str, gate: str, kind: str) -> dict[str, Any]:
    detail = {"gate": gate, "kind": kind}
    row = event(at, "gate", outcome, OLD)
    return {**row, "replica": "", "process": "", "detail": detail}


def test_gates_are_from_the_first_wait_until_something_goes_on() -> None:
    rows = [
        gate_row(1.0, "begin", "approval", "approval"),
        gate_row(1.1, "held", "approval", "approval"),
        gate_row(9.0, "ok", "approval", "approval"),
        event(9.5, "activate", "ok", NEW, 0.2),
        gate_row(12.0, "begin", "scale_down", "delay"),
        gate_row(12.1, "delayed", "scale_down", "delay"),
        event(12.2, "record", "ok", OLD) | {"replica": ""},
        event(42.5, "await", "begin", OLD),
        gate_row(50.0, "begin", "approval", "approval"),
    ]
    found = [
        (item.gate, round(item.since - T0, 1), item.until and round(item.until - T0, 1))
        for item in gates(map(Event.parse, rows))
    ]
    assert found == [("approval", 1.0, 9.0), ("scale_down", 12.0, 42.5), ("approval", 50.0, None)]


def test_ro_14_verdicts_are_told_in_order_and_are_no_gates() -> None:
    detail = {"at": "2-analysis-at-10", "verdict": "pass", "reason": "0 of 200 failed"}
    blank = {"replica": "", "process": ""}
    rows = [
        event(9.0, "analysis", "failed", NEW)
        | blank
        | {"detail": {**detail, "at": "", "verdict": "fail"}},
        gate_row(1.0, "begin", "2-analysis-at-10", "analysis"),
        event(4.0, "analysis", "ok", NEW) | blank | {"detail": detail},
        gate_row(4.0, "ok", "2-analysis-at-10", "analysis"),
        event(5.0, "weigh", "ok", NEW) | {"replica": ""},
    ]
    events = [Event.parse(row) for row in rows]
    assert [(item.at, item.verdict) for item in verdicts(events)] == [
        ("2-analysis-at-10", "pass"),
        ("", "fail"),
    ]
    assert [(gate.gate, gate.until) for gate in gates(events)] == [("2-analysis-at-10", T0 + 4.0)]
    assert replicas(events, {}) == []


def test_tasks_are_told_with_when_they_ran_and_how_they_ended(tmp_path: Path) -> None:
    receipt = make(tmp_path, more=TASKS)
    jsonschema.validate(receipt, SCHEMA)
    (task,) = receipt["cutovers"][0]["tasks"]
    assert task == {
        "task": "migrate",
        "when": "before_traffic",
        "since": T0 + 0.5,
        "until": T0 + 1.7,
        "outcome": "ok",
        "message": "",
    }
    assert "task migrate (before_traffic): from +0.0 s to +1.2 s, ok" in render_text(receipt)
    page = render_html(receipt)
    assert "<title>task migrate ok: 1.2 s</title>" in page and "migrate (before_traffic)" in page
    rows = [
        task_event(1.0, "failed", 0.8, message="task migrate ended with code 1"),
        task_event(3.0, "begin", when="after"),
    ]
    assert [(item.since, item.until, item.outcome) for item in tasks(map(Event.parse, rows))] == [
        (T0 + 0.2, T0 + 1.0, "failed"),
        (T0 + 3.0, None, ""),
    ]
