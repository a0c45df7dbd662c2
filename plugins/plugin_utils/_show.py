# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the modules that a person reads: their lines as they are; private, no stability promised."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ShowingAction(ActionBase):
    """Run the module of the same name and, if asked to, print its lines rather than a list of strings."""

    MODULE = ""
    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the task."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        answer: dict[str, Any] = self._execute_module(
            module_name=self.MODULE, module_args=dict(self._task.args), task_vars=variables
        )
        answer.pop("invocation", None)
        if answer.get("shown"):
            name = variables.get("inventory_hostname", "")
            # With -v also what was done to each replica.
            key = "details" if self._display.verbosity else "lines"
            for line in answer.get(key) or answer.get("lines") or []:
                self._display.display(f"[{name}] {line}")
            answer["_ansible_verbose_override"] = (
                True  # with -v too, lines and no dump of the result
            )
        return answer
