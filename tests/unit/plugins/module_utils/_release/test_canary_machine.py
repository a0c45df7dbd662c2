# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine of the planner, begun with a release that runs, so that nearly every run is a canary beside it.

Besides the five rules: whatever happened to weights on the way, in the end they are equal.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from ansible_collections.immutable.cutover.plugins.module_utils._apply.step_runner import StepRunner
from ansible_collections.immutable.cutover.plugins.module_utils._release import (
    canary,
    rolling,
    weights,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Step, Verb
from ansible_collections.immutable.cutover.tests.unit.plugins.module_utils._release.test_planner_machine import (
    CANARY,
    CutoverMachine,
)

ROLLING: dict[str, object] = {"max_surge": 2}
CANARIES: list[dict[str, object]] = [
    CANARY,
    CANARY,
    {**CANARY, "replicas": 2, "max_surge": 2},
    ROLLING,
]
DONE: Counter[Verb] = Counter()


class CanaryMachine(CutoverMachine):
    """One host on which two replicas of release a serve when it begins."""

    @initialize(balancers=st.integers(1, 2))
    def host(self, balancers: int) -> None:
        CutoverMachine.host(self, balancers=balancers)
        self.end("a", 2, ROLLING)

    @rule(
        version=st.sampled_from("ab"),
        replicas=st.integers(1, 3),
        strategy=st.sampled_from(CANARIES),
    )
    def begin(self, version: str, replicas: int, strategy: dict[str, object]) -> None:
        CutoverMachine.begin(self, version=version, replicas=replicas, strategy=strategy)

    @rule()
    def give_up(self) -> None:
        """Somebody aborts: the run goes back to the release that ran."""
        self.begin("a", 2, CANARY)
        assert self.flow is not None
        self.flow.release = replace(self.flow.release, going_back=True)
        self.last = ("a", 2, ROLLING)

    def act(self, epoch: int, runner: StepRunner, step: Step) -> bool:
        done = super().act(epoch, runner, step)
        DONE[step.verb] += done
        return done


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
MUTANT_SETTINGS = settings(SETTINGS, phases=[Phase.generate])


def test_the_rules_hold_and_weights_are_equal_in_the_end() -> None:
    DONE.clear()
    run_state_machine_as_test(CanaryMachine, settings=SETTINGS)
    assert DONE[Verb.WEIGH] > 20, "else this machine shows nothing of a canary"


def plain(goal: Any, want: Any, world: Any, busy: frozenset[str]) -> list[Any]:
    return list(rolling.decide(replace(goal, wants=(want,)), world, busy).tracks)


@pytest.mark.parametrize(
    ("where", "name", "other"),
    [
        (weights, "equalise", lambda *_arguments: None),
        (canary, "_replace", plain),
    ],
    ids=["weights-stay-after-an-abort", "weights-stay-after-the-last-step"],
)
def test_mutant(where: object, name: str, other: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, name, other)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(CanaryMachine, settings=MUTANT_SETTINGS)
