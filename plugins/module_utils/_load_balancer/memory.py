# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference driver: a load balancer in memory that obeys the contract to the letter; private.

It is what the contract suite measures real drivers against, and what the executor's tests break on
purpose. It is not offered as an option of any module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._names import (
    checked_address,
    checked_name,
    checked_number,
    checked_port,
    joined,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Capabilities,
    Change,
    Health,
    InFlight,
    LoadBalancer,
    Quality,
    Session,
    Target,
    Traffic,
)


@dataclass
class _Entry:
    target: Target
    looks_until_up: int
    count: int = 0
    queued: int = 0
    sessions: tuple[Session, ...] = ()
    traffic: Traffic = Traffic(0, 0, 0.0)


class MemoryLoadBalancer(LoadBalancer):
    """A backend whose health, load and faults the test decides."""

    def __init__(
        self,
        clock: Clock,
        *,
        looks_until_up: int = 2,
        backend: str = "memory",
        preview: bool = False,
    ) -> None:
        self._clock = clock
        self._looks = looks_until_up
        self._backend = backend
        self._entries: dict[str, _Entry] = {}
        self._persisted: tuple[Target, ...] = ()
        self._preview: tuple[str, ...] | None = () if preview else None
        self._faults: dict[str, list[CutoverError]] = {}
        self._guard = threading.RLock()
        self.calls: list[tuple[float, str, str]] = []
        """(monotonic time, operation, target name) of every call, in order."""

    # What a test decides.

    def work(self, name: str, count: int, queued: int = 0) -> None:
        """Make a target work on that many requests, with that many waiting."""
        with self._guard:
            entry = self._entries[name]
            entry.count, entry.queued = count, queued

    def hold(self, name: str, *sessions: Session) -> None:
        """Make a target work on these sessions, besides what work() said."""
        with self._guard:
            self._entries[name].sessions = sessions

    def count_traffic(
        self, name: str, requests: int, errors: int = 0, response_ms: float | None = 1.0
    ) -> None:
        """Let a target have had so many more requests and errors."""
        with self._guard:
            entry = self._entries[name]
            entry.traffic = Traffic(
                entry.traffic.requests + requests, entry.traffic.errors + errors, response_ms
            )

    def health(self, name: str, health: Health) -> None:
        """Make the health check say this from now on."""
        with self._guard:
            entry = self._entries[name]
            entry.looks_until_up = 0 if health is Health.UP else -1
            entry.target = replace(entry.target, health=health, check=health.value)

    def fail(self, operation: str, error: CutoverError, times: int = 1) -> None:
        """Make the next calls of an operation (a method's name) raise that error."""
        with self._guard:
            self._faults.setdefault(operation, []).extend([error] * times)

    def restart(self) -> None:
        """Forget everything that was not persisted, all work in flight included."""
        with self._guard:
            self._entries = {t.name: _Entry(t, self._looks) for t in self._persisted}

    # The contract.

    @property
    def where(self) -> str:
        """Name the backend."""
        return f"memory backend {self._backend}"

    def probe(self) -> Capabilities:
        """Say what this balancer can do: everything."""
        with self._called("probe"):
            return Capabilities(
                name="memory",
                version="1",
                standby=True,
                weight=True,
                health=True,
                in_flight=Quality.EXACT,
                persistence=True,
                settle=0.0,
                shares=True,
                balance="by weight",
                preview=self._preview is not None,
            )

    def targets(self) -> tuple[Target, ...]:
        """Return every target; a standby gets healthy by being looked at."""
        with self._called("targets"):
            for entry in self._entries.values():
                self._check(entry)
            return tuple(entry.target for entry in self._entries.values())

    def register(self, name: str, address: str, port: int) -> Change:
        """Add a target in standby."""
        name = checked_name("name", name)
        address, port = checked_address("address", address), checked_port("port", port)
        with self._called("register", name):
            entry = self._entries.get(name)
            if entry is None:
                target = Target(name, address, port, Admin.STANDBY, Health.STARTING, check="INI")
                self._entries[name] = _Entry(target, self._looks)
                return Change(name, None, target)
            known = entry.target
            if (known.address, known.port) != (address, port):
                self._fail(
                    Kind.CONFLICT,
                    f"target {name} exists with address {joined(known.address, known.port)},"
                    f" not {joined(address, port)}; deregister it first",
                )
            return Change(name, known, known)

    def set_state(self, name: str, admin: Admin) -> Change:
        """Set the intent."""
        if admin is Admin.ABSENT:
            return self.deregister(name)
        with self._called("set_state", checked_name("name", name)):
            entry = self._entry(name)
            before = entry.target
            if before.admin is Admin.MAINTENANCE and admin is not Admin.MAINTENANCE:
                entry.looks_until_up = self._looks
                entry.target = replace(before, health=Health.STARTING)
            entry.target = replace(entry.target, admin=admin)
            return Change(name, before, entry.target)

    def set_weight(self, name: str, weight: int) -> Change:
        """Set the weight."""
        weight = checked_number("weight", weight, 0, 256)
        with self._called("set_weight", checked_name("name", name)):
            entry = self._entry(name)
            before = entry.target
            entry.target = replace(before, weight=weight)
            return Change(name, before, entry.target)

    def set_weights(self, weights: Mapping[str, int]) -> Mapping[str, Change]:
        """Set them all at one moment."""
        with self._called("set_weights", ",".join(weights)):
            return {
                name: self.set_weight(name, weight)
                for name, weight in weights.items()
                if name in self._entries
            }

    def traffic(self, names: Sequence[str]) -> Mapping[str, Traffic]:
        """Return what the test decided."""
        with self._called("traffic", ",".join(checked_name("name", name) for name in names)):
            return {name: self._entries[name].traffic for name in names if name in self._entries}

    def preview(self) -> tuple[str, ...] | None:
        """Return what change_preview() was told last."""
        return self._preview

    def change_preview(self, change: Callable[[tuple[str, ...]], Iterable[str]]) -> bool:
        """Remember them."""
        with self._called("change_preview"):
            if self._preview is None:
                self._fail(Kind.UNSUPPORTED, "made without a preview")
            wanted = tuple(sorted({checked_name("name", name) for name in change(self._preview)}))
            changed, self._preview = wanted != self._preview, wanted
            return changed

    def deregister(self, name: str) -> Change:
        """Remove an idle target."""
        with self._called("deregister", checked_name("name", name)):
            entry = self._entries.get(name)
            if entry is None:
                return Change(name, None, None)
            before = entry.target
            if entry.target.admin is Admin.ACTIVE:
                entry.target = replace(entry.target, admin=Admin.DRAINING)
            if self._work(name).total:
                self._fail(
                    Kind.NOT_DRAINED,
                    f"target {name} still works on {self._work(name).count} and {entry.queued} wait for it",
                )
            del self._entries[name]
            return Change(name, before, None)

    def in_flight(self, names: Sequence[str]) -> Mapping[str, InFlight]:
        """Return what the test decided."""
        with self._called("in_flight", ",".join(checked_name("name", name) for name in names)):
            return {name: self._work(name) for name in names}

    def sessions(self, name: str) -> tuple[Session, ...]:
        """Return what the test decided."""
        with self._called("sessions", checked_name("name", name)):
            entry = self._entries.get(name)
            return entry.sessions if entry else ()

    def close(self, name: str, session: Session) -> bool:
        """Forget a session."""
        with self._called("close", checked_name("name", name)):
            entry = self._entry(name)
            kept = tuple(item for item in entry.sessions if item.id != session.id)
            changed, entry.sessions = kept != entry.sessions, kept
            return changed

    def persist(self) -> bool:
        """Remember the targets for restart()."""
        with self._called("persist"):
            kept = self._kept()
            changed = kept != self._persisted
            self._persisted = kept
            return changed

    def persisted(self) -> bool:
        """Compare what persist() would remember with what it remembers."""
        with self._called("persisted"):
            return self._kept() == self._persisted

    def _kept(self) -> tuple[Target, ...]:
        return tuple(_restored(entry.target) for entry in self._entries.values())

    def _work(self, name: str) -> InFlight:
        entry = self._entries.get(name)
        if entry is None:
            return InFlight(0, 0, Quality.EXACT)
        count = entry.count + len(entry.sessions)
        return InFlight(count, entry.queued, Quality.EXACT, (("memory", count + entry.queued),))

    def _check(self, entry: _Entry) -> None:
        if entry.looks_until_up < 0 or entry.target.admin is Admin.MAINTENANCE:
            return
        if entry.looks_until_up:
            entry.looks_until_up -= 1
            return
        entry.target = replace(entry.target, health=Health.UP, check="OK")

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            self._fail(Kind.TARGET_NOT_FOUND, f"no target {name}")
        return entry

    def _called(self, operation: str, name: str = "") -> threading.RLock:
        """Record the call, raise the fault that was ordered, and return the lock to work under."""
        with self._guard:
            self.calls.append((self._clock.monotonic(), operation, name))
            faults = self._faults.get(operation)
            if faults:
                raise faults.pop(0)
        return self._guard

    def _fail(self, kind: Kind, message: str) -> NoReturn:
        raise LoadBalancerError(kind, f"{self.where}: {message}", where=self.where)


def _restored(target: Target) -> Target:
    """Only an active target comes back with traffic."""
    if target.admin is Admin.ACTIVE:
        return replace(target, health=Health.UP, check="OK")
    return replace(target, admin=Admin.MAINTENANCE, health=Health.UNKNOWN, check="")
