# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that no drain can wait for: WebSockets, event streams, long polls; private.

They have a time limit of their own, and are then closed one by one at an even pace, so that their clients do not all
come back at the same moment. What is closed is counted apart: it is cut on purpose, and its clients reconnect.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    LoadBalancer,
    Session,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    LongLived,
)

_LOOK = 0.5


def long_lived(lb: LoadBalancer, name: str, rule: LongLived) -> tuple[Session, ...]:
    """Return the sessions of a target that the rule is about, the oldest first."""
    return tuple(
        session
        for session in lb.sessions(name)
        if session.tunnel or (rule.older_than and session.seconds >= rule.older_than)
    )


def close_paced(
    lb: LoadBalancer,
    name: str,
    rule: LongLived,
    *,
    left: Callable[[int], float],
    guard: Callable[[], AbstractContextManager[None]],
    closed: Callable[[], None],
    note: Callable[[str], None],
    clock: Clock,
) -> None:
    """Wait until none is left; when their time is over, close them within C(close_over) seconds.

    C(left) says how much is left of so many seconds since the drain began, so that a call that was cut off goes on.
    """
    while sessions := long_lived(lb, name, rule):
        waits = left(rule.timeout)
        if waits > 0:
            note(f"{len(sessions)} long-lived connections, closed in {waits:.0f} s")
            clock.sleep(min(_LOOK, waits))
            continue
        note(f"{len(sessions)} long-lived connections to close")
        pause = left(rule.timeout + rule.close_over) / len(sessions)
        with guard():
            if lb.close(name, sessions[0]):
                closed()
        clock.sleep(pause)
