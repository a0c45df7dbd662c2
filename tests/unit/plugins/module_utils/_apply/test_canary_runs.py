# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Canary releases from parameters to results: held, promoted, aborted, failed, refused, begun again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

THIRD = f"sha256:{'3' * 64}"
OLD, NEW = ("serving", IMAGE_ID), ("serving", OTHER_IMAGE_ID)
OTHER = {"run": "run-2", "user": "bob"}
HELD = [{"weight": 10}, {"pause": {}}, {"weight": 50}, {"pause": {}}]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID), image(THIRD))
    yield made
    made.rig.close()


def spec(host: Host, version: str, image_id: str, **strategy: Any) -> dict[str, Any]:
    """Return a spec of two replicas and the strategy canary."""
    whole = {"type": "canary", "steps": HELD, **strategy}
    return host.spec(version, image_id, strategy=whole, web={"replicas": 2})


def held(host: Host, **strategy: Any) -> dict[str, Any]:
    """Have release 1 run and release 2 wait at its first gate; return the spec of 2."""
    assert host.apply(spec(host, "1", IMAGE_ID))["status"] == "done"
    second = spec(host, "2", OTHER_IMAGE_ID, **strategy)
    assert host.apply(second)["status"] == "held"
    return second


def seen(host: Host) -> list[tuple[str, str]]:
    return sorted(host.serving(), key=lambda item: item[1])


def weights(host: Host) -> list[int]:
    return [target.weight for target in host.balancer.targets()]


def test_the_first_release_waits_for_nobody(host: Host) -> None:
    answer = host.apply(spec(host, "1", IMAGE_ID))
    assert (answer["status"], seen(host), weights(host)) == ("done", [OLD, OLD], [1, 1])


def test_ro_13_a_held_canary_serves_its_share_beside_the_whole_stable_set(host: Host) -> None:
    second = held(host)
    assert seen(host) == [OLD, OLD, NEW]
    assert sorted(weights(host)) == [2, 9, 9]
    host.balancer.restart()
    assert sorted(weights(host)) == [2, 9, 9], "persisted"
    again = host.apply(second)
    assert (again["status"], again["changed"]) == ("held", False)


def test_check_mode_shows_the_way_to_the_gate(host: Host) -> None:
    assert host.apply(spec(host, "1", IMAGE_ID))["status"] == "done"
    second = spec(host, "2", OTHER_IMAGE_ID)
    shown = host.plan(second)
    lines = " ".join(shown["lines"])
    assert (
        "web: weigh 9 (shop-web-" in lines
        and "gate 2-pause-at-10: waits until it is promoted" in lines
    )
    real = host.apply(second)
    names = [[item["name"] for item in side["after"]["web"]] for side in (shown, real)]
    assert names[0] == names[1]


def test_promote_goes_on_gate_by_gate(host: Host) -> None:
    second = held(host)
    answer = host.apply(second, "promote")
    assert (answer["status"], answer["hold"]["gate"]) == ("held", "4-pause-at-50")
    assert sorted(weights(host)) == [1, 1, 2]
    answer = host.apply(second, "promote")
    assert (answer["status"], seen(host), weights(host)) == ("done", [NEW, NEW], [1, 1])
    assert not host.apply(second)["changed"]


def test_ro_11_abort_gives_back_equal_weights(host: Host) -> None:
    second = held(host)
    answer = host.apply(second, "abort")
    assert (answer["status"], seen(host), weights(host)) == ("done", [OLD, OLD], [1, 1])
    assert host.apply(second, "abort")["changed"] is False


def test_a_third_release_never_overlaps(host: Host) -> None:
    held(host)
    third = spec(host, "3", THIRD)
    with pytest.raises(Exception, match="is held at gate 2-pause-at-10: promote or abort it first"):
        host.apply(third)
    assert seen(host) == [OLD, OLD, NEW]


def left_in_a_pause(host: Host) -> int:
    """Have the canary of release 2 serve, and its run die; return the epoch."""
    assert host.apply(spec(host, "1", IMAGE_ID))["status"] == "done"
    second = spec(host, "2", OTHER_IMAGE_ID, steps=[{"weight": 10}, {"pause": 600}])
    answer = host.apply(second, seconds=2)
    assert (answer["status"], seen(host)) == ("more", [OLD, OLD, NEW])
    return int(answer["epoch"])


def test_ro_18_a_canary_whose_run_died_is_aborted_before_a_third_release_begins(host: Host) -> None:
    epoch = left_in_a_pause(host)
    third = spec(host, "3", THIRD)
    assert host.plan(third)["lines"][0].startswith("abort first, unless its run lives: release ")
    before = seen(host), weights(host)
    answer = host.apply(third, holder=OTHER, take_over=epoch)
    assert (answer["status"], answer["held"]["held"]) == ("abort_first", "")
    assert (seen(host), weights(host)) == before, "nothing of the third one is there"
    holder = Lease(str(host.state_dir), "shop", SystemClock()).read().holder
    assert holder is not None and holder.run == "run-2", "nobody comes in between"
    assert host.apply(third, "abort", holder=OTHER)["status"] == "done"
    assert (seen(host), weights(host)) == ([OLD, OLD], [1, 1])
    assert host.apply(third, holder=OTHER)["status"] == "held"
    assert seen(host) == [OLD, OLD, ("serving", THIRD)]
    runs = [(row["outcome"], row["release"]) for row in host.rig_rows() if row["step"] == "run"]
    assert [outcome for outcome, _release in runs][-5:] == [
        *("interrupted", "begin", "done"),
        *("begin", "held"),
    ]


def test_a_living_canary_is_waited_for_and_not_aborted(host: Host) -> None:
    left_in_a_pause(host)
    answer = host.apply(spec(host, "3", THIRD), holder=OTHER, waits=60.0)
    assert answer["status"] == "waiting"


def test_a_rolling_release_that_was_left_half_way_is_replaced_at_once(host: Host) -> None:
    rolling = {"type": "rolling", "max_surge": 1}
    two: Any = {"replicas": 2}
    assert host.apply(host.spec("1", IMAGE_ID, strategy=rolling, web=dict(two)))["status"] == "done"
    slow = {**rolling, "min_ready_seconds": 600}
    left = host.apply(host.spec("2", OTHER_IMAGE_ID, strategy=slow, web=dict(two)), seconds=2)
    assert (left["status"], seen(host)) == ("more", [OLD, OLD, NEW])
    third = host.spec("3", THIRD, strategy=rolling, web=dict(two))
    answer = host.apply(third, holder=OTHER, take_over=left["epoch"])
    assert answer["status"] == "done"
    assert seen(host) == [("serving", THIRD), ("serving", THIRD)]


def test_a_run_that_begins_again_goes_on_behind_what_was_passed(host: Host) -> None:
    steps = [{"weight": 10}, {"pause": 1}, {"weight": 50}, {"pause": {}}]
    second = held(host, steps=steps)
    gates = [row for row in host.rig_rows() if row["step"] == "gate" and row["outcome"] == "ok"]
    assert len(gates) == 1
    host.balancer.set_weights(dict.fromkeys([t.name for t in host.balancer.targets()], 1))
    again = host.apply(second, run="run-2")
    assert again["status"] == "held"
    assert sorted(weights(host)) == [1, 1, 2]
    rows = [row for row in host.rig_rows() if row["step"] == "gate" and row["outcome"] == "ok"]
    assert rows == gates


def test_ro_14_errors_end_the_run_and_are_worth_undoing(host: Host) -> None:
    assert host.apply(spec(host, "1", IMAGE_ID))["status"] == "done"
    second = spec(host, "2", OTHER_IMAGE_ID, steps=[{"weight": 10}, {"pause": 600}])
    answer = host.apply(second, seconds=3)
    assert answer["status"] == "more"
    new = next(name for name in host.rig.phases() if answer["release"] in name)
    host.balancer.count_traffic(new, 50, 10)
    failed = host.apply(
        second, seconds=3, epoch=answer["epoch"], resume=answer["resume"], undo_follows=True
    )
    assert (failed["status"], failed["worth_undoing"]) == ("failed", True)
    assert "10 of 50 requests failed (20.0 %)" in failed["error"]
    undone = host.apply(second, "undo", epoch=failed["epoch"])
    assert (undone["status"], seen(host), weights(host)) == ("done", [OLD, OLD], [1, 1])


def test_b60_a_balancer_that_shares_by_something_else_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    can = replace(host.balancer.probe(), shares=False, balance="leastconn")
    monkeypatch.setattr(host.balancer, "probe", lambda: can)
    before = host.traces()
    with pytest.raises(InvalidInput, match="strategy.type: needs .* balances by leastconn") as no:
        host.apply(spec(host, "1", IMAGE_ID))
    assert "string 'canary'" in no.value.message
    assert host.traces() == before


def test_an_expression_that_is_none_is_refused_before_anything_changes(host: Host) -> None:
    asked = {"url": "http://m.example/", "success_condition": "a ||"}
    steps = [{"weight": 10}, {"analysis": asked}]
    with pytest.raises(
        InvalidInput, match=r"strategy.steps\[1\].analysis.success_condition: not a"
    ):
        host.apply(spec(host, "1", IMAGE_ID, steps=steps))
