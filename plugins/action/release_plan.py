# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of release_plan: let the module release_apply plan, and do nothing else.

Building a module of this size takes Ansible half a second, once for each module and playbook run. A role that plans and
then applies pays for one.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.immutable.cutover.plugins.plugin_utils._lease_given import lease_given

MODULE = "immutable.cutover.release_apply"
PASSED = ("spec", "to", "approved", "rollback_unsafe", "state_dir", "engine")


class ActionModule(ActionBase):
    """Show what a release would do."""

    _VALID_ARGS = frozenset((*PASSED, "lease"))
    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the task."""
        super().run(tmp, task_vars)
        _times, refused = lease_given(self._task.args)
        if refused:
            return refused
        given = {key: self._task.args[key] for key in PASSED if key in self._task.args}
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE,
            module_args={**given, "turn": {"plan": True}},
            task_vars=task_vars,
        )
        answer.pop("invocation", None)
        return answer
