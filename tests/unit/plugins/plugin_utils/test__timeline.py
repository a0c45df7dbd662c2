# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is drawn of the journal of each strategy, as the runs write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.immutable.cutover.plugins.filter.timeline import timeline as drawn
from ansible_collections.immutable.cutover.plugins.plugin_utils._timeline import (
    DRAINING,
    IDLE,
    READY,
    SERVING,
    STARTING,
    Lane,
    Timeline,
    timeline,
)
from ansible_collections.immutable.cutover.plugins.plugin_utils._timeline_page import page
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

Row = dict[str, Any]
CANARY = [{"weight": 10}, {"pause": {}}, {"weight": 50}, {"pause": {}}]
STRATEGIES: dict[str, Row] = {
    "rolling": {"type": "rolling"},
    "blue_green": {"type": "blue_green", "approval": True, "scale_down_delay": 0},
    "canary": {"type": "canary", "steps": CANARY},
    "recreate": {"type": "recreate"},
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
    yield made
    made.rig.close()


def replaced(host: Host, strategy: str, *, to: str = "promote") -> list[Row]:
    """Replace a release by another, through all gates; return what the journal has of that."""
    options: Row = {"strategy": STRATEGIES[strategy], "web": {"replicas": 2}}
    assert host.apply(host.spec("1", IMAGE_ID, **options))["status"] == "done"
    before = len(host.rig_rows())
    second = host.spec("2", OTHER_IMAGE_ID, **options)
    answer = host.apply(second)
    while answer["status"] == "held":
        answer = host.apply(second, to)
    assert answer["status"] == "done"
    return host.rig_rows()[before:]


def states(lane: Lane) -> list[str]:
    return [span.state for span in lane.spans]


def of(found: Timeline, version: str) -> list[Lane]:
    """Return the lanes of a version's replicas."""
    return [lane for lane in found.lanes if lane.version == version and "-" in lane.name]


def made(rows: list[Row]) -> Timeline:
    found = timeline(rows)
    assert found is not None
    return found


def shapes(text: str) -> dict[str, list[str]]:
    """Return the titles of what is drawn, by the first class of the shape."""
    svg = re.search("<svg.*</svg>", text, re.DOTALL)
    assert svg is not None
    by_class: dict[str, list[str]] = {}
    for shape in ElementTree.fromstring(svg[0]).iter():
        title = shape.find("title")
        if title is not None:
            by_class.setdefault(shape.get("class", "").split()[0], []).append(title.text or "")
    return by_class


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_drawn_with_the_states_of_each_replica(host: Host, strategy: str) -> None:
    rows = replaced(host, strategy)
    found = made(rows)
    old, new = of(found, "1"), of(found, "2")
    assert (len(old), len(new)) == (2, 2)
    for lane in old:
        assert states(lane)[0] == SERVING and states(lane)[-1] in (DRAINING, IDLE)
        assert lane.spans[0].since == found.since, "it served before this began"
    for lane in new:
        assert states(lane) in ([STARTING, READY, SERVING], [STARTING, SERVING], [READY, SERVING])
        assert lane.spans[-1].until == found.until
    for lane in (*old, *new):
        times = [time for span in lane.spans for time in (span.since, span.until)]
        assert times == sorted(times)
    drawing = shapes(page(rows))
    for lane in new:
        assert any(title.startswith(f"{lane.name} (2) serving: ") for title in drawing["serving"])
    assert len(drawing["serving"]) == 4 and "failed" not in drawing


def test_recreate_shows_that_nothing_serves_in_between(host: Host) -> None:
    found = made(replaced(host, "recreate"))
    gone = max(lane.spans[-1].until for lane in of(found, "1"))
    assert all(lane.spans[0].since >= gone - 0.05 for lane in of(found, "2"))


@pytest.mark.parametrize(
    ("strategy", "names"),
    [("blue_green", ["approval"]), ("canary", ["2-pause-at-10", "4-pause-at-50"])],
)
def test_gates_are_drawn_from_when_they_are_come_to_until_they_are_passed(
    host: Host, strategy: str, names: list[str]
) -> None:
    rows = replaced(host, strategy)
    found = made(rows)
    assert [(gate.name, gate.open) for gate in found.gates] == [(name, False) for name in names]
    drawing = shapes(page(rows))["gate"]
    assert [title.split(" (")[0] for title in drawing] == [f"gate {name}" for name in names]
    held = [row for row in rows if (row["step"], row["outcome"]) == ("run", "held")]
    only = made(rows[: rows.index(held[0]) + 1])
    assert [gate.open for gate in only.gates] == [True], "the run ended there"
    assert "still waiting" in shapes(page(rows[: rows.index(held[0]) + 1]))["gate"][0]


def test_ro_13_the_share_of_a_canary_is_drawn(host: Host) -> None:
    rows = replaced(host, "canary")
    (lane,) = [lane for lane in made(rows).lanes if lane.name == "share: web"]
    shares = [span.share for span in lane.spans]
    assert shares[:2] == [10.0, 50.0]
    assert all(
        one.until == then.since for one, then in zip(lane.spans, lane.spans[1:], strict=False)
    )
    assert "2 has 10 % of the requests of web: " in " ".join(shapes(page(rows))["share"])


def test_ro_11_a_canary_that_is_given_up_has_no_share_any_more(host: Host) -> None:
    found = made(replaced(host, "canary", to="abort"))
    (lane,) = [lane for lane in found.lanes if lane.name == "share: web"]
    assert [span.share for span in lane.spans] == [10.0]
    assert lane.spans[-1].until < found.until
    assert [gate.open for gate in found.gates] == [False]
    assert states(of(found, "2")[0])[-1] in (DRAINING, IDLE)


def test_what_failed_and_what_was_found_is_told(host: Host) -> None:
    host.apply(host.spec("1"))
    web = {"readiness": {"path": "/never", "successes": 1, "timeout": 1}}
    assert host.apply(host.spec("2", OTHER_IMAGE_ID, web=web))["status"] == "failed"
    rows = host.rig_rows()
    verdict = {"at": "3-analysis", "verdict": "fail", "reason": "<9 of 10> & more failed"}
    last = rows[-1]
    rows.append({**last, "step": "analysis", "outcome": "failed", "detail": verdict})
    rows.append({**last, "step": "task", "outcome": "begin", "detail": {"task": "migrate"}})
    text = page(rows)
    failed = shapes(text)["failed"]
    assert any(title.startswith("ready shop-web-") for title in failed)
    assert "fail at 3-analysis: <9 of 10> & more failed" in failed
    assert "<9 of 10>" not in text and "&lt;9 of 10&gt; &amp; more" in text
    assert [lane.name for lane in made(rows).lanes][-1] == "task migrate"
    assert "run run-1: failed, release 2 " in text


def test_a_page_loads_nothing_and_can_be_of_no_rows_at_all(host: Host) -> None:
    text = drawn(replaced(host, "rolling"), title="a <b> c")
    assert not re.search(r"(?i)https?:|<script|<link|<img|url[(]", text)
    assert "<title>a &lt;b&gt; c</title>" in text
    assert timeline([{"step": "x"}, {"time": True, "step": "x", "outcome": "ok"}]) is None
    assert "has no rows" in drawn([])


@pytest.mark.parametrize("given", ["text", None, [1], {"rows": []}])
def test_what_is_no_list_of_rows_is_refused(given: object) -> None:
    with pytest.raises(AnsibleFilterError, match="timeline: must be given a list of the journal"):
        drawn(given)
