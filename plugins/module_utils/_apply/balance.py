# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many targets at many load balancers at once: what the granular modules do; private.

All load balancers are read before anything changes, so that one that cannot be reached stops everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets as steps
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import _names
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    LoadBalancer,
    Target,
)

T = TypeVar("T")
R = TypeVar("R")

STATES: Mapping[str, Admin] = {
    "present": Admin.ACTIVE,
    "standby": Admin.STANDBY,
    "draining": Admin.DRAINING,
    "maintenance": Admin.MAINTENANCE,
    "absent": Admin.ABSENT,
}
_REGISTERED = frozenset({Admin.ACTIVE, Admin.STANDBY})
_AT_ONCE = 32


@dataclass(frozen=True)
class Wanted:
    """What a user wants of one target."""

    name: str
    admin: Admin
    address: str = ""
    port: int = 0
    weight: int | None = None


@dataclass(frozen=True)
class Planned:
    """One target at one load balancer: as it is, as it shall be, and what that takes."""

    lb: LoadBalancer
    wanted: Wanted
    before: Target | None
    after: Target | None
    actions: tuple[str, ...]


def read_wanted(rows: Sequence[Mapping[str, Any]]) -> tuple[Wanted, ...]:
    """Check the option C(targets) as a whole."""
    found = tuple(_wanted(row, f"targets[{number}]") for number, row in enumerate(rows))
    names = [wanted.name for wanted in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput("targets", name, "every name must be given once")
    return found


def _wanted(row: Mapping[str, Any], path: str) -> Wanted:
    admin = STATES[row["state"]]
    address, port = row.get("address"), row.get("port")
    if address is None and port is None and admin not in _REGISTERED:
        address, port = "", 0
    else:
        address = _names.checked_address(f"{path}.address", address)
        port = _names.checked_port(f"{path}.port", port)
    weight = row.get("weight")
    if weight is not None:
        weight = _names.checked_number(f"{path}.weight", weight, 1, 256)
    return Wanted(_names.checked_name(f"{path}.name", row["name"]), admin, address, port, weight)


def read_names(names: Iterable[str]) -> tuple[str, ...]:
    """Check the option C(names)."""
    return tuple(_names.checked_name(f"names[{n}]", name) for n, name in enumerate(names))


def together(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do it for all at once; results in order, or one error that names everything that failed."""
    if not items:
        return []
    with ThreadPoolExecutor(min(len(items), _AT_ONCE)) as pool:
        futures = [pool.submit(function, item) for item in items]
    errors = [failure for future in futures if (failure := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, CutoverError):
            raise error
    if errors:
        raise _joined([error for error in errors if isinstance(error, CutoverError)], len(items))
    return [future.result() for future in futures]


def _joined(errors: Sequence[CutoverError], tried: int) -> CutoverError:
    if tried == 1:
        return errors[0]
    messages = [error.message for error in errors]
    kind = Kind.PARTIAL.value if len(errors) < tried else errors[0].details.get("kind")
    return CutoverError(
        f"{len(errors)} of {tried} failed: " + "; ".join(messages),
        kind=kind,
        errors=[{"message": error.message, **error.details} for error in errors],
    )


def probe_all(balancers: Sequence[LoadBalancer]) -> None:
    """Make sure that every load balancer can be used, before anything is changed at any."""
    together(lambda lb: lb.probe(), balancers)


def plan(
    balancers: Sequence[LoadBalancer], wanted: Sequence[Wanted], *, allow_last: bool
) -> list[Planned]:
    """Read every load balancer and say what it takes; refuses what must not be done."""
    views = together(lambda lb: lb.targets(), balancers)
    planned = []
    for lb, view in zip(balancers, views, strict=True):
        rows = [_plan_one(lb, item, {t.name: t for t in view}) for item in wanted]
        if not allow_last:
            _refuse_last(lb, view, rows)
        planned += rows
    return planned


def _plan_one(lb: LoadBalancer, wanted: Wanted, view: Mapping[str, Target]) -> Planned:
    before = view.get(wanted.name)
    if wanted.admin is Admin.ABSENT:
        leave = () if before is None else (f"deregister {wanted.name}",)
        return Planned(lb, wanted, before, None, leave)
    if before is None:
        return _plan_new(lb, wanted)
    if wanted.port and (before.address, before.port) != (wanted.address, wanted.port):
        raise LoadBalancerError(
            Kind.CONFLICT,
            f"{lb.where}: target {wanted.name} exists with address"
            f" {_names.joined(before.address, before.port)}, not"
            f" {_names.joined(wanted.address, wanted.port)}; deregister it first",
            where=lb.where,
        )
    admin = before.admin if before.admin.as_good_as(wanted.admin) else wanted.admin
    weight = before.weight if wanted.weight is None else wanted.weight
    actions: tuple[str, ...] = ()
    if admin is not before.admin:
        actions += (f"set {wanted.name} {admin.value}",)
    if weight != before.weight:
        actions += (f"set {wanted.name} weight {weight}",)
    return Planned(lb, wanted, before, replace(before, admin=admin, weight=weight), actions)


def _plan_new(lb: LoadBalancer, wanted: Wanted) -> Planned:
    if wanted.admin not in _REGISTERED:
        raise LoadBalancerError(
            Kind.TARGET_NOT_FOUND, f"{lb.where}: no target {wanted.name}", where=lb.where
        )
    weight = 1 if wanted.weight is None else wanted.weight
    after = Target(
        wanted.name, wanted.address, wanted.port, wanted.admin, Health.UNKNOWN, weight=weight
    )
    shown = _names.joined(wanted.address, wanted.port)
    actions = [f"register {wanted.name} {shown}"]
    if weight != 1:
        actions.append(f"set {wanted.name} weight {weight}")
    if wanted.admin is Admin.ACTIVE:
        actions.append(f"set {wanted.name} active")
    return Planned(lb, wanted, None, after, tuple(actions))


def _refuse_last(lb: LoadBalancer, view: Sequence[Target], rows: Sequence[Planned]) -> None:
    serving = {target.name for target in view if target.serving}
    taken = {row.wanted.name for row in rows if row.wanted.admin is not Admin.ACTIVE} & serving
    added = {row.wanted.name for row in rows if row.wanted.admin is Admin.ACTIVE}
    if taken and not (serving - taken) and not added:
        raise LoadBalancerError(
            Kind.LAST_TARGET,
            f"{lb.where}: without {', '.join(sorted(taken))} no target would serve;"
            " set allow_last_target to do it anyway",
            where=lb.where,
        )


def carry_out(
    planned: Sequence[Planned], timeout: float, clock: Clock, balancers: Sequence[LoadBalancer]
) -> list[Target | None]:
    """Bring the new ones in first, then take the others out; every change confirmed, then persisted."""
    new = [row for row in planned if row.wanted.admin is Admin.ACTIVE]
    rest = [row for row in planned if row.wanted.admin is not Admin.ACTIVE]
    try:
        done = dict(_carry_out(new, timeout, clock) + _carry_out(rest, timeout, clock))
    finally:
        together(lambda lb: lb.persist(), balancers)
    return [done[_key(row)] for row in planned]


def _carry_out(
    rows: Sequence[Planned], timeout: float, clock: Clock
) -> list[tuple[tuple[int, str], Target | None]]:
    return together(lambda row: (_key(row), _one(row, timeout, clock)), rows)


def _key(row: Planned) -> tuple[int, str]:
    return id(row.lb), row.wanted.name


def _one(row: Planned, timeout: float, clock: Clock) -> Target | None:
    lb, wanted = row.lb, row.wanted
    if wanted.admin is Admin.ABSENT:
        if row.before is not None:
            steps.start_drain(lb, wanted.name)
            steps.await_drained(lb, [wanted.name], timeout, clock)
        return steps.deregister(lb, wanted.name).after
    if row.before is None:
        steps.register_standby(lb, wanted.name, wanted.address, wanted.port)
    if wanted.weight is not None:
        lb.set_weight(wanted.name, wanted.weight)
    if wanted.admin is Admin.ACTIVE:
        if row.before is not None and row.before.admin is Admin.MAINTENANCE:
            lb.set_state(wanted.name, Admin.STANDBY)
        if row.before is None or row.before.admin is not Admin.ACTIVE:
            steps.await_healthy(lb, wanted.name, timeout, clock)
        steps.activate(lb, wanted.name)
    elif row.before is not None:
        lb.set_state(wanted.name, wanted.admin)
    return _shown_as(steps.find(lb, wanted.name), row.after)


def _shown_as(found: Target, planned: Target | None) -> Target:
    """Standby and draining are one state in some load balancers: show the word that was planned."""
    if planned is not None and found.admin.as_good_as(planned.admin):
        return replace(found, admin=planned.admin)
    return found


def intent(target: Target | None) -> dict[str, Any] | None:
    """Show a target without what changes by itself."""
    if target is None:
        return None
    return {
        "name": target.name,
        "address": target.address,
        "port": target.port,
        "state": target.admin.value,
        "weight": target.weight,
    }
