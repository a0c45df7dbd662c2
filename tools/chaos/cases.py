# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The matrix: at which point, which fault, and which run comes then. Nothing is run here."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.chaos.faults import FAULTS, Fault
from tools.chaos.points import FIRST, Point, points
from tools.sample import ROOT

AGAIN, ROLLBACK, THIRD, RECOVER = "again", "rollback", "third", "recover"
PLAYBOOKS = {AGAIN: "replace", ROLLBACK: "rollback", THIRD: "replace", RECOVER: "recover"}


@dataclass(frozen=True)
class Case:
    """One cell of the matrix."""

    point: Point
    fault: Fault
    then: str

    @property
    def id(self) -> str:
        """Its name in lists, options and reports."""
        return f"{self.point.id}+{self.fault.name}+{self.then}"

    @property
    def surge(self) -> int:
        """How many new replicas come at a time: one where the last of them is meant."""
        return 2 if self.point.replica in ("", FIRST) else 1

    def random(self, seed: int) -> random.Random:
        """Return what decides the rest of it; the same for the same seed."""
        return random.Random(f"{seed}:{self.id}")


def follow_ups() -> tuple[str, ...]:
    """Return which runs may come next: those whose playbook is there."""
    there = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    return tuple(then for then, playbook in PLAYBOOKS.items() if playbook in there)


def matrix(*, own_engine: bool = True, over_ssh: bool = True) -> list[Case]:
    """Return every case; what needs an engine of the harness's own, or a controller that is apart, only with one."""
    return list(_matrix(own_engine, over_ssh))


def _matrix(own_engine: bool, over_ssh: bool) -> Iterator[Case]:
    for point in points():
        for fault in FAULTS.values():
            if fault.own_engine > own_engine or fault.over_ssh > over_ssh:
                continue
            if fault.in_module and not point.in_module:
                continue
            for then in follow_ups():
                yield Case(point, fault, then)


def sample(cases: Sequence[Case], seed: int, count: int) -> list[Case]:
    """Draw cases, every fault as often as any other; the same for the same seed."""
    chance = random.Random(seed)
    by_fault: dict[str, list[Case]] = {}
    for case in cases:
        by_fault.setdefault(case.fault.name, []).append(case)
    decks = list(by_fault.values())
    chance.shuffle(decks)
    for deck in decks:
        chance.shuffle(deck)
    drawn: list[Case] = []
    while len(drawn) < count and any(decks):
        for deck in decks:
            if deck and len(drawn) < count:
                drawn.append(deck.pop())
    return drawn


def chosen(cases: Sequence[Case], patterns: Sequence[str]) -> list[Case]:
    """Return the cases whose name matches one of the patterns (as of a shell)."""
    return [
        case for case in cases if any(fnmatch.fnmatchcase(case.id, pattern) for pattern in patterns)
    ]
