# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of working on several recipes."""

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import many as subject


def test_results_are_in_the_order_of_the_input() -> None:
    second_done = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            assert second_done.wait(5)
        second_done.set()
        return item * 10

    assert subject.for_each([1, 2], work, 2) == [10, 20]


def test_every_error_is_reported() -> None:
    def work(item: int) -> int:
        if item % 2:
            raise CutoverError(f"bad {item}", item=item)
        return item

    with pytest.raises(CutoverError) as caught:
        subject.for_each([1, 2, 3], work, 1)
    assert caught.value.message == "bad 1\nbad 3"
    errors = t.cast("list[dict[str, object]]", caught.value.details["errors"])
    assert [error["item"] for error in errors] == [1, 3]


def test_one_error_stays_itself() -> None:
    def work(item: int) -> int:
        raise CutoverError("bad", item=item)

    with pytest.raises(CutoverError) as caught:
        subject.for_each([7], work, 1)
    assert (caught.value.message, caught.value.details) == ("bad", {"item": 7})


def test_a_failure_carries_the_report_of_what_was_done() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise OSError(28, "No space left on device")
        return item

    def report(done: t.Sequence[int]) -> dict[str, t.Any]:
        return {"images": list(done), "changed": True}

    with pytest.raises(CutoverError) as caught:
        subject.report_each([1, 2, 3], work, 2, report)
    assert caught.value.message == "[Errno 28] No space left on device"
    assert caught.value.details == {"images": [1, 3], "changed": True}
    assert subject.report_each([1, 3], work, 2, report)["images"] == [1, 3]
    with pytest.raises(CutoverError, match="No space left") as caught:
        subject.report_each([2], work, 2, report)
    assert caught.value.details["images"] == []


@pytest.mark.parametrize("workers", [0, -1, 17])
def test_concurrency_has_bounds(workers: int) -> None:
    with pytest.raises(CutoverError, match="concurrency: must be an integer 1-16"):
        subject.for_each([1], lambda item: item, workers)
