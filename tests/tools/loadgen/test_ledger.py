# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The books refuse anything but one outcome per planned request."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.loadgen.ledger import AccountingError, Ledger
from tools.loadgen.outcome import FAILURES, OK, RESET, Row, read_rows, to_record
from tools.loadgen.plan import Planned


def row(number: int, outcome: str = OK, instance: str = "", detail: str = "") -> Row:
    return Row(number, "new", 1700000000.25, 12.5, outcome, 200, "1.0.0", instance, 0.5, detail)


def test_planned_accounted_and_failed_are_counted() -> None:
    books = Ledger(io.StringIO())
    for number in range(3):
        books.plan(Planned(number, "new", number))
    books.settle(row(1))
    books.settle(row(0, RESET))
    assert (books.planned, books.accounted, books.in_flight) == (3, 2, 1)
    assert dict(books.failed) == {RESET: 1}


@pytest.mark.parametrize("settled", [[0, 0], [1], [-1]])
def test_settling_twice_or_unplanned_is_refused(settled: list[int]) -> None:
    books = Ledger(io.StringIO())
    books.plan(Planned(0, "new", 0.0))
    with pytest.raises(AccountingError, match="is not open"):
        for number in settled:
            books.settle(row(number))


@pytest.mark.parametrize("number", [0, 2])
def test_planning_twice_or_leaving_one_out_is_refused(number: int) -> None:
    books = Ledger(io.StringIO())
    books.plan(Planned(0, "new", 0.0))
    with pytest.raises(AccountingError, match="out of order"):
        books.plan(Planned(number, "new", 0.0))


@given(
    st.sampled_from([OK, *FAILURES]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
)
def test_rows_survive_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, kind: str, text: str
) -> None:
    stream = io.StringIO()
    books = Ledger(stream)
    books.plan(Planned(0, "new", 0.0))
    one = row(0, kind, instance='a"b,c', detail=text)
    books.settle(one)
    assert len(to_record(one)) == len(stream.getvalue().splitlines()[0].split(","))
    path = Path(tmp_path_factory.mktemp("rows") / "rows.csv")
    path.write_text(stream.getvalue(), encoding="utf-8")
    assert list(read_rows(path)) == [one]
