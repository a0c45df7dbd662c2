# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules lb_target, lb_target_info and drain, without their mains; private."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import balance
from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets as steps
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    InvalidInput,
    LoadBalancerError,
    LoadBalancerErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    LoadBalancer,
    Target,
)

BALANCERS_SPEC: dict[str, dict[str, Any]] = {
    "load_balancers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": factory.LOAD_BALANCER_SPEC,
    },
}
WAIT_SPEC: dict[str, dict[str, Any]] = {
    "wait": {
        "type": "dict",
        "default": {},
        "options": {"timeout": {"type": "int", "default": 60}},
    },
}
TARGET_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str"},
    "port": {"type": "int"},
    "state": {"type": "str", "choices": list(balance.STATES), "default": "present"},
    "weight": {"type": "int"},
}
LB_TARGET_SPEC: dict[str, dict[str, Any]] = {
    **BALANCERS_SPEC,
    **WAIT_SPEC,
    "targets": {"type": "list", "elements": "dict", "required": True, "options": TARGET_SPEC},
    "allow_last_target": {"type": "bool", "default": False},
}
LB_TARGET_INFO_SPEC: dict[str, dict[str, Any]] = {
    **BALANCERS_SPEC,
    "names": {"type": "list", "elements": "str", "default": []},
}
DRAIN_SPEC: dict[str, dict[str, Any]] = {
    **BALANCERS_SPEC,
    **WAIT_SPEC,
    "names": {"type": "list", "elements": "str", "required": True},
    "allow_last_target": {"type": "bool", "default": False},
}


def ensure_targets(params: Mapping[str, Any], clock: Clock, *, check: bool) -> dict[str, Any]:
    """Bring every target to its wanted state at every load balancer."""
    wanted = balance.read_wanted(params["targets"])
    return _ensure(params, wanted, clock, check=check)


def drain_targets(params: Mapping[str, Any], clock: Clock, *, check: bool) -> dict[str, Any]:
    """Give the targets nothing new and wait until they have finished what they have."""
    names = balance.read_names(params["names"])
    wanted = [balance.Wanted(name, Admin.DRAINING) for name in names]
    started = clock.monotonic()
    result = _ensure(params, wanted, clock, check=check)
    if check:
        return {**result, "drained": []}
    timeout = _timeout(params) - (clock.monotonic() - started)
    balancers = _connect(params, clock)
    waited = balance.together(lambda lb: _wait(lb, names, timeout, clock), balancers)
    return {**result, "drained": [row for rows in waited for row in rows]}


def look_at_targets(params: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """Show what every load balancer shows."""
    names = balance.read_names(params["names"])
    balancers = _connect(params, clock)
    return {
        "changed": False,
        "load_balancers": balance.together(lambda lb: _shown(lb, names), balancers),
    }


def _ensure(
    params: Mapping[str, Any], wanted: Sequence[balance.Wanted], clock: Clock, *, check: bool
) -> dict[str, Any]:
    timeout = _timeout(params)
    balancers = _connect(params, clock)
    balance.probe_all(balancers)
    planned = balance.plan(balancers, wanted, allow_last=params["allow_last_target"])
    stale = [lb for lb in balancers if not lb.persisted()]
    changed = any(row.actions for row in planned) or bool(stale)
    after = [row.after for row in planned]
    if changed and not check:
        after = balance.carry_out(planned, timeout, clock, balancers)
    shown_before = _by_balancer(balancers, planned, [row.before for row in planned])
    shown_after = _by_balancer(balancers, planned, after)
    actions = [f"{row.lb.where}: {action}" for row in planned for action in row.actions]
    actions += [f"{lb.where}: persist what runs" for lb in stale]
    return {
        "changed": changed,
        "before": shown_before,
        "after": shown_after,
        "diff": {"before": shown_before, "after": shown_after},
        "actions": actions,
    }


def _by_balancer(
    balancers: Sequence[LoadBalancer],
    planned: Sequence[balance.Planned],
    found: Sequence[Target | None],
) -> list[dict[str, Any]]:
    pairs = list(zip(planned, found, strict=True))
    return [
        {
            "load_balancer": lb.where,
            "targets": [balance.intent(t) for row, t in pairs if row.lb is lb and t is not None],
        }
        for lb in balancers
    ]


def _wait(
    lb: LoadBalancer, names: Sequence[str], timeout: float, clock: Clock
) -> list[dict[str, Any]]:
    drained = steps.await_drained(lb, names, timeout, clock)
    return [
        {
            "load_balancer": lb.where,
            "name": name,
            "seconds": drained[name].seconds,
            "peak": drained[name].peak,
        }
        for name in names
    ]


def _shown(lb: LoadBalancer, names: Sequence[str]) -> dict[str, Any]:
    can = lb.probe()
    found = [target for target in lb.targets() if not names or target.name in names]
    missing = [name for name in names if name not in {target.name for target in found}]
    if missing:
        raise LoadBalancerError(
            LoadBalancerErrorKind.TARGET_NOT_FOUND,
            f"{lb.where}: no target {', '.join(missing)}",
            where=lb.where,
        )
    work = lb.in_flight([target.name for target in found])
    return {
        "load_balancer": lb.where,
        "driver": can.name,
        "version": can.version,
        "persisted": lb.persisted(),
        "targets": [
            {
                **(balance.intent(target) or {}),
                "health": target.health.value,
                "check": target.check,
                "serving": target.serving,
                "in_flight": work[target.name].count,
                "queued": work[target.name].queued,
                "in_flight_quality": work[target.name].quality.value,
            }
            for target in found
        ],
    }


def _connect(params: Mapping[str, Any], clock: Clock) -> list[LoadBalancer]:
    balancers = [factory.connect(options, clock) for options in params["load_balancers"]]
    if not balancers:
        raise InvalidInput("load_balancers", [], "must name at least one backend")
    places = [lb.where for lb in balancers]
    for place in places:
        if places.count(place) > 1:
            raise InvalidInput("load_balancers", place, "every backend must be given once")
    return balancers


def _timeout(params: Mapping[str, Any]) -> int:
    timeout: int = params["wait"]["timeout"]
    if not 1 <= timeout <= 86400:
        raise InvalidInput("wait.timeout", timeout, "must be a duration in whole seconds, 1-86400")
    return timeout
