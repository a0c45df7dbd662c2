# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""docs/bad-input.md says the truth: every id once, with tests that carry it, or with the reason why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TABLE.splitlines()
    if re.match(r"\| B\d\d ", line)
]


def carries(path: Path, identity: str) -> bool:
    number = identity[1:]
    text = path.read_text(encoding="utf-8")
    return re.search(rf"\b{identity}\b|_b{number}_", text) is not None


def test_every_id_has_one_row() -> None:
    assert [row[0] for row in ROWS] == [f"B{number:02d}" for number in range(1, 69)]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_tests_that_carry_its_id_or_says_why_not(row: list[str]) -> None:
    identity, _what, tested, remark = row
    named = [(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", tested)]
    assert named or len(remark) > 20
    for path in named:
        assert carries(path, identity), f"{path.name} has no test of {identity}"
