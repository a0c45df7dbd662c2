# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of image: a few recipes in each module call, so that a person sees one image after another come.

Everything is validated by a first call that changes nothing. Where that finds nothing to do it is the only one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase

MODULE = "immutable.cutover.image"


class ActionModule(ActionBase):
    """Bake images, with progress."""

    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the task."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        recipes = self._task.args.get("recipes")
        width = _width(self._task.args.get("concurrency", 2))
        if self._task.check_mode or not isinstance(recipes, list) or len(recipes) < 2:
            return self._call(self._task.args)
        if len(recipes) <= width:
            only = self._call(self._task.args)
            told = only.get("changed") or only.get("failed")
            return self._tell(only, len(recipes), len(recipes)) if told else only
        first = self._predict()
        if first.get("failed") or not first.get("changed"):
            return first
        return self._bake(recipes, width, first)

    def _predict(self) -> dict[str, Any]:
        self._task.check_mode = True
        try:
            return self._call(self._task.args)
        finally:
            self._task.check_mode = False

    def _bake(self, recipes: Sequence[str], width: int, first: dict[str, Any]) -> dict[str, Any]:
        answers = []
        done = 0
        for some in _chunks(recipes, width):
            answer = self._call({**self._task.args, "recipes": some})
            done += len(some)
            answers.append(self._tell(answer, done, len(recipes)))
        return _merged(first, answers)

    def _tell(self, answer: dict[str, Any], done: int, total: int) -> dict[str, Any]:
        """Show what became of each recipe of a call."""
        for line in _lines(answer):
            self._say(f"{line} ({done} of {total})")
        return answer

    def _say(self, line: str) -> None:
        self._display.display(f"[{self._variables.get('inventory_hostname', '')}] {line}")

    def _call(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=dict(arguments), task_vars=self._variables
        )
        answer.pop("invocation", None)
        return answer


def _width(concurrency: object) -> int:
    """Return how many recipes a call gets; what is no number is the module's to refuse."""
    try:
        return max(1, int(str(concurrency)))
    except ValueError:
        return 1


def _chunks(recipes: Sequence[str], width: int) -> Iterator[list[str]]:
    for start in range(0, len(recipes), width):
        yield list(recipes[start : start + width])


def _lines(answer: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{image['how']} {image['name']}:{image['version']}" for image in answer.get("images", [])
    ]
    if answer.get("failed"):
        lines.append(f"failed: {answer.get('msg', '')}")
    return lines


def _merged(first: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one result in the order of the recipes; a failure does not hide what the others did."""
    images = [image for answer in answers for image in answer.get("images", [])]
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for answer in answers:
        before |= answer.get("before", {})
        after |= answer.get("after", {})
    merged = {
        **first,
        "changed": any(answer.get("changed") for answer in answers),
        "images": images,
        "before": before,
        "after": after,
        "actions": [action for answer in answers for action in answer.get("actions", [])],
        "diff": {"before": before, "after": after},
    }
    failed = [answer for answer in answers if answer.get("failed")]
    if failed:
        merged["failed"] = True
        merged["msg"] = "\n".join(str(answer.get("msg", "")) for answer in failed)
        merged["errors"] = [error for answer in failed for error in _errors(answer)]
    return merged


def _errors(answer: Mapping[str, Any]) -> list[Any]:
    return list(answer.get("errors") or [{"message": answer.get("msg", "")}])
