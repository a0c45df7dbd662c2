# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import decide, plan
from ansible_collections.immutable.cutover.plugins.module_utils._release.simulate import simulate
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Verb
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    serving_count,
)
from ansible_collections.immutable.cutover.tests.unit.support.worlds import (
    APP,
    PROCESS,
    batches,
    goal,
    track,
    world,
)

UP = "start ready register activate confirm"
GONE = "await deregister destroy"

# (id, what is seen, what is wanted, the batches)
PLANS = [
    ("first", "", goal("b", 2), [f"b1 {UP} | b2 {UP}"]),
    ("first-surge-0", "", goal("b", 2, 0, 1), [f"b1 {UP} | b2 {UP}"]),
    ("same", "b1:serving b2:serving", goal("b", 2), []),
    (
        "rolling-1-0",
        "a1:serving a2:serving",
        goal("b", 2),
        [f"b1 {UP}", "a1 drain", f"a1 {GONE} | b2 {UP}", "a2 drain", f"a2 {GONE}"],
    ),
    (
        "rolling-all-at-once",
        "a1:serving a2:serving",
        goal("b", 2, 2),
        [f"b1 {UP} | b2 {UP}", "a1 drain | a2 drain", f"a1 {GONE} | a2 {GONE}"],
    ),
    (
        "rolling-0-1",
        "a1:serving a2:serving",
        goal("b", 2, 0, 1),
        ["a1 drain", f"a1 {GONE} | b1 {UP}", "a2 drain", f"a2 {GONE} | b2 {UP}"],
    ),
    (
        "rolling-1-1",
        "a1:serving a2:serving",
        goal("b", 2, 1, 1),
        [f"a1 drain | b1 {UP}", f"a1 {GONE} | a2 drain | b2 {UP}", f"a2 {GONE}"],
    ),
    ("scale-up", "b1:serving", goal("b", 3), [f"b2 {UP} | b3 {UP}"]),
    (
        "scale-down",
        "b1:serving b2:serving b3:serving",
        goal("b", 1),
        ["b2 drain | b3 drain", f"b2 {GONE} | b3 {GONE}"],
    ),
    (
        "replace-and-scale-up",
        "a1:serving",
        goal("b", 2),
        [f"b1 {UP} | b2 {UP}", "a1 drain", f"a1 {GONE}"],
    ),
    (
        "replace-and-scale-down",
        "a1:serving a2:serving a3:serving",
        goal("b", 1),
        ["a1 drain | a2 drain", f"a1 {GONE} | a2 {GONE} | b1 {UP}", "a3 drain", f"a3 {GONE}"],
    ),
    ("nothing", "a1:serving", goal("b", 0), ["a1 drain", f"a1 {GONE}"]),
    # Leftovers of a run that died, in every phase.
    ("left-new-started", "a1:serving b1:started", goal("b", 1), ["b1 ready register activate confirm", "a1 drain", f"a1 {GONE}"]),
    ("left-new-standby", "a1:serving b1:standby", goal("b", 1), ["b1 ready register activate confirm", "a1 drain", f"a1 {GONE}"]),
    ("left-new-maintenance", "b1:running,maintenance", goal("b", 1), ["b1 ready register activate confirm"]),
    ("left-new-sick", "a1:serving b1:sick", goal("b", 1), ["b1 ready register activate confirm", "a1 drain", f"a1 {GONE}"]),
    ("left-new-dead", "a1:serving b1:dead", goal("b", 1), ["b1 destroy", f"b1 {UP}", "a1 drain", f"a1 {GONE}"]),
    ("left-old-draining", "a1:draining b1:serving", goal("b", 1), [f"a1 {GONE}"]),
    ("left-old-maintenance", "a1:running,maintenance b1:serving", goal("b", 1), [f"a1 {GONE}"]),
    ("left-old-deregistered", "a1:started b1:serving", goal("b", 1), ["a1 destroy"]),
    ("left-old-stopped", "a1:dead b1:serving", goal("b", 1), ["a1 destroy"]),
    ("left-old-target", "a1:missing,draining b1:serving", goal("b", 1), ["a1 await deregister"]),
    ("left-old-active-target", "a1:missing,active b1:serving", goal("b", 1), ["a1 drain await deregister"]),
    ("left-old-dead-active", "a1:dead,active b1:serving", goal("b", 1), [f"a1 drain {GONE}"]),
    # Rollback: what still drains serves again before anything else is drained.
    (
        "rollback-reactivates",
        "a1:draining a2:serving b1:serving",
        goal("a", 2),
        ["a1 ready register activate confirm", "b1 drain", f"b1 {GONE}"],
    ),
    ("abort-first", "b1:started b2:standby", goal("a", 0), [f"b1 destroy | b2 {GONE}"]),
    # RO-08: two older releases.
    (
        "two-older",
        "a1:draining b1:serving b2:serving",
        goal("c", 2),
        [f"a1 {GONE} | c1 {UP}", "b1 drain", f"b1 {GONE} | c2 {UP}", "b2 drain", f"b2 {GONE}"],
    ),
    (
        "two-older-serving",
        "a1:serving b1:serving b2:serving",
        goal("c", 2),
        ["a1 drain", f"a1 {GONE} | c1 {UP}", "b1 drain", f"b1 {GONE} | c2 {UP}", "b2 drain", f"b2 {GONE}"],
    ),
    # What somebody else did.
    ("dead", "b1:dead,active b2:serving", goal("b", 2), [f"b1 drain {GONE}", f"b1 {UP}"]),
    ("misaddressed", "b1:elsewhere", goal("b", 1), ["b1 drain await deregister", "b1 ready register activate confirm"]),
    ("misaddressed-old", "a1:elsewhere b1:serving", goal("b", 1), ["a1 drain await deregister", "a1 destroy"]),
    ("target-without-container", "b1:missing,active b2:serving", goal("b", 2), ["b1 drain await deregister", f"b1 {UP}"]),
    ("target-without-container-draining", "b1:missing,draining", goal("b", 1), ["b1 await deregister", f"b1 {UP}"]),
    # Capacity nobody sees now may come back: what is sick is taken away only when enough others serve.
    (
        "all-old-sick",
        "a1:sick a2:sick",
        goal("b", 2),
        [f"b1 {UP} | b2 {UP}", f"a1 drain {GONE} | a2 drain {GONE}"],
    ),
    ("one-old-sick", "a1:sick a2:serving", goal("b", 1), [f"a1 drain {GONE} | b1 {UP}", "a2 drain", f"a2 {GONE}"]),
    # Two load balancers.
    (
        "two-balancers",
        "a1:running,active,active",
        goal("b", 1, load_balancers=2),
        [f"b1 {UP}", "a1 drain", f"a1 {GONE}"],
    ),
    (
        "lost-in-the-second",
        "a1:running,active,none",
        goal("b", 1, load_balancers=2),
        [f"b1 {UP}", f"a1 drain {GONE}"],
    ),
    ("new-lost-in-the-second", "b1:running,active,none", goal("b", 1, load_balancers=2), ["b1 ready register activate confirm"]),
    (
        "drained-in-one-only",
        "a1:running,active,draining b1:running,active,active",
        goal("b", 1, load_balancers=2),
        [f"a1 drain {GONE}"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "wanted", "way"), [pytest.param(*row[1:], id=row[0]) for row in PLANS]
)
def test_plan(seen: str, wanted: Goal, way: list[str]) -> None:
    assert batches(plan(wanted, world(seen))) == way


@pytest.mark.parametrize(
    ("surge", "unavailable", "lowest"), [(1, 0, 4), (4, 0, 4), (0, 1, 3), (1, 1, 3), (2, 4, 0)]
)
def test_the_lowest_capacity_is_told_and_never_below_the_floor(
    surge: int, unavailable: int, lowest: int
) -> None:
    found = plan(
        goal("b", 4, surge, unavailable), world("a1:serving a2:serving a3:serving a4:serving")
    )
    assert (found.before, found.lowest, found.after) == (
        ((PROCESS, 4),),
        ((PROCESS, lowest),),
        ((PROCESS, 4),),
    )


def test_warm_up_comes_before_registering() -> None:
    want = Want(PROCESS, "b" * 8, 1, 8080, 1, 0, warm_up=True)
    found = plan(Goal(APP, "b" * 8, (want,)), world(""))
    assert batches(found) == ["b1 start ready warm register activate confirm"]


def test_an_unsettled_replica_makes_no_room_for_a_drain() -> None:
    wanted, seen = goal("b", 1), world("a1:serving b1:serving")
    assert [track(item) for item in decide(wanted, seen).tracks] == ["b1 confirm"]
    busy = frozenset([replica_name(APP, PROCESS, "b" * 8, 1)])
    assert decide(wanted, seen, busy).tracks == ()
    settled = world("a1:serving b1:serving", settled=True)
    assert [track(item) for item in decide(wanted, settled).tracks] == ["a1 drain"]


def test_what_is_busy_is_left_alone_and_counts_as_existing() -> None:
    wanted, seen = goal("b", 2), world("a1:serving a2:serving")
    first = decide(wanted, seen).tracks
    assert [track(item) for item in first] == [f"b1 {UP}"]
    assert decide(wanted, seen, frozenset(item.replica for item in first)).tracks == ()


def test_two_processes_are_planned_side_by_side() -> None:
    wants = tuple(Want(name, "b" * 8, 1, 8080, 1, 0) for name in ("api", "web"))
    found = plan(Goal(APP, "b" * 8, wants), world(""))
    assert [item.steps[0].process for item in found.batches[0].tracks] == ["api", "web"]
    assert found.after == (("api", 1), ("web", 1))


PHASES = ["serving", "draining", "standby", "sick", "started", "dead", "dead,active", "elsewhere", "missing,active", "missing,standby"]  # fmt: skip
SEEN = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.integers(1, 3)).map(lambda key: f"{key[0]}{key[1]}"),
    st.sampled_from(PHASES),
    max_size=7,
).map(lambda found: " ".join(f"{name}:{phase}" for name, phase in sorted(found.items())))
STRATEGY = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)


@given(seen=SEEN, replicas=st.integers(0, 3), strategy=STRATEGY)
def test_every_plan_ends_at_the_goal_and_keeps_the_floor(
    seen: str, replicas: int, strategy: tuple[int, int]
) -> None:
    """One release at a time, from any world: it converges, and no drain goes below the floor."""
    wanted = goal("b", replicas, *strategy)
    state = world(seen, settled=True)
    for step in plan(wanted, state).steps:
        before = serving_count(state, PROCESS)
        state = simulate(wanted, state, step)
        after = serving_count(state, PROCESS)
        assert after >= before or after >= max(0, replicas - strategy[1]), step
        assert step.verb is not Verb.DESTROY or state.find(step.replica) is None
    names = sorted(replica_name(APP, PROCESS, "b" * 8, slot) for slot in range(1, replicas + 1))
    assert sorted(replica.name for replica in state.replicas) == names
    assert all(replica.phase is Phase.SERVING for replica in state.replicas)
    assert plan(wanted, state).batches == ()
