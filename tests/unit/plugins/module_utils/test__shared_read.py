# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody gets an answer that was on its way before they asked, and many share one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._shared_read import SharedRead


class Source:
    """A value that changes, and reads of it that can be held open."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.began = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def read(self) -> int:
        self.reads += 1
        seen = self.value
        self.began.release()
        assert self.go_on.acquire(timeout=10)
        return seen


def test_who_asks_during_a_read_waits_for_the_next_one_and_shares_it() -> None:
    source = Source()
    shared = SharedRead(source.read)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared.get)
        assert source.began.acquire(timeout=10)
        source.value = 1
        late = [pool.submit(shared.get) for _asker in range(8)]
        while len(shared._changed._waiters) < 8:  # type: ignore[attr-defined]  # all are waiting now
            time.sleep(0.001)
        source.go_on.release(9)
        assert first.result(10) == 0
        assert {item.result(10) for item in late} == {1}
    assert source.reads == 2


def test_one_after_the_other_each_reads_anew() -> None:
    source = Source()
    source.go_on.release(3)
    shared = SharedRead(source.read)
    seen = []
    for value in (1, 2, 3):
        source.value = value
        seen.append(shared.get())
    assert seen == [1, 2, 3]


def test_an_error_reaches_the_asker_and_the_next_read_starts_clean() -> None:
    answers: list[int | CutoverError] = [CutoverError("no answer"), 7]

    def read() -> int:
        answer = answers.pop(0)
        if isinstance(answer, CutoverError):
            raise answer
        return answer

    shared = SharedRead(read)
    with pytest.raises(CutoverError, match="no answer"):
        shared.get()
    assert shared.get() == 7


def test_what_is_no_error_of_ours_passes_and_frees_the_others() -> None:
    def read() -> int:
        raise KeyboardInterrupt

    shared = SharedRead(read)
    with pytest.raises(KeyboardInterrupt):
        shared.get()
    with pytest.raises(KeyboardInterrupt):
        shared.get()
