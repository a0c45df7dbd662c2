# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""docs/faults.md says the truth: every id once, with tests of that name that carry it, or with the reason for none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TABLE.splitlines()
    if re.match(r"\| [A-Z]{2}-\d\d ", line)
]
FAMILIES = {"RO": 18, "LB": 17, "CR": 14, "QU": 4, "OT": 4, "SE": 27}
LINK = re.compile(r"\[([\w.]+\.py)(?:::(\w+))?\]\(([^)]+)\)")


def carries(text: str, identity: str) -> bool:
    family, number = identity.split("-")
    return re.search(rf"\b{identity}\b|_{family.lower()}_{number}_", text) is not None


def test_every_id_has_one_row() -> None:
    wanted = [
        f"{name}-{number:02d}" for name, count in FAMILIES.items() for number in range(1, count + 1)
    ]
    assert [row[0] for row in ROWS] == wanted


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_tests_that_carry_its_id_or_says_why_not(row: list[str]) -> None:
    identity, _what, tested, remark = row
    named = LINK.findall(tested)
    assert len(named) == tested.count("](") and (named or len(remark) > 20)
    for name, function, link in named:
        path = (ROOT / "docs" / link).resolve()
        text = path.read_text(encoding="utf-8")
        assert path.name == name
        assert carries(text, identity), f"{name} has no test of {identity}"
        assert f"def {function}(" in text or not function, f"{name} has no {function}"


def test_a_row_without_a_test_is_of_a_fault_that_no_test_carries() -> None:
    """So that a test that is written later takes the excuse away."""
    excused = [row[0] for row in ROWS if "](" not in row[2]]
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        names = " ".join(re.findall(r"def (test\w+)\(", path.read_text(encoding="utf-8")))
        assert not [identity for identity in excused if carries(names, identity)], path
