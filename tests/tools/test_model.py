# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What a report of spin is taken for: only a whole search is a verdict."""

from __future__ import annotations

import pytest

from tools.model import FULL, QUICK, RULES, ModelFailed, Run, read

WHOLE = """
State-vector 108 byte, depth reached 131, errors: 0
   281635 states, stored
pan: elapsed time 1.04 seconds
"""
FOUND = """
pan:1: assertion violated  !(work[r]) (at depth 56)
Warning: Search not completed
State-vector 108 byte, depth reached 59, errors: 1
       56 states, stored
"""
PROTOCOL, MUTANT = Run(2, 1, 2), Run(2, 1, 2, without="VIEW")


def test_a_whole_search_without_errors_is_what_the_protocol_must_have() -> None:
    verdict = read(PROTOCOL, WHOLE, "")
    assert (verdict.states, verdict.violated, verdict.expected) == (281635, "", True)
    assert str(verdict) == (
        "N=2 kills<=1 steps at a time=2, all rules: no violation, 281,635 states, 1 s"
    )
    missed = read(MUTANT, WHOLE, "")
    assert not missed.expected and str(missed).endswith("NOT EXPECTED")


def test_a_violation_is_what_a_mutant_must_have() -> None:
    assert read(MUTANT, FOUND, "CUT").expected
    assert not read(PROTOCOL, FOUND, "CUT").expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        WHOLE.replace("errors: 0", "errors: 1"),
        WHOLE + "error: max search depth too small\n",
        WHOLE + "Warning: Search not completed\n",
    ],
)
def test_a_search_that_was_cut_short_is_no_verdict(text: str) -> None:
    with pytest.raises(ModelFailed):
        read(PROTOCOL, text, "")


def test_every_rule_has_its_mutant() -> None:
    for runs in (QUICK, FULL):
        assert {run.without for run in runs} == {"", *RULES}
    assert (3, 3) in {(run.replicas, run.kills) for run in FULL}
