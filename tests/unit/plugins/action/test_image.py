# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Baking many recipes: validated first, told one after another, and no failure loses the others' work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ansible.playbook.task import Task

from ansible_collections.immutable.cutover.plugins.action.image import MODULE, ActionModule

Answer = dict[str, Any]
TEN = [f"/r/{number}.yml" for number in range(10)]


class Baking(ActionModule):
    """The action with a module that bakes whatever is not broken, and remembers it."""

    def __init__(self, recipes: list[str], check: bool, broken: set[str], baked: set[str]) -> None:
        task = Task()
        task.action, task.args, task.check_mode = (
            MODULE,
            {"recipes": recipes, "concurrency": 3},
            check,
        )
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
        super().__init__(task, connection, None, None, None, None)
        self.broken, self.baked = broken, baked
        self.calls: list[tuple[bool, list[str]]] = []
        self.said: list[str] = []
        self._display = SimpleNamespace(display=self.said.append)

    def _execute_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> Answer:
        check, recipes = bool(self._task.check_mode), module_args["recipes"]
        self.calls.append((check, recipes))
        new = [recipe for recipe in recipes if recipe not in self.baked]
        if not check:
            self.baked |= set(new) - self.broken
            if self.broken & set(new):
                bad = sorted(self.broken & set(new))[0]
                others = [recipe for recipe in recipes if recipe not in self.broken]
                done = self._answer(others, [recipe for recipe in new if recipe in others])
                return {**done, "failed": True, "msg": f"bad {bad}"}
        return self._answer(recipes, new)

    @staticmethod
    def _answer(recipes: list[str], new: list[str]) -> Answer:
        return {
            "invocation": "not for anybody",
            "changed": bool(new),
            "images": [
                {"how": "baked" if r in new else "unchanged", "name": r, "version": "1"}
                for r in recipes
            ],
            "before": {recipe: recipe not in new for recipe in recipes},
            "after": dict.fromkeys(recipes, True),
            "actions": [f"bake {recipe}" for recipe in new],
        }


def run(recipes: list[str], check: bool = False, **sets: set[str]) -> tuple[Answer, Baking]:
    """Run the task once."""
    action = Baking(recipes, check, sets.get("broken", set()), sets.get("baked", set()))
    return action.run(None, {"inventory_hostname": "h1"}), action


def test_ten_recipes_are_told_as_they_come_and_give_one_result() -> None:
    result, action = run(TEN)
    assert action.calls[0] == (True, TEN)
    assert [recipes for _check, recipes in action.calls[1:]] == [
        TEN[:3],
        TEN[3:6],
        TEN[6:9],
        TEN[9:],
    ]
    assert not any(check for check, _recipes in action.calls[1:])
    assert action.said[0] == "[h1] baked /r/0.yml:1 (3 of 10)"
    assert action.said[-1] == "[h1] baked /r/9.yml:1 (10 of 10)"
    assert [image["name"] for image in result["images"]] == TEN
    assert result["changed"] and not result.get("failed")
    assert result["actions"] == [f"bake {recipe}" for recipe in TEN]
    assert list(result["after"]) == TEN
    assert "invocation" not in result


def test_a_failure_does_not_lose_the_others_work() -> None:
    baked: set[str] = set()
    result, action = run(TEN, broken={TEN[1], TEN[7]}, baked=baked)
    assert result["failed"]
    assert result["msg"] == "bad /r/1.yml\nbad /r/7.yml"
    assert baked == set(TEN) - {TEN[1], TEN[7]}
    assert action.said[:3] == [
        "[h1] baked /r/0.yml:1 (3 of 10)",
        "[h1] baked /r/2.yml:1 (3 of 10)",
        "[h1] failed: bad /r/1.yml (3 of 10)",
    ]
    good = [recipe for recipe in TEN if recipe in baked]
    assert [image["name"] for image in result["images"]] == good == list(result["after"])
    assert result["actions"] == [f"bake {recipe}" for recipe in good]
    assert result["changed"]
    again, action = run(TEN, baked=baked)
    assert again["actions"] == [f"bake {TEN[1]}", f"bake {TEN[7]}"]


def test_nothing_to_do_is_one_call_and_silent() -> None:
    result, action = run(TEN, baked=set(TEN))
    assert (len(action.calls), action.said, result["changed"]) == (1, [], False)


def test_recipes_that_fit_into_one_call_are_told_too() -> None:
    result, action = run(TEN[:3], broken={TEN[1]})
    assert action.calls == [(False, TEN[:3])]
    assert action.said == [
        "[h1] baked /r/0.yml:1 (3 of 3)",
        "[h1] baked /r/2.yml:1 (3 of 3)",
        "[h1] failed: bad /r/1.yml (3 of 3)",
    ]
    assert (result["failed"], len(result["images"])) == (True, 2)
    assert run(TEN[:3], baked=set(TEN))[1].said == []
    assert run(TEN[:1])[1].said == []


def test_check_mode_and_few_recipes_are_one_call() -> None:
    assert [check for check, _recipes in run(TEN, check=True)[1].calls] == [True]
    assert run(TEN[:3])[1].calls == [(False, TEN[:3])]
