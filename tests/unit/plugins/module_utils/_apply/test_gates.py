# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that stand at gates, from parameters to results: held, promoted, aborted, waited for, delayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import front
from ansible_collections.immutable.cutover.plugins.module_utils._apply.info import release_info
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

THIRD = f"sha256:{'3' * 64}"
OLD, NEW = ("serving", IMAGE_ID), ("serving", OTHER_IMAGE_ID)
PREPARED, DRAINED = ("standby", OTHER_IMAGE_ID), ("standby", IMAGE_ID)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID), image(THIRD))
    yield made
    made.rig.close()


def seen(host: Host) -> list[tuple[str, str]]:
    """Return state and image of what runs, by image."""
    return sorted(host.serving(), key=lambda item: item[1])


def spec(host: Host, version: str, image_id: str, **strategy: Any) -> dict[str, Any]:
    """Return a spec of the strategy blue_green."""
    return host.spec(version, image_id, strategy={"type": "blue_green", **strategy})


def held(host: Host, **strategy: Any) -> dict[str, Any]:
    """Have release 1 run and release 2 wait for approval; return the spec of 2."""
    options = {"approval": True, "scale_down_delay": 0, **strategy}
    assert host.apply(spec(host, "1", IMAGE_ID, **options))["status"] == "done"
    second = spec(host, "2", OTHER_IMAGE_ID, **options)
    answer = host.apply(second)
    assert (answer["status"], answer["hold"]["gate"]) == ("held", "approval")
    return second


def releases(host: Host) -> Releases:
    return Releases(str(host.state_dir), "shop")


def test_a_held_release_has_no_traffic_and_no_lease(host: Host) -> None:
    second = held(host)
    assert seen(host) == [OLD, PREPARED]
    begun = releases(host).begun()
    assert begun is not None and (begun.held, begun.passed) == ("approval", ())
    traces = host.traces()
    again = host.apply(second)
    assert (again["status"], again["changed"], again["journal"]) == ("held", False, [])
    assert host.traces()[0] == traces[0], "held again, nothing is written"
    shown = host.plan(second)
    assert (shown["needed"], shown["after"]) == (False, shown["before"])
    gate = [row for row in host.rig_rows() if row["step"] == "gate"]
    assert [row["outcome"] for row in gate] == ["begin", "held"]


def test_promote_passes_the_gate_once_and_completes(host: Host) -> None:
    second = held(host)
    shown = host.plan(second, "promote")
    answer = host.apply(second, "promote")
    assert (answer["status"], seen(host)) == ("done", [NEW])
    assert (shown["needed"], shown["after"]) == (True, answer["after"])
    assert not any("gate" in line for line in shown["lines"])
    assert releases(host).begun() is None
    again = host.apply(second, "promote")
    assert (again["status"], again["changed"]) == ("done", False)
    assert again["lines"] == ["nothing to promote: no release of shop is under way"]
    assert host.apply(second)["changed"] is False


def test_promote_needs_no_spec_of_the_release(host: Host) -> None:
    """What was begun is what goes on, whatever the file says by now."""
    held(host)
    other = spec(host, "3", THIRD, approval=True, scale_down_delay=0)
    assert host.apply(other, "promote")["status"] == "done"
    assert seen(host) == [NEW]


@pytest.mark.parametrize("name", ["2", "id", f"shop@{OTHER_IMAGE_ID}"])
def test_ro_10_what_was_approved_is_promoted_and_nothing_else(host: Host, name: str) -> None:
    second = held(host)
    begun = releases(host).begun()
    assert begun is not None
    approved = begun.release if name == "id" else name
    refused = r"^release 1\.9 of shop, which was approved, does not wait at a gate: release 2 \(%s\) is there"
    traces = host.traces()
    for call in (front.apply_release, front.plan_release):
        with pytest.raises(CutoverError, match=refused % begun.release):
            call({**host.params(second, "promote"), "approved": "1.9"})
    assert host.traces() == traces
    told = {**host.params(second, "promote"), "approved": approved}
    assert front.apply_release(told)["status"] == "done"
    assert seen(host) == [NEW]
    again = front.apply_release(told)
    assert (again["status"], again["changed"]) == ("done", False), "it runs, that is all right"
    with pytest.raises(CutoverError, match=refused % begun.release):
        front.apply_release({**told, "approved": "1.9"})


def test_ro_10_what_was_given_up_before_the_lease_was_had_is_not_promoted(host: Host) -> None:
    second = held(host)
    params = host.params(second, "promote")
    late = front.Deployment(params, host.engine, front.BoundedClock(host.rig.clock))
    host.apply(second, "abort")
    third = spec(host, "3", THIRD, approval=True)
    assert host.apply(third)["status"] == "held"
    before = seen(host)
    with pytest.raises(
        CutoverError, match=r"^release \w+ of shop does not wait at a gate any more"
    ):
        front.apply_to(late, params)
    begun = releases(host).begun()
    assert begun is not None and (begun.held, begun.passed) == ("approval", ())
    assert seen(host) == before
    assert host.apply(third)["status"] == "held", "the lease was given back"


def test_a_run_that_died_behind_the_gate_goes_on_behind_it(host: Host) -> None:
    second = held(host)
    releases(host).pass_gate("approval")
    assert host.apply(second)["status"] == "done"
    assert seen(host) == [NEW]


def test_ro_11_abort_goes_back_and_where_nothing_is_under_way_does_nothing(host: Host) -> None:
    second = held(host)
    answer = host.apply(second, "abort")
    assert (answer["status"], answer["changed"], seen(host)) == ("done", True, [OLD])
    assert releases(host).begun() is None
    again = host.apply(second, "abort")
    assert (again["status"], again["changed"]) == ("done", False)
    assert seen(host) == [OLD]
    held_again = host.apply(second)
    assert held_again["status"] == "held", "an aborted release asks again"


@pytest.mark.parametrize("name", ["2", "id", f"shop@{OTHER_IMAGE_ID}"])
def test_ro_11_what_was_named_is_aborted_and_nothing_else(host: Host, name: str) -> None:
    second = held(host)
    begun = releases(host).begun()
    assert begun is not None
    traces = host.traces()
    for call in (front.apply_release, front.plan_release):
        other = call({**host.params(second, "abort"), "approved": "1.9"})
        assert (other.get("status", "done"), other["changed"]) == ("done", False)
        assert other["lines"] == [
            f"nothing to abort: release 2 ({begun.release}) of shop is under way, not 1.9; left as it is"
        ]
    assert host.traces() == traces
    meant = begun.release if name == "id" else name
    answer = front.apply_release({**host.params(second, "abort"), "approved": meant})
    assert (answer["status"], answer["changed"], seen(host)) == ("done", True, [OLD])


def test_ro_11_a_begun_release_without_a_record_is_named_by_its_id(host: Host) -> None:
    releases(host).begin(Begun("a" * 8, ""))
    params = host.params(spec(host, "1", IMAGE_ID), "abort")
    assert (
        "release aaaaaaaa of shop is under way"
        in front.apply_release({**params, "approved": "b" * 8})["lines"][0]
    )
    assert front.apply_release({**params, "approved": "a" * 8})["status"] == "done"
    assert releases(host).begun() is None


def test_ro_10_what_was_begun_just_before_is_not_aborted_in_place_of_another(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = held(host)
    params = {**host.params(second, "abort"), "approved": "1.9"}
    monkeypatch.setattr(front, "unneeded", lambda _params: {})
    with pytest.raises(
        CutoverError, match=r"^release 1\.9 of shop, which was to be aborted, is not under way"
    ):
        front.apply_release(params)
    assert seen(host) == [OLD, PREPARED]


def test_ro_02_a_run_that_fails_outside_of_any_step_says_what_it_began(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.apply(spec(host, "1", IMAGE_ID, scale_down_delay=0))
    second = spec(host, "2", OTHER_IMAGE_ID, two_phase=True)

    def refuse() -> bool:
        raise CutoverError("disk full")

    monkeypatch.setattr(host.balancer, "persist", refuse)
    with pytest.raises(CutoverError, match="disk full") as raised:
        host.apply(second)
    begun = releases(host).begun()
    assert begun is not None
    assert raised.value.details["release"] == begun.release
    assert raised.value.details["epoch"] == host.rig.lease.read().epoch


def test_ro_02_a_run_that_never_had_the_lease_began_nothing(host: Host) -> None:
    held(host)
    with pytest.raises(CutoverError, match="promote or abort it first") as raised:
        host.apply(spec(host, "3", THIRD, approval=True))
    assert not {"release", "epoch"} & set(raised.value.details)


def test_ro_11_abort_of_the_first_release_leaves_nothing(host: Host) -> None:
    releases(host).begin(Begun("a" * 8, ""))
    first = spec(host, "1", IMAGE_ID)
    assert host.apply(first, "abort")["status"] == "done"
    assert seen(host) == []
    assert releases(host).begun() is None


def test_a_given_up_release_has_not_passed_its_gates(host: Host) -> None:
    """The undo of a failed run dies: whoever comes next asks again."""
    second = held(host)
    releases(host).pass_gate("approval")
    host.apply(second, "undo", seconds=0.0)
    begun = releases(host).begun()
    assert begun is None or begun.passed == ()


def test_a_new_release_is_refused_while_one_is_held(host: Host) -> None:
    held(host)
    traces = host.traces()
    third = spec(host, "3", THIRD, approval=True)
    with pytest.raises(CutoverError, match="is held at gate approval: promote or abort it first"):
        host.apply(third)
    assert host.traces()[0] == traces[0]


def test_a_new_release_aborts_the_held_one_first_by_choice(host: Host) -> None:
    held(host)
    third = spec(host, "3", THIRD, while_held="abort", scale_down_delay=0)
    answer = host.apply(third)
    assert (answer["status"], answer["held"]["held"]) == ("abort_first", "approval")
    assert host.plan(third)["lines"][0].startswith("abort first: release ")
    assert host.apply(third, "abort")["status"] == "done"
    assert seen(host) == [OLD]
    assert host.apply(third)["status"] == "done"
    assert seen(host) == [("serving", THIRD)]


def test_a_new_release_waits_for_the_held_one_by_choice(host: Host) -> None:
    second = held(host)
    traces = host.traces()
    third = spec(host, "3", THIRD, while_held="wait", scale_down_delay=0)
    answer = host.apply(third)
    assert (answer["status"], answer["changed"]) == ("waiting", False)
    assert "held at gate approval: promote or abort it" in answer["message"]
    assert host.plan(third)["lines"][0].startswith("wait until it is promoted or aborted: release ")
    assert host.traces()[0] == traces[0]
    assert host.apply(second, "promote")["status"] == "done"
    assert host.apply(third)["status"] == "done"
    assert seen(host) == [("serving", THIRD)]


def test_rollback_leaves_a_gate_too(host: Host) -> None:
    second = held(host)
    assert host.apply(second, "previous")["status"] == "done"
    assert (seen(host), releases(host).begun()) == ([OLD], None)


def test_a_pause_goes_on_over_several_calls(host: Host) -> None:
    host.apply(spec(host, "1", IMAGE_ID, scale_down_delay=0))
    second = spec(host, "2", OTHER_IMAGE_ID, pause=2, scale_down_delay=0)
    answer = host.apply(second, seconds=1.0)
    assert answer["status"] == "more"
    assert seen(host) == [OLD, PREPARED]
    calls = 1
    while answer["status"] == "more":
        calls += 1
        answer = host.apply(second, seconds=1.0, resume=answer["resume"], epoch=answer["epoch"])
    assert (answer["status"], seen(host)) == ("done", [NEW])
    gate = [(row["step"], row["outcome"]) for row in host.rig_rows() if row["step"] == "gate"]
    assert gate == [("gate", "begin"), ("gate", "ok")]
    assert calls > 2


def test_what_was_replaced_is_kept_and_a_rollback_starts_nothing(host: Host) -> None:
    host.apply(spec(host, "1", IMAGE_ID))
    second = spec(host, "2", OTHER_IMAGE_ID)
    answer = host.apply(second)
    assert (answer["status"], answer["hold"]["kind"]) == ("delayed", "delay")
    assert seen(host) == [DRAINED, NEW]
    assert (releases(host).begun(), host.rig.lease.read().holder) == (None, None)
    again = host.apply(second)
    assert (again["status"], again["changed"]) == ("delayed", False)
    assert again["hold"]["seconds"] <= 30
    back = host.apply(second, "previous")
    assert (back["status"], seen(host)) == ("done", [OLD])
    verbs = [action.split()[0] for action in back["actions"]]
    assert "start" not in verbs
    assert verbs.index("activate") < verbs.index("drain")


def test_what_was_replaced_goes_when_its_time_is_over(host: Host) -> None:
    host.apply(spec(host, "1", IMAGE_ID, scale_down_delay=1))
    second = spec(host, "2", OTHER_IMAGE_ID, scale_down_delay=1)
    answer = host.apply(second)
    assert answer["status"] == "delayed"
    host.wait(1.1)
    last = host.apply(second, retires=answer["release"])
    assert (last["status"], last["changed"], seen(host)) == ("done", True, [NEW])
    assert host.apply(second)["changed"] is False


@pytest.mark.parametrize("to", ["promote", "finish"])
def test_ro_10_who_retires_what_was_promoted_does_not_begin_what_the_spec_describes(
    host: Host, to: str
) -> None:
    """The spec of a promotion may be another release's."""
    held(host, scale_down_delay=1)
    third = spec(host, "3", THIRD, scale_down_delay=1)
    answer = host.apply(third, to)
    assert (answer["status"], seen(host)) == ("delayed", [DRAINED, NEW])
    host.wait(1.1)
    last = host.apply(third, retires=answer["release"])
    assert (last["status"], last["release"]) == ("done", answer["release"])
    assert seen(host) == [NEW]
    assert releases(host).completed()[-1] == answer["release"]


def test_who_would_retire_it_finds_that_another_run_came_in_between(host: Host) -> None:
    host.apply(spec(host, "1", IMAGE_ID))
    second = spec(host, "2", OTHER_IMAGE_ID)
    release = host.apply(second)["release"]
    host.apply(second, "previous")
    answer = host.apply(second, retires=release)
    assert (answer["status"], answer["changed"], seen(host)) == ("done", False, [OLD])
    assert "another run came in between" in answer["lines"][0]


def test_who_would_retire_it_leaves_alone_what_waits_at_a_gate_by_now(host: Host) -> None:
    host.apply(spec(host, "1", IMAGE_ID))
    second = spec(host, "2", OTHER_IMAGE_ID)
    release = host.apply(second)["release"]
    assert host.apply(spec(host, "3", THIRD, approval=True))["status"] == "held"
    answer = host.apply(second, retires=release)
    assert (answer["status"], answer["changed"]) == ("done", False)
    assert seen(host) == [NEW, ("standby", THIRD)], (
        "the third has taken away what the second replaced"
    )


def test_a_failure_in_prepare_moves_no_traffic_and_leaves_nothing(host: Host) -> None:
    host.apply(spec(host, "1", IMAGE_ID))
    second = spec(host, "2", OTHER_IMAGE_ID)
    second["processes"]["web"]["readiness"] = {"path": "/never", "successes": 1, "timeout": 1}
    answer = host.apply(second, undo_follows=True)
    assert (answer["status"], answer["worth_undoing"]) == ("failed", True)
    assert seen(host)[0] == OLD
    assert not any(call in answer["actions"] for call in ("activate", "drain"))
    assert host.apply(second, "undo", epoch=answer["epoch"])["status"] == "done"
    assert seen(host) == [OLD]


def test_recreate_has_nothing_of_the_old_when_the_new_starts(host: Host) -> None:
    recreate: dict[str, Any] = {"strategy": {"type": "recreate"}}
    host.apply(host.spec("1", **recreate))
    second = host.spec("2", OTHER_IMAGE_ID, **recreate)
    assert any("NOT zero-downtime" in line for line in host.plan(second)["lines"])
    answer = host.apply(second)
    assert (answer["status"], seen(host)) == ("done", [NEW])
    verbs = [action.split()[0] for action in answer["actions"]]
    assert verbs.index("destroy") < verbs.index("start")


def test_a_recreate_that_fails_in_its_drain_brings_the_old_back(host: Host) -> None:
    """Nothing serves meanwhile, so it is worth it."""
    web = {"drain": {"timeout": 1}}
    host.apply(host.spec("1", web=web, strategy={"type": "recreate"}))
    (name,) = host.rig.phases()
    host.balancer.work(name, 1)
    second = host.spec("2", OTHER_IMAGE_ID, web=web, strategy={"type": "recreate"})
    answer = host.apply(second, undo_follows=True)
    assert (answer["status"], answer["worth_undoing"]) == ("failed", True)
    assert answer["failed_step"]["verb"] == "await"
    assert host.apply(second, "undo", epoch=answer["epoch"])["status"] == "done"
    assert seen(host) == [OLD]


def test_the_status_says_what_is_held(host: Host) -> None:
    held(host)
    info = release_info("shop", None, str(host.state_dir), 9, host.engine, host.rig.clock)
    assert info["under_way"]["held"] == "approval"
    assert f"{info['under_way']['release']}), held at gate approval" in info["lines"][-2]
    assert info["next"] == ["run promote to pass the gate approval, or abort to go back"]
