# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting with a deadline, a failure row and a last answer; private, no stability promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import WaitTimeout

T = TypeVar("T")


@dataclass(frozen=True)
class Verdict(Generic[T]):
    """What one look says: finished or not, the answer seen, and one line that describes it.

    A look that shows that waiting longer is useless raises instead of returning.
    """

    done: bool
    answer: T
    detail: str


def wait_until(
    look: Callable[[], Verdict[T]],
    *,
    what: str,
    timeout: float,
    interval: float,
    clock: Clock,
    in_a_row: int = 1,
) -> T:
    """Look every C(interval) seconds until C(in_a_row) looks in a row are done.

    Raises WaitTimeout with the last detail after C(timeout) seconds.
    """
    deadline = clock.monotonic() + timeout
    row = 0
    while True:
        verdict = look()
        row = row + 1 if verdict.done else 0
        if row >= in_a_row:
            return verdict.answer
        left = deadline - clock.monotonic()
        if left <= 0:
            raise WaitTimeout(
                f"{what}: not within {timeout:g} s; last answer: {verdict.detail}",
                last=verdict.detail,
            )
        clock.sleep(min(interval, left))
