# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""How many tests passed and failed, read from what each tool leaves or prints: nothing red may be counted green."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

LONGEST = 2000
"""Characters of a reason, its last ones."""


@dataclass(frozen=True)
class Tally:
    """How many tests passed, the names of those that did not, and what went wrong as far as it was said."""

    passed: int = 0
    failed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        reasons = dict.fromkeys(self.reasons + other.reasons)
        return Tally(self.passed + other.passed, self.failed + other.failed, tuple(reasons))

    def closing_line(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed"


def judged(name: str, returncode: int, tally: Tally) -> Tally:
    """What a command's tests amount to, knowing how it ended."""
    if returncode != 0 and not tally.failed:
        return tally + Tally(failed=(f"{name}: ended with {returncode}",))
    if returncode == 0 and tally == Tally():
        return Tally(failed=(f"{name}: ran no test",))
    return tally


def read_junit(text: str) -> Tally:
    """The result of a pytest run from its junit file; a skipped test is no passed test."""
    tally = Tally()
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
        outcomes = {child.tag: child.get("message", "") for child in case}
        reasons = tuple(outcomes[tag][-LONGEST:] for tag in ("failure", "error") if tag in outcomes)
        if reasons:
            tally += Tally(failed=(name,), reasons=tuple(filter(None, reasons)))
        elif "skipped" in outcomes:
            tally += Tally(failed=(f"{name} (skipped)",))
        else:
            tally += Tally(passed=1)
    return tally


def read_sanity(output: str) -> Tally:
    """The result of `ansible-test sanity` from what it printed."""
    names = re.findall(r'^Running sanity test "([\w-]+)"', output, re.MULTILINE)
    listed = re.search(
        r"^FATAL: The \d+ sanity test\(s\) listed below .* failed\..*\n((?:[a-z][\w -]*(?:--python \S+)?\n)*)",
        output,
        re.MULTILINE,
    )
    failed = tuple(f"sanity {name}" for name in listed.group(1).splitlines()) if listed else ()
    return Tally(len(names) - len(failed), failed)


def read_molecule(name: str, code: int, output: str) -> Tally:
    """The result of a scenario; Molecule passes over a playbook that is not there, which is no pass."""
    if code:
        return Tally(failed=(f"molecule {name}: ended with {code}",))
    if "Missing playbook" in output or "Executed: Successful" not in output:
        return Tally(failed=(f"molecule {name}: a playbook of its sequence was not run",))
    return Tally(passed=1)
