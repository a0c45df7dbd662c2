# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of one-off tasks: which modules are called with what, in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.playbook.task import Task

from ansible_collections.immutable.cutover.plugins.action import task_run
from ansible_collections.immutable.cutover.plugins.action.task_run import MODULE, RELEASE
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

ENDED: dict[str, Any] = {"changed": True, "status": "done", "actions": [], "progress": []}
ENDED |= {"before": {}, "after": {}, "journal": [], "lines": []}


class Scripted(task_run.ActionModule):
    """The action with modules that give prepared answers, in order."""

    answers: list[dict[str, Any]]
    calls: list[tuple[str, dict[str, Any]]]

    def _execute_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        self.calls.append((module_name, module_args))
        return dict(self.answers.pop(0))


def made(monkeypatch: pytest.MonkeyPatch, *, check: bool = False) -> tuple[Scripted, list[str]]:
    """Return an action that has made no call, and what it says."""
    clock, said = FakeClock(), list[str]()
    monkeypatch.setattr(task_run, "SystemClock", lambda: clock)
    task = Task()
    task.action, task.check_mode = MODULE, check
    task.args = {"spec": {"app": "shop"}, "when": "before_traffic", "state_dir": "/s", "engine": {}}
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = Scripted(task, connection, None, None, None, None)
    action._display = SimpleNamespace(display=said.append)
    action.calls = []
    return action, said


def test_a_release_at_a_gate_is_aborted_before_the_first_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    action, said = made(monkeypatch)
    held = {"changed": False, "status": "abort_first", "held": {"release": "a", "held": "approval"}}
    action.answers = [held, ENDED, {**ENDED, "tasks": [{"name": "migrate"}]}]
    result = action.run(None, {"inventory_hostname": "h1"})
    assert [name for name, _arguments in action.calls] == [MODULE, RELEASE, MODULE]
    aborts = dict(action.calls[1][1])
    assert aborts.pop("turn")["holder"] == action.calls[0][1]["turn"]["holder"]
    assert aborts == {
        "spec": {"app": "shop"},
        "state_dir": "/s",
        "engine": {},
        "to": "abort",
        "approved": "a",
    }
    assert result["tasks"] == [{"name": "migrate", "host": "h1"}]
    assert "[h1] release a is held at gate approval: it is aborted first" in said


def test_what_ran_in_any_turn_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    action, said = made(monkeypatch)
    more = {**ENDED, "status": "more", "epoch": 4, "resume": {}, "progress": ["migrate runs"]}
    last = {**ENDED, "epoch": 4, "tasks": [{"name": "migrate"}]}
    action.answers = [{**more, "journal": [1]}, {**last, "journal": [2]}]
    result = action.run(None, {"inventory_hostname": "h1"})
    assert (result["status"], result["tasks"]) == ("done", [{"name": "migrate", "host": "h1"}])
    assert result["journal"] == [1, 2]
    assert [name for name, _arguments in action.calls] == [MODULE, MODULE]
    assert not any({"to", "approved"} & set(arguments) for _name, arguments in action.calls)
    assert said == ["[h1] migrate runs"]


def test_check_mode_shows_what_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    action, said = made(monkeypatch, check=True)
    action.answers = [{"needed": True, "lines": ["run migrate"]}]
    result = action.run(None, {"inventory_hostname": "h1"})
    assert (result["changed"], result["diff"]) == (True, [{"prepared": "run migrate\n"}])
    assert action.calls[0][1]["turn"] == {"plan": True}
    assert said == ["[h1] run migrate"]
