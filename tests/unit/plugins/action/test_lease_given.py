# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option lease of every action that takes it: what is wrong with it is said before any call is made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase

from ansible_collections.immutable.cutover.plugins.action import (
    release_apply,
    release_part,
    release_plan,
    task_run,
)

ACTIONS = (release_apply, release_part, release_plan, task_run)
DONE = {
    "status": "done",
    "changed": False,
    "needed": False,
    "lines": [],
    "progress": [],
    "actions": [],
    "journal": [],
    "before": {},
    "after": {},
    "handed": {},
    "release": "0123abcd",
}


def act(
    monkeypatch: pytest.MonkeyPatch, module: Any, lease: object, check: bool = False, to: str = ""
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the action; return its result and the calls that it made."""
    calls: list[dict[str, Any]] = []

    def execute(_self: ActionBase, **call: Any) -> dict[str, Any]:
        calls.append(call["module_args"])
        return dict(DONE)

    monkeypatch.setattr(ActionBase, "_execute_module", execute)
    task = Task()
    task.action, task.check_mode = module.MODULE, check
    task.args = {"spec": {"app": "shop"}, "lease": lease}
    if module is not task_run:
        task.args["to"] = to
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = module.ActionModule(task, connection, None, None, None, None)
    action._display = SimpleNamespace(display=lambda line: None)
    return action.run(None, {"inventory_hostname": "h1"}), calls


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize("module", ACTIONS, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize(
    ("lease", "says"),
    [
        pytest.param(
            {"tll": 300},
            "lease.tll: is an unknown option; did you mean ttl?, found string 'tll'",
            id="B05-key",
        ),
        pytest.param(
            {"ttl": "abc"},
            "lease.ttl: must be a duration in whole seconds, 5-86400, found string 'abc'",
            id="B21-word",
        ),
        pytest.param(
            {"ttl": 0},
            "lease.ttl: must be a duration in whole seconds, 5-86400, found 0",
            id="B21-ttl-0",
        ),
        pytest.param(
            {"ttl": -5},
            "lease.ttl: must be a duration in whole seconds, 5-86400, found -5",
            id="B21-ttl",
        ),
        pytest.param(
            {"ttl": True},
            "lease.ttl: must be a duration in whole seconds, 5-86400, found boolean true",
            id="B21-true",
        ),
        pytest.param(
            {"wait": "5 parsecs"},
            "lease.wait: must be a duration in whole seconds, 0-86400, found string '5 parsecs'",
            id="B21-parsecs",
        ),
        pytest.param(
            {"wait": 10**9},
            "lease.wait: must be a duration in whole seconds, 0-86400, found 1000000000",
            id="B21-huge",
        ),
        pytest.param(
            "60", "lease: must be a mapping with wait and ttl, found string '60'", id="B03-string"
        ),
    ],
)
def test_a_bad_lease_is_refused_before_any_call(
    monkeypatch: pytest.MonkeyPatch, module: Any, check: bool, lease: object, says: str
) -> None:
    result, calls = act(monkeypatch, module, lease, check)
    assert (result["failed"], result["msg"], calls) == (True, says, [])
    assert result["path"] == says.split(":", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("module", "lease", "to", "wait", "ttl"),
    [
        (release_apply, None, "", 900, 60),
        (release_apply, {"wait": None, "ttl": "5"}, "previous", 900, 5),
        (release_apply, {}, "recover", 0, 60),
        (release_apply, {"wait": 7}, "undo", 7, 60),
        (release_part, {"wait": "0", "ttl": 20}, "", 0, 60),
        (release_part, {}, "finish", 0, 180),
        (task_run, {"wait": 0, "ttl": 86400}, "", 0, 86400),
    ],
)
def test_how_a_lease_is_taken(
    monkeypatch: pytest.MonkeyPatch, module: Any, lease: object, to: str, wait: int, ttl: int
) -> None:
    _result, calls = act(monkeypatch, module, lease, to=to)
    turn = calls[-1]["turn"]  # a recovery shows its plan first
    assert (turn["waits"], turn["ttl"]) == (wait, ttl)
