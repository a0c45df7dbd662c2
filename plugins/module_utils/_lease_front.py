# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease as a module offers it: check mode, waiting, before and after; private, no stability promised."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LeaseHeld,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import (
    Holder,
    Lease,
    LeaseState,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease_options import (
    LeaseTimes,
    parse_lease,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_name

POLL = 1.0


def ensure_lease(params: Mapping[str, Any], clock: Clock, *, check: bool) -> dict[str, Any]:
    """Bring the lease to the wanted state and return the module's result."""
    app, run = check_name(params["app"], "app"), check_name(params["run"], "run")
    times = parse_lease({key: params[key] for key in ("wait", "ttl")}, "")
    lease = Lease(params["state_dir"], app, clock)
    before = lease.read()
    if params["state"] == "released":
        after = _released(lease, before, run, check)
    else:
        holder = Holder(run, params["user"], socket.gethostname())
        after = _acquired(lease, before, holder, times, clock, check)
    return _result(before, after)


def _released(lease: Lease, before: LeaseState, run: str, check: bool) -> LeaseState:
    if before.holder is None or before.holder.run != run:
        return before
    if check:
        return replace(before, holder=None, ttl=0)
    lease.release(run)
    return lease.read()


def _acquired(
    lease: Lease,
    before: LeaseState,
    holder: Holder,
    times: LeaseTimes,
    clock: Clock,
    check: bool,
) -> LeaseState:
    if check:
        refusal = lease.refusal(before, holder)
        if refusal is not None and not times.wait:  # nobody waits in check mode
            raise refusal
        mine = before.holder is not None and before.holder.run == holder.run
        return replace(before, holder=holder, ttl=times.ttl, epoch=before.epoch + (not mine))
    deadline = clock.monotonic() + times.wait
    while True:
        try:
            return lease.acquire(holder, times.ttl, waits=deadline - clock.monotonic())
        except LeaseHeld:
            if clock.monotonic() >= deadline:
                raise
            clock.sleep(min(POLL, max(0.05, deadline - clock.monotonic())))


def _result(before: LeaseState, after: LeaseState) -> dict[str, Any]:
    shown_before, shown_after = _shown(before), _shown(after)
    changed = shown_before != shown_after
    verb = "released" if after.holder is None else "acquired"
    return {
        "changed": changed,
        "epoch": after.epoch,
        "before": shown_before,
        "after": shown_after,
        "diff": {"before": shown_before, "after": shown_after},
        "actions": [f"{verb} epoch {after.epoch}"] if changed else [],
    }


def _shown(state: LeaseState) -> dict[str, Any]:
    """Return what makes two leases different for a person; renewing alone changes nothing."""
    holder = asdict(state.holder) if state.holder else None
    return {"epoch": state.epoch, "holder": holder, "ttl": state.ttl}
