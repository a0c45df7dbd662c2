# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor of a fleet: how many targets of a backend serve, whosever they are; private, no stability promised."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    LoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.fleet import Fleet
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    file_lock,
    private_folder,
)


def others_serve(fleet: Fleet, drivers: Sequence[LoadBalancer], name: str, replicas: int) -> bool:
    """Whether enough targets of every backend serve without this one; C(replicas): what this host gives to each."""
    return not fleet.guards or all(
        sum(target.serving and target.name != name for target in driver.targets())
        >= fleet.floor(replicas)
        for driver in drivers
    )


def or_of_the_fleet(fleet: Fleet, replicas: int) -> str:
    """Say what else a drain may have waited for."""
    return f", or fewer of the whole fleet than {fleet.told(replicas)}" if fleet.guards else ""


@contextlib.contextmanager
def floor_lock(fleet: Fleet, state_dir: str) -> Iterator[None]:
    """Let the runs of several hosts behind one load balancer count and drain one after another."""
    if not fleet.guards:
        yield
        return
    lock = os.path.join(private_folder(state_dir), "fleet.lock")
    with file_lock(lock, shared=False, clock=SystemClock()):
        yield
