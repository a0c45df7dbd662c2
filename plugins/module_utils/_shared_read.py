# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One read for all who asked before it began; private, no stability promised."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError

T = TypeVar("T")


class SharedRead(Generic[T]):
    """Let many threads that look at one thing share their looks, without anyone seeing an older one.

    Everybody gets the answer of a read that began after they asked, or the CutoverError it ended with.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._changed = threading.Condition()
        self._begun = 0
        self._reading = False
        self._done: tuple[int, tuple[T] | CutoverError] = (0, CutoverError("nothing was read yet"))

    def get(self) -> T:
        """Return what a read that began after this call saw."""
        with self._changed:
            wanted = self._begun + 1
            while self._reading and self._done[0] < wanted:
                self._changed.wait()
            if self._done[0] >= wanted:
                return _answer(self._done[1])
            self._reading = True
            self._begun += 1
            mine = self._begun
        result: tuple[T] | CutoverError = CutoverError("the read was cut off")
        try:
            result = (self._read(),)
        except CutoverError as error:
            result = error
        finally:
            with self._changed:
                self._reading = False
                self._done = (mine, result)
                self._changed.notify_all()
        return _answer(result)


def _answer(result: tuple[T] | CutoverError) -> T:
    if isinstance(result, CutoverError):
        raise result
    return result[0]
