# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fence of a load balancer's host against late steps for an app's other host; private, no stability promised.

The lease is on the host of the replicas, and with it the epoch. A load balancer's host lets nobody in with an epoch
below the highest that it has seen of that host: a run that lost the lease there is refused here as soon as the next
run has come here, and no later than before that next run may destroy anything.
"""

from __future__ import annotations

import os

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._lease import (
    Holder,
    Lease,
    LeaseState,
)
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    file_lock,
    private_folder,
)


class Fence(Lease):
    """What a load balancer's host knows of the lease on one other host. C(guard) is the lease's own."""

    def __init__(self, state_dir: str, app: str, member: str, clock: Clock) -> None:
        super().__init__(state_dir, app, clock)
        self._file = os.path.join(self._folder, f"fence-{member}.json")
        self._lock = os.path.join(self._folder, f"fence-{member}.lock")

    def admit(self, holder: Holder, ttl: int, epoch: int) -> None:
        """Let a run in, and with it nobody of an epoch before; waits for a step of theirs that is under way."""
        private_folder(self._folder)
        with file_lock(self._lock, shared=False, clock=self._clock):
            state = self.read()
            if state.epoch > epoch or (
                state.epoch == epoch and state.holder and state.holder.run != holder.run
            ):
                raise self._fenced(epoch, state)
            now = self._clock.now()
            self._take(LeaseState(epoch, holder, state.acquired or now, now, ttl))
