# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The model of the protocol, searched by spin: no rule may be missing, and with all of them nothing is violated."""

from __future__ import annotations

import re

import pytest

from tools.model import CONTROLS, MODEL, QUICK, ROOT, Run, check

FOUND = {
    "READY": "WRONG_ROUTE",
    "CAP": "CAPACITY",
    "DRAINCHK": "CUT",
    "VIEW": "CUT",
    "FENCE": "LEFTOVER",
}
PROTOCOL = [run for run in QUICK if run not in CONTROLS]


@pytest.mark.parametrize("run", PROTOCOL, ids=lambda run: run.folder)
def test_with_all_rules_no_state_violates_anything(run: Run) -> None:
    verdict = check(run)
    assert verdict.violated == "" and verdict.states > 10_000, verdict


@pytest.mark.parametrize("run", CONTROLS, ids=lambda run: run.folder)
def test_without_any_one_rule_something_is_violated(run: Run) -> None:
    """The last of these leaves no rule out: it makes sure that runs get to their end, where the model judges them."""
    verdict = check(run)
    assert verdict.violated == FOUND.get(run.without, "END"), verdict


def test_the_code_that_the_model_names_is_there() -> None:
    named = re.findall(r"(_[\w/]+\.py): ((?:\w+)(?:, \w+)*)", MODEL.read_text(encoding="utf-8"))
    assert len(named) > 20
    for path, functions in named:
        code = (ROOT / "plugins" / "module_utils" / path).read_text(encoding="utf-8")
        for function in functions.split(", "):
            assert f"def {function}(" in code, f"{path} has no {function}"
