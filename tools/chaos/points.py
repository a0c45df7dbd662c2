# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Where a run can be disturbed: every task of the playbook, and every step inside the stage. Nothing is run here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.sample import ROOT

BEFORE, DURING, AFTER = "before", "during", "after"
MOMENTS = (BEFORE, DURING, AFTER)
FIRST, LAST = "first", "last"
ROLE = ROOT / "roles" / "release" / "tasks"
VALIDATION = "Validating arguments against arg spec 'main'"
APPLY = "Apply the release"
NESTED = ("block", "rescue", "always")
INCLUDES = ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks")
ELSEWHERE = ("apart.yml", "tasks_before.yml", "tasks_after.yml")
"""What is for load balancers on other hosts, and for one-off tasks: a run here does not come to it."""

STEPS = {
    "start": 0.4,
    "ready": 1.0,
    "register": 0.15,
    "activate": 1.5,
    "confirm": 1.0,
    "drain": 0.15,
    "await": 1.5,
    "deregister": 0.15,
    "destroy": 0.5,
}
"""The steps of a replica in their order, and about how many seconds each takes here: where "during" may be."""

GATE = "gate"
STRATEGIES = {
    "blue_green": {
        "check": 0.3,
        GATE: 2.0,
        "activate": 0.3,
        "confirm": 1.0,
        "drain": 0.15,
        "await": 1.5,
        "destroy": 0.5,
    },
    "canary": {"weigh": 0.1, "activate": 0.3, GATE: 2.0, "drain": 0.15},
}
"""What other strategies than rolling have of their own, or do at another time."""
_OF_THE_WHOLE = (GATE, "weigh")
"""Steps that are not of a replica: there is a first one, and it is the one that is meant."""


@dataclass(frozen=True)
class Point:
    """One moment of a run.

    C(kind) is task, step or moment; C(name) which one; C(replica) says at whose step of that name: the first that comes
    to it or the last. C(strategy) is empty where replicas are replaced one by one.
    """

    kind: str
    name: str
    when: str
    replica: str = ""
    strategy: str = ""

    @property
    def id(self) -> str:
        """Its name in lists and options."""
        name = self.name.replace(" ", "_").replace("'", "")
        kind = self.strategy or self.kind
        return "/".join(word for word in (kind, name, self.replica, self.when) if word)

    @property
    def begun(self) -> bool:
        """Whether a run that is there has surely noted what it works towards."""
        return self.kind == "step" or self.name == "turn"

    @property
    def in_module(self) -> bool:
        """Whether the module that applies the release works then."""
        return self.kind == "step" and (self.name, self.when) != ("record", AFTER)

    @property
    def seconds(self) -> float:
        """Within which time after its beginning "during" is."""
        return STRATEGIES.get(self.strategy, STEPS).get(self.name, 0.8)


def tasks() -> list[str]:
    """Return the tasks of the role in the order in which a run with secrets and a receipt comes to them."""
    return [VALIDATION, *_named(ROLE / "main.yml")]


def _named(path: Path) -> Iterator[str]:
    yield from _walk(yaml.safe_load(path.read_text(encoding="utf-8")), path.parent)


def _walk(items: Iterable[dict[str, Any]], folder: Path) -> Iterator[str]:
    for item in items:
        included = next((item[word] for word in INCLUDES if word in item), None)
        if included is not None:
            # Of an include only what it includes gets a line of its own.
            name = included["file"] if isinstance(included, dict) else included
            if "{{" not in name and name not in ELSEWHERE:
                yield from _named(folder / name)
        elif any(word in item for word in NESTED):
            yield from _walk(item.get("block", ()), folder)
            yield from _walk(item.get("always", ()), folder)
        else:
            yield str(item["name"])


def points() -> list[Point]:
    """Return every point, in the order of a run."""
    found = [Point("task", name, when) for name in tasks() for when in MOMENTS]
    found += [Point("moment", "fork", AFTER), Point("moment", "lease", AFTER)]
    for name in STEPS:
        found += [Point("step", name, when, which) for which in (FIRST, LAST) for when in MOMENTS]
    found += [Point("moment", "turn", AFTER)]
    found += [Point("step", "record", DURING), Point("step", "record", AFTER)]
    return [*found, *_of_other_strategies()]


def _of_other_strategies() -> Iterator[Point]:
    for strategy, names in STRATEGIES.items():
        for name in names:
            for which in ("",) if name in _OF_THE_WHOLE else (FIRST, LAST):
                for when in MOMENTS:
                    yield Point("step", name, when, which, strategy)
