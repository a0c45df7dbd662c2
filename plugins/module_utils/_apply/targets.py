# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to one target at a load balancer, step by step; private, no stability promised.

The modules and the executor share these. Each step looks first, so running it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
    WaitTimeout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Change,
    Health,
    InFlight,
    LoadBalancer,
    Quality,
    Target,
)
from ansible_collections.immutable.cutover.plugins.module_utils._wait import Verdict, wait_until

Progress = Callable[[Mapping[str, InFlight]], None]
"""Told about each target that is still waited for."""

_ROUTED_NOTHING = frozenset({Admin.STANDBY, Admin.DRAINING, Admin.MAINTENANCE})


@dataclass(frozen=True)
class Drained:
    """How one target became idle."""

    name: str
    seconds: float
    """From the start of the wait to the first of the samples that counted."""
    peak: int
    """The most that was seen in flight."""


def register_standby(lb: LoadBalancer, name: str, address: str, port: int) -> Change:
    """Make the target exist, checked and without traffic; an active one is left as it is.

    A run that died half-way leaves it in maintenance, without checks: that is brought to standby.
    """
    change = lb.register(name, address, port)
    if change.after is not None and change.after.admin is Admin.MAINTENANCE:
        return Change(name, change.before, lb.set_state(name, Admin.STANDBY).after)
    return change


def await_healthy(
    lb: LoadBalancer,
    name: str,
    timeout: float,
    clock: Clock,
    *,
    interval: float = 0.05,
    whole: float = 0,
) -> Target:
    """Wait until the balancer's own check has passed; NOT_HEALTHY carries its last words.

    C(whole): how long the wait may be in all, where C(timeout) is what is left of it.
    """

    def look() -> Verdict[Target]:
        target = find(lb, name)
        return Verdict(target.health is Health.UP, target, target.check or target.health.value)

    what = f"{lb.where}: health of target {name}"
    try:
        return wait_until(look, what=what, timeout=timeout, interval=interval, clock=clock)
    except WaitTimeout as late:
        last = str(late.details.get("last", ""))
        raise LoadBalancerError(
            Kind.NOT_HEALTHY,
            f"{lb.where}: target {name} is not healthy after {whole or timeout:g} s; its last check",
            last,
            where=lb.where,
            target=name,
        ) from late


def activate(lb: LoadBalancer, name: str) -> Change:
    """Let it have traffic, if the balancer's own check says that it is up."""
    target = find(lb, name)
    if target.admin is Admin.ACTIVE:
        return Change(name, target, target)
    if target.health is not Health.UP:
        raise LoadBalancerError(
            Kind.NOT_HEALTHY,
            f"{lb.where}: target {name} gets no traffic before its check has passed; now it is"
            f" {target.health.value}",
            target.check,
            where=lb.where,
            target=name,
        )
    return lb.set_state(name, Admin.ACTIVE)


def offer(lb: LoadBalancer, name: str, beside: Callable[[str], bool]) -> None:
    """Let requests that ask for the new release have it, and of the others only those that belong to it too."""
    if lb.preview() is not None:
        lb.change_preview(lambda offered: [name, *(other for other in offered if beside(other))])


def withdraw(lb: LoadBalancer, name: str) -> None:
    """Let no request ask for it any more."""
    if name in (lb.preview() or ()):
        lb.change_preview(lambda offered: [other for other in offered if other != name])


def start_drain(lb: LoadBalancer, name: str) -> Change:
    """Give it nothing new, and see the balancer say so."""
    target = find(lb, name)
    withdraw(lb, name)
    if target.admin in _ROUTED_NOTHING:
        return Change(name, target, target)
    return lb.set_state(name, Admin.DRAINING)


def deregister(lb: LoadBalancer, name: str) -> Change:
    """Remove an idle target; NOT_DRAINED if it is not idle."""
    withdraw(lb, name)
    return lb.deregister(name)


def find(lb: LoadBalancer, name: str) -> Target:
    """Return the target as the balancer shows it now, or raise TARGET_NOT_FOUND."""
    for target in lb.targets():
        if target.name == name:
            return target
    raise LoadBalancerError(
        Kind.TARGET_NOT_FOUND, f"{lb.where}: no target {name}", where=lb.where, target=name
    )


def await_drained(
    lb: LoadBalancer,
    names: Sequence[str],
    timeout: float,
    clock: Clock,
    on_progress: Progress | None = None,
    *,
    apart: Callable[[str], int] | None = None,
    samples: int = 3,
    interval: float = 0.1,
    whole: float = 0,
) -> Mapping[str, Drained]:
    """Wait until every target is idle: nothing in flight in C(samples) looks in a row, after settling.

    Each look first makes sure that the balancer still routes nothing there: a zero counts only then.
    C(whole): how long the wait may be in all, where C(timeout) is what is left of it.
    C(apart) says how much of a target's work is not waited for.
    """
    wait = _DrainWait(lb, names, clock, samples, apart)
    if not names:
        return {}
    wait.refuse_routed(names)
    clock.sleep(lb.probe().settle)
    while not wait.look():
        if on_progress is not None:
            on_progress(wait.busy)
        left = timeout - wait.elapsed
        if left <= 0:
            raise wait.timed_out(whole or timeout)
        clock.sleep(min(interval, left))
    return wait.drained


class _DrainWait:
    """The state of one wait."""

    def __init__(
        self,
        lb: LoadBalancer,
        names: Sequence[str],
        clock: Clock,
        samples: int,
        apart: Callable[[str], int] | None,
    ) -> None:
        self._apart = apart
        self._lb = lb
        self._clock = clock
        self._samples = samples
        self._started = clock.monotonic()
        self._row = dict.fromkeys(names, 0)
        self._since = dict.fromkeys(names, 0.0)
        self._peak = dict.fromkeys(names, 0)
        self.busy: Mapping[str, InFlight] = {}
        self.drained: dict[str, Drained] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return self._clock.monotonic() - self._started

    def look(self) -> bool:
        """Take one sample of every target that is not drained yet; return whether all are."""
        names = [name for name in self._row if name not in self.drained]
        figures = self._lb.in_flight(names)
        if self._apart is not None:
            # Asked for after the figures: what ended in between is waited for once more, never missed.
            figures = {name: _less(figures[name], self._apart(name)) for name in names}
        # After the figures as well as before: they count only if nothing was routed there meanwhile.
        self.refuse_routed(names)
        for name in names:
            self._count(name, figures[name])
        self.busy = {name: figures[name] for name in names if name not in self.drained}
        return not self.busy

    def refuse_routed(self, names: Sequence[str]) -> None:
        """Raise STALE when the balancer shows one of them in another state than drained."""
        wanted = set(names)
        for target in self._lb.targets():
            if target.name in wanted and target.admin not in _ROUTED_NOTHING:
                raise LoadBalancerError(
                    Kind.STALE,
                    f"{self._lb.where}: target {target.name} is {target.admin.value} while it was"
                    " waited for its drain; somebody else changed it or the balancer forgot",
                    where=self._lb.where,
                    target=target.name,
                )

    def _count(self, name: str, figure: InFlight) -> None:
        if figure.quality is Quality.NONE:
            raise LoadBalancerError(
                Kind.UNSUPPORTED,
                f"{self._lb.where}: no in-flight figure for target {name}; probe the app instead",
                where=self._lb.where,
                target=name,
            )
        self._peak[name] = max(self._peak[name], figure.total)
        if figure.total:
            self._row[name] = 0
            return
        if self._row[name] == 0:
            self._since[name] = self.elapsed
        self._row[name] += 1
        if self._row[name] >= self._samples:
            self.drained[name] = Drained(name, round(self._since[name], 3), self._peak[name])

    def timed_out(self, timeout: float) -> LoadBalancerError:
        """Say who is still busy."""
        shown = ", ".join(
            f"{name} ({work.count} in flight, {work.queued} queued)"
            for name, work in self.busy.items()
        )
        return LoadBalancerError(
            Kind.DRAIN_TIMEOUT,
            f"{self._lb.where}: still busy after {timeout:g} s: {shown}; nothing was cut",
            where=self._lb.where,
            busy={name: work.total for name, work in self.busy.items()},
        )


def _less(figure: InFlight, apart: int) -> InFlight:
    return replace(figure, count=max(0, figure.count - apart))
