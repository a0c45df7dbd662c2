# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From drained to idle: what is in flight is waited for, closed or cut as the spec says; private.

Waits hold no lock; whatever changes something does so inside C(Lease.guard).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible_collections.immutable.cutover.plugins.module_utils._apply import long_lived, targets
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Site
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Container
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
    LoadBalancerErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    InFlight,
    LoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    LongLived,
    ProcessSpec,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Step

Detail = Mapping[str, object]
CLOSING = 10.0
"""Seconds a load balancer may take to show that what was closed is gone."""


class Drained:
    """Wait, at every load balancer of a process, until a replica works on nothing more."""

    def __init__(
        self,
        site: Site,
        lease: Lease,
        epoch: int,
        timers: Timers,
        note: Callable[[str, str], None],
        container_of: Callable[[Step], Container | None],
    ) -> None:
        self._site = site
        self._lease = lease
        self._epoch = epoch
        self._timers = timers
        self._note = note
        self._container_of = container_of

    def wait(self, step: Step, process: ProcessSpec | None) -> Detail:
        """Return what had to be cut or closed, if anything, once nothing is in flight."""
        timeout = process.drain.timeout if process else 60
        rule = process.drain.long_lived if process else None
        key = f"await:{step.replica}"
        try:
            for driver in self._site.drivers(step.process):
                if step.replica in (driver.preview() or ()):
                    with self._lease.guard(self._epoch):
                        targets.withdraw(driver, step.replica)
                if rule is not None:
                    self._await_long_lived(step, driver, rule, timeout)
                targets.await_drained(
                    driver,
                    [step.replica],
                    timeout=self._timers.left(key, timeout) if rule is None else CLOSING,
                    whole=timeout if rule is None else CLOSING,
                    clock=self._site.clock,
                    on_progress=lambda seen: self._busy(step, seen),
                )
        except LoadBalancerError as error:
            if error.kind is not LoadBalancerErrorKind.DRAIN_TIMEOUT:
                raise
            if process is None or process.drain.on_timeout != "force":
                raise
            return self._force(step, process, error)
        if rule is None:
            return {}
        return {"long_lived_closed": int(self._timers.counts.pop(f"closed:{step.replica}", 0))}

    def _await_long_lived(
        self, step: Step, driver: LoadBalancer, rule: LongLived, timeout: int
    ) -> None:
        """Wait for all other work as always, then for what is long-lived by its own rule."""
        key, closed = f"await:{step.replica}", f"closed:{step.replica}"
        targets.await_drained(
            driver,
            [step.replica],
            timeout=self._timers.left(key, timeout),
            whole=timeout,
            clock=self._site.clock,
            on_progress=lambda seen: self._busy(step, seen),
            apart=lambda name: len(long_lived.long_lived(driver, name, rule)),
        )

        def count() -> None:
            self._timers.counts[closed] = self._timers.counts.get(closed, 0) + 1

        long_lived.close_paced(
            driver,
            step.replica,
            rule,
            left=lambda seconds: self._timers.left(key, seconds),
            guard=lambda: self._lease.guard(self._epoch),
            closed=count,
            note=lambda text: self._note(step.replica, text),
            clock=self._site.clock,
        )

    def _busy(self, step: Step, seen: Mapping[str, InFlight]) -> None:
        requests = sum(item.total for item in seen.values())
        self._note(step.replica, f"{requests} requests in flight")

    def _force(self, step: Step, process: ProcessSpec, error: LoadBalancerError) -> Detail:
        """End it with its work, because the spec says so, and say how much was cut."""
        container = self._container_of(step)
        with self._lease.guard(self._epoch):
            for driver in self._site.drivers(step.process):
                set_if_there(driver, step.replica, Admin.MAINTENANCE)
            if container is not None:
                self._site.engine.stop(container.id, process.stop.signal, process.stop.grace_period)
        return {"forced": True, "cut": error.message}


def set_if_there(driver: LoadBalancer, name: str, admin: Admin) -> None:
    """Take a target out of use; one that this load balancer does not know is out of use."""
    try:
        if admin is Admin.DRAINING:
            targets.start_drain(driver, name)
        else:
            driver.set_state(name, admin)
    except LoadBalancerError as error:
        if error.kind is not LoadBalancerErrorKind.TARGET_NOT_FOUND:
            raise
