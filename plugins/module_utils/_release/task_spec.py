# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One-off tasks of a release: what a user writes, validated; pure, private, no stability promised.

A task runs once for a release, in a container of the release's own image: a migration, for example.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import (
    check_task_name,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    Limits,
    parse_limits,
)

BEFORE, AFTER = "before_traffic", "after"
TIMEOUT = 300


@dataclass(frozen=True)
class TaskSpec:
    """One task. C(when): before the first new replica starts anywhere, or after the last old one is gone everywhere."""

    name: str
    command: tuple[str, ...]
    when: str = BEFORE
    timeout: int = TIMEOUT
    """Seconds after which it is stopped and has failed."""
    rollback_safe: bool = True
    """Whether the release before can work with what it does to the data."""
    limits: Limits = field(default_factory=Limits)
    contract: bool = False
    """It may break what the release before uses, although that one still serves."""


def parse_tasks(app: str, fields: Fields) -> tuple[TaskSpec, ...]:
    """Read the option C(tasks); they run in the order of their names."""
    return tuple(
        _task(app, name, value, fields.path(f"tasks.{name}"))
        for name, value in fields.pairs("tasks")
    )


def tasks_mapping(tasks: tuple[TaskSpec, ...]) -> dict[str, object]:
    """Return what C(parse_tasks) reads back to equal tasks."""
    return {task.name: _mapping(task) for task in tasks}


def _mapping(task: TaskSpec) -> dict[str, object]:
    plain = {**asdict(task), "command": list(task.command)}
    del plain["name"]
    plain["resources"] = plain.pop("limits")
    return plain


def _task(app: str, name: str, value: object, path: str) -> TaskSpec:
    check_task_name(app, name, path)
    fields = Fields(value, path)
    task = TaskSpec(
        name=name,
        command=command_of(fields),
        when=fields.choice("when", (BEFORE, AFTER), BEFORE),
        timeout=fields.seconds("timeout", TIMEOUT),
        rollback_safe=fields.boolean("rollback_safe", True),
        limits=parse_limits(fields.fields("resources")),
        contract=fields.boolean("contract", False),
    )
    fields.finish()
    if task.when == BEFORE and not (task.rollback_safe or task.contract):
        raise InvalidInput(
            fields.path("when"),
            BEFORE,
            "must be after, because rollback_safe is false: before traffic the release before it still serves. If "
            "that one can do without what the task takes away, say contract: true",
        )
    return task


def command_of(fields: Fields) -> tuple[str, ...]:
    """Read a command, which a task must have: images name commands for processes only."""
    command = fields.strings("command")
    if not command or not command[0]:
        raise InvalidInput(
            fields.path("command"), list(command), "must be a list of program and arguments"
        )
    return command
