# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    EngineError,
    WaitTimeout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._wait import Verdict, wait_until
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock


def answers(*done: bool) -> Callable[[], Verdict[int]]:
    """Return a look that gives these answers and then repeats the last."""
    seen: Iterator[tuple[int, bool]] = iter(enumerate(done, start=1))
    last = [(0, done[-1])]

    def look() -> Verdict[int]:
        last[0] = next(seen, (last[0][0] + 1, done[-1]))
        return Verdict(last[0][1], last[0][0], f"look {last[0][0]}")

    return look


@pytest.mark.parametrize(
    ("done", "in_a_row", "looks", "sleeps"),
    [
        ([True], 1, 1, []),
        ([False, False, True], 1, 3, [2, 2]),
        ([True, True, False, True, True, True], 3, 6, [2, 2, 2, 2, 2]),
    ],
)
def test_it_ends_with_the_answer(
    done: list[bool], in_a_row: int, looks: int, sleeps: list[float]
) -> None:
    clock = FakeClock()
    found = wait_until(
        answers(*done), what="x", timeout=60, interval=2, clock=clock, in_a_row=in_a_row
    )
    assert (found, clock.sleeps) == (looks, sleeps)


def test_a_timeout_is_a_failure_that_tells_the_last_answer() -> None:
    clock = FakeClock()
    with pytest.raises(WaitTimeout) as caught:
        wait_until(answers(False), what="socket /x", timeout=5, interval=2, clock=clock)
    assert caught.value.message == "socket /x: not within 5 s; last answer: look 4"
    assert caught.value.details == {"last": "look 4"}
    assert clock.sleeps == [2, 2, 1]


def test_with_no_time_left_it_still_looks_once() -> None:
    assert wait_until(answers(True), what="x", timeout=0, interval=1, clock=FakeClock()) == 1


def test_a_look_that_says_waiting_is_useless_ends_it() -> None:
    def look() -> Verdict[int]:
        raise EngineError("it is gone")

    clock = FakeClock()
    with pytest.raises(EngineError, match="it is gone"):
        wait_until(look, what="x", timeout=60, interval=1, clock=clock)
    assert clock.sleeps == []
