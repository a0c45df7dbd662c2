# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""Plans of the strategies blue_green and recreate, from every world that a run may have left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import decide, plan
from ansible_collections.immutable.cutover.plugins.module_utils._release.render import lines
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold, Verb
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import Phase
from ansible_collections.immutable.cutover.tests.unit.support.worlds import (
    batches,
    blue_green,
    recreate,
    track,
    world,
)

UP = "start ready register activate confirm"
PREPARE = "start ready register check"
LOOK = "ready register check"
SWITCH = "activate confirm"
GONE = "await deregister destroy"
APPROVAL, PAUSE = Hold("approval", "approval"), Hold("pause", "pause", 5)

# (id, what is seen, what is wanted, the batches)
PLANS = [
    (
        "switch",
        "a1:serving a2:serving",
        blue_green("b", 2),
        [
            f"b1 {PREPARE} | b2 {PREPARE}",
            f"b1 {SWITCH} | b2 {SWITCH}",
            "a1 drain | a2 drain",
            f"a1 {GONE} | a2 {GONE}",
        ],
    ),
    (
        "gates-and-delay",
        "a1:serving",
        blue_green("b", 1, gates=(PAUSE, APPROVAL), delay=30),
        [
            f"b1 {PREPARE}",
            "pause pause 5",
            "approval approval 0",
            f"b1 {SWITCH}",
            "a1 drain",
            "scale_down delay 30",
            f"a1 {GONE}",
        ],
    ),
    (
        "a-gate-that-was-passed",
        "a1:serving b1:standby",
        blue_green("b", 1, gates=(PAUSE, APPROVAL), passed=frozenset({"pause", "approval"})),
        [f"b1 {SWITCH}", "a1 drain", f"a1 {GONE}"],
    ),
    (
        "the-first-waits-for-nobody",
        "",
        blue_green("b", 1, gates=(APPROVAL,), delay=9),
        [f"b1 {PREPARE}", f"b1 {SWITCH}"],
    ),
    (
        "held",
        "a1:serving b1:standby",
        blue_green("b", 1, gates=(APPROVAL,)),
        ["approval approval 0", f"b1 {SWITCH}", "a1 drain", f"a1 {GONE}"],
    ),
    (
        "kept",
        "a1:draining b1:serving",
        blue_green("b", 1, delay=12, took_over=True),
        ["scale_down delay 12", f"a1 {GONE}"],
    ),
    (
        "its-time-is-over",
        "a1:draining b1:serving",
        blue_green("b", 1, took_over=True),
        [f"a1 {GONE}"],
    ),
    (
        "flip",
        "a1:draining b1:serving",
        blue_green("a", 1, gates=(APPROVAL,), going_back=True),
        [f"a1 {SWITCH}", "b1 drain", f"b1 {GONE}"],
    ),
    (
        "never-three-sets",
        "a1:draining b1:serving",
        blue_green("c", 1, delay=9),
        [
            f"c1 {PREPARE} | a1 {GONE}",
            f"c1 {SWITCH}",
            "b1 drain",
            "scale_down delay 9",
            f"b1 {GONE}",
        ],
    ),
    (
        "what-is-replaced-is-no-leftover",
        "a1:serving a2:draining",
        blue_green("b", 2),
        [
            f"b1 {PREPARE} | b2 {PREPARE}",
            f"b1 {SWITCH} | b2 {SWITCH}",
            "a1 drain",
            f"a1 {GONE} | a2 {GONE}",
        ],
    ),
    (
        "a-repair-keeps-what-was-replaced",
        "a1:draining b1:dead,active",
        blue_green("b", 1, delay=9, took_over=True),
        [
            "b1 drain await deregister destroy",
            f"b1 {PREPARE}",
            f"b1 {SWITCH}",
            "scale_down delay 9",
            f"a1 {GONE}",
        ],
    ),
    (
        "died-in-the-switch",
        "a1:serving a2:serving b1:serving b2:standby",
        blue_green("b", 2),
        [f"b2 {SWITCH}", "a1 drain | a2 drain", f"a1 {GONE} | a2 {GONE}"],
    ),
    (
        "died-in-the-drain",
        "a1:draining a2:serving b1:serving b2:serving",
        blue_green("b", 2, delay=5),
        ["a2 drain", "scale_down delay 5", f"a1 {GONE} | a2 {GONE}"],
    ),
    (
        "given-up-in-the-switch",
        "a1:serving b1:serving b2:standby",
        blue_green("a", 1, going_back=True),
        ["b1 drain", f"b1 {GONE} | b2 {GONE}"],
    ),
    (
        "after-a-restart-of-haproxy",
        "a1:serving b1:running,maintenance",
        blue_green("b", 1),
        [f"b1 {LOOK}", f"b1 {SWITCH}", "a1 drain", f"a1 {GONE}"],
    ),
    (
        "scale-down",
        "b1:serving b2:serving",
        blue_green("b", 1, delay=9),
        ["b2 drain", f"b2 {GONE}"],
    ),
    (
        "scale-up",
        "b1:serving",
        blue_green("b", 2, gates=(APPROVAL,)),
        [f"b2 {PREPARE}", f"b2 {SWITCH}"],
    ),
    (
        "nothing-is-to-run",
        "a1:serving b1:standby",
        blue_green("b", 0, going_back=True),
        ["a1 drain", f"a1 {GONE} | b1 {GONE}"],
    ),
    ("same", "b1:serving", blue_green("b", 1), []),
    (
        "recreate",
        "a1:serving a2:serving",
        recreate("b", 2),
        [f"a1 drain {GONE} | a2 drain {GONE}", f"b1 {UP} | b2 {UP}"],
    ),
    ("recreate-first", "", recreate("b", 1), [f"b1 {UP}"]),
    ("recreate-same", "b1:serving", recreate("b", 1), []),
    (
        "recreate-died-in-the-drain",
        "a1:draining a2:serving",
        recreate("b", 1),
        [f"a1 {GONE} | a2 drain {GONE}", f"b1 {UP}"],
    ),
    (
        "recreate-died-between",
        "a1:missing,draining",
        recreate("b", 1),
        ["a1 await deregister", f"b1 {UP}"],
    ),
    (
        "recreate-died-on-the-way-up",
        "b1:started",
        recreate("b", 1),
        [f"b1 {UP.removeprefix('start ')}"],
    ),
    ("recreate-scale-down", "b1:serving b2:serving", recreate("b", 1), [f"b2 drain {GONE}"]),
    ("recreate-dead", "b1:dead,active", recreate("b", 1), [f"b1 drain {GONE}", f"b1 {UP}"]),
]


@pytest.mark.parametrize(
    ("seen", "wanted", "expected"), [row[1:] for row in PLANS], ids=[row[0] for row in PLANS]
)
def test_plans(seen: str, wanted: Goal, expected: list[str]) -> None:
    assert batches(plan(wanted, world(seen, settled=True))) == expected


def test_nothing_is_switched_before_all_is_prepared() -> None:
    """One that was checked waits for the other one."""
    seen = replace(
        world("a1:serving a2:serving b1:standby b2:started"),
        checked=frozenset({"shop-web-bbbbbbbb-1"}),
    )
    decision = decide(blue_green("b", 2), seen)
    assert [track(item) for item in decision.tracks] == [f"b2 {LOOK}"]


def test_nothing_is_drained_before_all_is_switched_and_confirmed() -> None:
    seen = world("a1:serving a2:serving b1:serving b2:serving")
    assert [track(item) for item in decide(blue_green("b", 2), seen).tracks] == [
        "b1 confirm",
        "b2 confirm",
    ]
    busy = frozenset({"shop-web-bbbbbbbb-2"})
    assert (
        decide(
            blue_green("b", 2), world("a1:serving b1:serving b2:serving", settled=True), busy
        ).tracks
        == ()
    )


def test_a_new_run_looks_again_before_it_switches() -> None:
    """What an earlier run has found ready is not believed."""
    decision = decide(
        blue_green("b", 1, passed=frozenset({"approval"})), world("a1:serving b1:standby")
    )
    assert [track(item) for item in decision.tracks] == [f"b1 {LOOK}"]


@pytest.mark.parametrize(("back", "steps"), [(True, LOOK), (False, "ready warm register check")])
def test_only_going_back_skips_the_warm_up_of_what_served_before(back: bool, steps: str) -> None:
    wanted = blue_green("a", 1, going_back=back)
    wanted = replace(wanted, wants=(replace(wanted.wants[0], warm_up=True),))
    decision = decide(wanted, world("a1:draining b1:serving"))
    assert [track(item) for item in decision.tracks] == [f"a1 {steps}"]


def test_recreate_starts_nothing_while_anything_old_is_there() -> None:
    busy = frozenset({"shop-web-aaaaaaaa-1"})
    assert decide(recreate("b", 1), world("a1:draining"), busy).tracks == ()


def test_the_plan_says_what_is_not_zero_downtime() -> None:
    seen = world("a1:serving", settled=True)
    assert "NOT zero-downtime: nothing of web serves for a while" in lines(
        plan(recreate("b", 1), seen)
    )
    assert not any("NOT" in line for line in lines(plan(blue_green("b", 1), seen)))


def test_the_plan_shows_its_gates() -> None:
    shown = lines(
        plan(
            blue_green("b", 1, gates=(PAUSE, APPROVAL), delay=30), world("a1:serving", settled=True)
        )
    )
    assert [line.split(". ")[1] for line in shown if "gate" in line] == [
        "gate pause: waits 5 s",
        "gate approval: waits until it is promoted or aborted",
        "gate scale_down: what was replaced is kept, drained, for 30 s",
    ]


KINDS = st.sampled_from(
    [
        "serving",
        "draining",
        "standby",
        "running,maintenance",
        "sick",
        "started",
        "elsewhere",
        "dead,active",
        "dead",
        "missing,active",
        "running,active,none",
    ]
)
WORLDS = st.dictionaries(st.sampled_from(["a1", "a2", "b1", "b2", "c1"]), KINDS, max_size=5)


@given(
    seen=WORLDS,
    kind=st.sampled_from(["blue_green", "recreate"]),
    replicas=st.integers(0, 3),
    back=st.booleans(),
    took=st.booleans(),
    delay=st.integers(0, 1),
    gated=st.booleans(),
)
def test_every_world_converges(
    seen: dict[str, str], kind: str, replicas: int, back: bool, took: bool, delay: int, gated: bool
) -> None:
    """Whatever a run left, the plan ends with what is wanted and nothing else; blue_green takes nothing away too soon."""
    options = {
        "going_back": back,
        "took_over": took,
        "delay": delay,
        "gates": (APPROVAL,) if gated else (),
    }
    wanted = (
        blue_green("b", replicas, **options) if kind == "blue_green" else recreate("b", replicas)
    )
    text = " ".join(f"{name}:{phase}" for name, phase in seen.items())
    made = plan(wanted, world(text, settled=True), limit=40)
    assert dict(made.after)["web"] == replicas
    if kind == "blue_green" and replicas:
        active = sum(item.phase is Phase.SERVING for item in world(text).replicas)
        assert dict(made.lowest)["web"] >= min(active, replicas)
    if kind == "recreate":
        verbs = [step for step in made.steps if step.verb in (Verb.START, Verb.DESTROY)]
        starts = [n for n, step in enumerate(verbs) if step.verb is Verb.START]
        old = [
            n
            for n, step in enumerate(verbs)
            if step.verb is Verb.DESTROY and step.release != "b" * 8
        ]
        assert not starts or not old or max(old) < min(starts)
