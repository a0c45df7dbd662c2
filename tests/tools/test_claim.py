# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What the claim counts, and when it says that it holds."""

from __future__ import annotations

import pytest

from tools.claim import report
from tools.claim.report import Books
from tools.loadgen.outcome import OK, RESET, Row


def rows(count: int, *, failed: int = 0) -> list[Row]:
    """Requests of which the last ones failed; latencies 1, 2, ... ms."""
    return [
        Row(n, "new", float(n), float(n + 1), RESET if n >= count - failed else OK)
        for n in range(count)
    ]


def books(planned: int, found: list[Row]) -> Books:
    made = Books()
    made.note(planned, found)
    return made


@pytest.mark.parametrize(
    ("planned", "found", "lost"),
    [(5, rows(5), 0), (5, rows(5, failed=2), 2), (6, rows(5), 1), (6, rows(5, failed=2), 3)],
    ids=["all well", "failed", "not accounted for", "both"],
)
def test_what_failed_and_what_is_missing_is_lost(planned: int, found: list[Row], lost: int) -> None:
    made = books(planned, found)
    assert (made.planned, made.accounted, made.lost) == (planned, len(found), lost)
    assert sum(made.failed.values()) == lost - (planned - len(found))


def test_books_add_up_over_loads() -> None:
    made = books(5, rows(5))
    made.note(3, rows(3, failed=1))
    assert (made.loads, made.planned, made.lost, dict(made.kinds)) == (2, 8, 1, {"new": 8})
    assert made.line() == "8 planned, 8 accounted for, 1 lost (1 new reset)"


@pytest.mark.parametrize(
    ("under", "controls", "holds"),
    [
        (rows(9), [rows(5, failed=1), rows(5, failed=2)], True),
        (rows(9, failed=1), [rows(5, failed=1)], False),
        (rows(9), [rows(5, failed=1), rows(5)], False),
        ([], [rows(5, failed=1)], False),
    ],
    ids=["holds", "something was lost", "a naive order lost nothing", "nothing was sent"],
)
def test_it_holds_only_if_nothing_was_lost_and_every_control_lost(
    under: list[Row], controls: list[list[Row]], holds: bool
) -> None:
    naive = {str(n): books(len(found), found) for n, found in enumerate(controls)}
    assert report.holds(books(len(under), under), naive) is holds


@pytest.mark.parametrize(("done", "verdict"), [(2, "It holds"), (1, "It does not hold")])
def test_the_page_says_what_was_counted(done: int, verdict: str) -> None:
    found = report.data(
        asked={"cutovers": 2, "rate": 10.0, "replicas": 2, "controls": 1},
        began=0.0,
        seconds=[5.0, 7.0][:done],
        quiet=books(4, rows(4)),
        under=books(2000, rows(2000)),
        controls={"kill_first": books(9, rows(9, failed=4))},
        versions={"HAProxy": "2.6"},
    )
    page = report.page(found)
    assert f"**{verdict}**: 2,000 planned, 2,000 accounted for,\n**0 lost**." in page
    assert f"# {done} consecutive cutovers under 10 requests/s" in page
    assert "| new | 2,000 | 1000 ms | 500 | 1980 ms | 495 |" in page
    assert "| kill_first | 9 | 4 | 4 new reset |" in page
