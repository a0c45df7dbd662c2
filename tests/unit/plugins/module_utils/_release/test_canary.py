# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""The strategy canary: RO-13 (the share) and the way through its steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._release import (
    canary,
    rolling,
    weights,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import decide, plan
from ansible_collections.immutable.cutover.plugins.module_utils._release.simulate import simulate
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Verb
from ansible_collections.immutable.cutover.plugins.module_utils._release.weights import shares
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    World,
    serving_count,
)
from ansible_collections.immutable.cutover.tests.unit.support.worlds import (
    PROCESS,
    batches,
    canary_goal,
    goal,
    track,
    world,
)

UP = "start ready register activate confirm"
GONE = "await deregister destroy"
ROLL = ["weigh b1*1 a1*1 a2*1", "a1 drain", f"a1 {GONE} | b2 {UP}", "a2 drain", f"a2 {GONE}"]

# (id, what is seen, what is wanted, the batches)
PLANS = [
    (
        "whole-way",
        "a1:serving a2:serving",
        canary_goal("b", 2, "10 pause 50 hold analysis"),
        [
            "weigh a1*9 a2*9",
            "b1 start ready register activate*2 confirm",
            "2-pause-at-10 pause 60",
            "weigh a1*1 a2*1",
            "4-pause-at-50 approval 0",
            "5-analysis-at-50 analysis 60",
            "weigh b1*1",
            *ROLL[1:],
        ],
    ),
    ("first-release", "", canary_goal("b", 2, "10 hold"), [f"b1 {UP} | b2 {UP}"]),
    ("done", "b1:serving b2:serving", canary_goal("b", 2, "10 hold"), []),
    ("scale-up", "b1:serving", canary_goal("b", 2, "10 hold"), [f"b2 {UP}"]),
    ("at-the-gate", "a1:serving*9 a2:serving*9 b1:serving*2", canary_goal("b", 2, "10 hold"), ["2-pause-at-10 approval 0", *ROLL]),
    ("passed", "a1:serving*9 a2:serving*9 b1:serving*2", canary_goal("b", 2, "10 hold", "2"), ROLL),
    (
        "next-weight", "a1:serving*9 a2:serving*9 b1:serving*2", canary_goal("b", 2, "10 hold 50 hold", "2"),
        ["weigh a1*1 a2*1", "4-pause-at-50 approval 0", "weigh b1*1", *ROLL[1:]],
    ),
    ("ends-with-a-weight", "a1:serving*9 a2:serving*9 b1:serving*2", canary_goal("b", 2, "10 hold 50", "2"), ROLL),
    # Weight 0: up without a share, for requests that ask for it.
    (
        "who-asks", "a1:serving a2:serving", canary_goal("b", 2, "0 hold 10 hold"),
        [
            "b1 start ready register check", "2-pause-at-0 approval 0", "weigh a1*9 a2*9",
            "b1 ready register activate*2 confirm", "4-pause-at-10 approval 0", *ROLL,
        ],
    ),
    (
        "only-who-asks", "a1:serving a2:serving b1:standby", canary_goal("b", 2, "0 hold"),
        ["2-pause-at-0 approval 0", "b1 ready register activate confirm", *ROLL[1:]],
    ),
    ("undo-who-asks", "a1:serving a2:serving b1:draining", goal("a", 2), [f"b1 {GONE}"]),
    # What is seen is put right: weights, canary, an old target without its container.
    ("weights-lost", "a1:serving a2:serving b1:serving", canary_goal("b", 2, "10 hold"), ["weigh a1*9 a2*9 b1*2", "2-pause-at-10 approval 0", *ROLL]),
    (
        "canary-died", "a1:serving*9 a2:serving*9 b1:dead,active*2", canary_goal("b", 2, "10 hold"),
        [f"b1 drain {GONE}", "b1 start ready register activate*2 confirm", "2-pause-at-10 approval 0", *ROLL],
    ),
    (
        "canary-standby", "a1:serving*9 a2:serving*9 b1:standby*2", canary_goal("b", 2, "10 hold"),
        ["b1 ready register activate*2 confirm", "2-pause-at-10 approval 0", *ROLL],
    ),
    (
        "stable-died", "a1:serving*9 a2:dead,active*9 b1:serving*2", canary_goal("b", 2, "10 hold"),
        [f"weigh b1*1 | a2 drain {GONE}", "2-pause-at-10 approval 0", "weigh a1*1", f"b2 {UP}", "a1 drain", f"a1 {GONE}"],
    ),
    # Sick stable replicas may get well: they are kept, and with none that serves the weights stay.
    (
        "all-stable-sick", "a1:sick*9 a2:sick*9 b1:serving*2", canary_goal("b", 2, "10 hold"),
        ["2-pause-at-10 approval 0", "weigh b1*1 a1*1 a2*1", f"b2 {UP}", f"a1 drain {GONE} | a2 drain {GONE}"],
    ),
    (
        "two-canaries", "a1:serving a2:serving", canary_goal("b", 2, "10 hold", canary=2),
        [
            "weigh a1*9 a2*9",
            "b1 start ready register activate*1 confirm | b2 start ready register activate*1 confirm",
            "2-pause-at-10 approval 0", "weigh a1*1 a2*1", "a1 drain | a2 drain", f"a1 {GONE} | a2 {GONE}",
        ],
    ),
    # Going back is no canary: what is new goes first, and only then do weights become equal again.
    ("undo", "a1:serving*9 a2:serving*9 b1:serving*2", goal("a", 2), ["b1 drain", f"b1 {GONE} | weigh a1*1 a2*1"]),
    ("undo-standby", "a1:serving*9 a2:serving*9 b1:standby*2", goal("a", 2), [f"b1 {GONE} | weigh a1*1 a2*1"]),
    # Beside the targets of other hosts: whatever the shares, together they weigh what the host's replicas always do.
    (
        "fleet", "a1:serving*64 a2:serving*64", replace(canary_goal("b", 2, "10 hold"), equal=64),
        [
            "weigh a1*54 a2*54", "b1 start ready register activate*12 confirm", "2-pause-at-10 approval 0",
            "weigh a1*64 a2*64 b1*64", "a1 drain", f"a1 {GONE} | b2 start ready register activate*64 confirm", *ROLL[3:],
        ],
    ),
    (
        "fleet-rolling", "a1:serving*64", replace(goal("b", 1), equal=64),
        ["b1 start ready register activate*64 confirm", "a1 drain", f"a1 {GONE}"],
    ),
    ("fleet-undo", "a1:serving*58 b1:serving*13", replace(goal("a", 1), equal=64), ["b1 drain", f"b1 {GONE} | weigh a1*64"]),
    (
        "rolling-after-weights", "a1:serving*9 a2:serving*9", goal("b", 2, 2),
        [f"b1 {UP} | b2 {UP} | weigh a1*1 a2*1", "a1 drain | a2 drain", f"a1 {GONE} | a2 {GONE}"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "wanted", "way"), [pytest.param(*row[1:], id=row[0]) for row in PLANS]
)
def test_plan(seen: str, wanted: Goal, way: list[str]) -> None:
    assert batches(plan(wanted, world(seen))) == way


def test_while_weights_are_set_no_canary_comes_up() -> None:
    wanted, seen = canary_goal("b", 2, "10 hold"), world("a1:serving a2:serving")
    assert [track(item) for item in decide(wanted, seen).tracks] == ["weigh a1*9 a2*9"]
    assert decide(wanted, seen, frozenset({PROCESS})).tracks == ()


def test_a_gate_is_reached_only_when_nothing_is_under_way() -> None:
    wanted = canary_goal("b", 2, "10 hold")
    seen = world("a1:serving*9 a2:serving*9 b1:serving*2", settled=True)
    assert decide(wanted, seen).hold is not None
    busy = decide(wanted, seen, frozenset({seen.replicas[2].name}))
    assert (busy.tracks, busy.hold) == ((), None)
    unsettled = decide(wanted, world("a1:serving*9 a2:serving*9 b1:serving*2"))
    assert [track(item) for item in unsettled.tracks] == ["b1 confirm"] and unsettled.hold is None


def test_a_gate_names_its_place_so_that_another_step_there_is_another_gate() -> None:
    passed = canary_goal("b", 2, "10 pause", "2").passed
    assert canary.position(replace(canary_goal("b", 2, "20 pause"), passed=passed)).hold is not None
    step = canary.step_of(canary_goal("b", 2, "10 analysis"), "2-analysis-at-10")
    assert step is not None and step.kind == "analysis"
    assert canary.step_of(canary_goal("b", 2, "10 analysis"), "approval") is None


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 99), st.integers(1, 100), st.integers(1, 100))
def test_ro_13_no_other_weights_give_a_better_share(
    percent: int, stable: int, canaries: int
) -> None:
    def off(old: int, new: int) -> float:
        return abs(canaries * new / (canaries * new + stable * old) - percent / 100)

    found = shares(percent, stable, canaries)
    assert all(1 <= weight <= 256 for weight in found)
    best = min(off(old, new) for old in range(1, 257) for new in range(1, 257))
    assert off(*found) <= best + 1e-9


@pytest.mark.parametrize(
    ("percent", "stable", "canaries", "weights"),
    [
        (10, 4, 1, (9, 4)),
        (50, 3, 3, (1, 1)),
        (1, 1, 1, (99, 1)),
        (5, 4, 2, (19, 2)),
        (99, 1, 1, (1, 99)),
        (99, 5, 1, (1, 256)),
    ],
)
def test_ro_13_weights(percent: int, stable: int, canaries: int, weights: tuple[int, int]) -> None:
    assert shares(percent, stable, canaries) == weights


@settings(max_examples=200)
@given(st.integers(1, 99), st.integers(1, 30), st.integers(1, 30))
def test_ro_13_beside_other_hosts_a_host_keeps_its_part_of_the_requests(
    percent: int, stable: int, canaries: int
) -> None:
    old, new = shares(percent, stable, canaries, weights.FLEET)
    part = stable * weights.FLEET
    total = canaries * new + stable * old
    assert 1 <= old <= 256 and 1 <= new <= 256
    assert total <= 1.1 * part + canaries
    if part * percent / 100 <= canaries * 256:
        assert total >= 0.9 * part - canaries / 2 - stable
        assert abs(100 * canaries * new / total - percent) <= max(2.0, 100 * canaries / part)


STEPS = st.lists(st.sampled_from(["pause", "hold", "analysis"]), max_size=3)


@given(
    stable=st.integers(1, 5),
    replicas=st.integers(1, 5),
    count=st.integers(1, 3),
    gates=STEPS,
    shape=st.sampled_from([(1, 0), (2, 0), (0, 1), (1, 1)]),
)
def test_ro_13_no_step_takes_stable_capacity_and_no_share_is_above_what_the_steps_say(
    stable: int, replicas: int, count: int, gates: list[str], shape: tuple[int, int]
) -> None:
    words = " ".join(f"{weight} {gate}" for weight, gate in zip((5, 20, 60), gates, strict=False))
    wanted = canary_goal("b", replicas, words or "5 hold", canary=min(count, replicas))
    small = replace(wanted.wants[0], max_surge=shape[0], max_unavailable=shape[1])
    wanted = replace(wanted, wants=(small,))
    seen = world(" ".join(f"a{n}:serving" for n in range(1, stable + 1)), settled=True)
    highest = 0.0
    for batch in plan(wanted, seen).batches:
        if batch.hold is not None and not batch.tracks:
            assert serving_count(seen, PROCESS) == stable + small.canary
            highest = _percent(seen)
            assert highest <= canary.position(wanted).percent + 1.5
            wanted = replace(wanted, passed=wanted.passed | {batch.hold.gate})
        for item in batch.tracks:
            for step in item.steps:
                seen = simulate(wanted, seen, step)
                if canary.position(wanted).hold is not None:
                    assert step.verb is not Verb.DRAIN
                    limit = max(highest, canary.position(wanted).percent + 1.5)
                    assert _percent(seen) <= limit
    assert {replica.release for replica in seen.replicas} == {small.release}
    assert all(
        target.weight == 1 for replica in seen.replicas for target in replica.targets if target
    )


def _percent(seen: World) -> float:
    """Return the share of requests that canaries get."""
    parts = {"a": 0, "b": 0}
    for replica in seen.replicas:
        if replica.phase is Phase.SERVING and replica.targets[0] is not None:
            parts[replica.release[0]] += replica.targets[0].weight
    return 100 * parts["b"] / max(1, sum(parts.values()))


# Each mutant takes one thing away that the tables above must miss.
MUTANTS = {
    "weights-last": (canary, "_COMES_UP", frozenset()),
    "drains-stable": (canary, "_takes_away_what_serves", lambda _track, _world: False),
    "no-weight-on-activate": (weights, "with_weight", lambda item, _weight: item),
    "no-equal-weights": (canary, "_replace", lambda goal, want, seen, busy: list(rolling.decide(replace(goal, wants=(want,)), seen, busy).tracks)),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, other = MUTANTS[mutant]
    monkeypatch.setattr(where, name, other)
    ways = [(batches(plan(row[2], world(row[1]))), row[3]) for row in PLANS]
    assert any(found != way for found, way in ways)
