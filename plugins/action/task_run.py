# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of task_run: short module calls in a loop, with progress in between, as release_apply does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.immutable.cutover.plugins.action.release_apply import MODULE as RELEASE
from ansible_collections.immutable.cutover.plugins.action.release_apply import (
    ActionModule as ReleaseApply,
)
from ansible_collections.immutable.cutover.plugins.action.release_apply import (
    _controller,
    _holder,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.plugin_utils._lease_given import lease_given

MODULE = "immutable.cutover.task_run"
OF_A_RELEASE = ("spec", "state_dir", "engine")
PASSED = ("spec", "when", "command", "timeout", "state_dir", "engine")


class ActionModule(ReleaseApply):
    """Run the one-off tasks of a release, or one that a person asks for."""

    _VALID_ARGS = frozenset((*PASSED, "lease", "turn"))

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the task."""
        ActionBase.run(self, tmp, task_vars)
        variables = task_vars or {}
        self._name = str(self._task.delegate_to or variables.get("inventory_hostname", ""))
        self._clock = SystemClock()
        self._controller = _controller()
        self._holder = _holder(variables, self._controller)
        self._lease, refused = lease_given(self._task.args)
        if refused:
            return refused
        self._ran: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        began = self._clock.monotonic()
        if self._task.check_mode:
            return self._planned(variables)
        result = self._loop(variables, "", False)
        while result["status"] == "abort_first":
            result = self._abort_first(variables, result, False)
        seconds = round(self._clock.monotonic() - began, 3)
        return {**result, "tasks": self._ran, "journal": self._rows, "seconds": seconds}

    def _planned(self, variables: dict[str, Any]) -> dict[str, Any]:
        plan = self._turn({}, {"plan": True}, variables)
        for line in plan.get("lines") or []:
            self._say(line)
        if not plan.get("failed"):
            prepared = "".join(f"{line}\n" for line in plan["lines"])
            plan |= {"changed": plan["needed"], "diff": [{"prepared": prepared}]}
        return plan

    def _turn(
        self, chosen: Mapping[str, str], turn: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        if chosen.get("to"):  # the abort of another release, before anything of this one is done
            about = {key: value for key, value in self._arguments().items() if key in OF_A_RELEASE}
            return self._module(RELEASE, {**about, **chosen, "turn": turn}, variables)
        answer = self._module(MODULE, {**self._arguments(), "turn": turn}, variables)
        self._ran += [{**task, "host": self._name} for task in answer.get("tasks") or []]
        self._rows += answer.get("journal") or []  # a failed turn has some too
        return answer

    def _arguments(self) -> dict[str, Any]:
        return {key: self._task.args[key] for key in PASSED if key in self._task.args}
