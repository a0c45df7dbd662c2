# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancer seam: what a driver can be asked; private, no stability promised.

A driver translates; it knows no plan, no engine and does not wait for anything but the balancer's own
confirmation that a change it made is in force. Its methods may be called from several threads.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
    LoadBalancerErrorKind,
)


class Admin(str, enum.Enum):
    """What was intended with a target. Not its health."""

    ABSENT = "absent"
    STANDBY = "standby"
    """Registered and health-checked, receives nothing."""
    ACTIVE = "active"
    DRAINING = "draining"
    """Receives nothing new; what it has goes on."""
    MAINTENANCE = "maintenance"

    def as_good_as(self, wanted: Admin) -> bool:
        """Tell whether a target in this state is where it was wanted; a load balancer may not tell the idle apart."""
        return self is wanted or {self, wanted} == {Admin.STANDBY, Admin.DRAINING}


class Health(str, enum.Enum):
    """What the load balancer's own check says."""

    UP = "up"
    DOWN = "down"
    STARTING = "starting"
    UNKNOWN = "unknown"


class Quality(str, enum.Enum):
    """Whether there is an in-flight figure that can be trusted."""

    EXACT = "exact"
    NONE = "none"


@dataclass(frozen=True)
class Target:
    """One target as the load balancer itself shows it."""

    name: str
    address: str
    port: int
    admin: Admin
    health: Health
    weight: int = 1
    check: str = ""
    """The last health check result in the balancer's own words."""

    @property
    def serving(self) -> bool:
        """Whether new requests may be routed here now."""
        return self.admin is Admin.ACTIVE and self.health is Health.UP


@dataclass(frozen=True)
class InFlight:
    """Requests or sessions a target still works on, over all balancer processes."""

    count: int
    queued: int
    quality: Quality
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> int:
        """Everything that would be cut by destroying the target now."""
        return self.count + self.queued


@dataclass(frozen=True)
class Session:
    """One request or connection that a target works on."""

    id: str
    seconds: int
    """Since it began."""
    tunnel: bool
    """Whether it was upgraded, to a WebSocket or alike: it has no end of its own."""


@dataclass(frozen=True)
class Traffic:
    """What a target has had since the balancer began to count; only differences mean something."""

    requests: int
    """Requests that ended, well or not."""
    errors: int
    """Those of them that the target answered with 5xx, did not answer, broke off, or did not take."""
    response_ms: float | None = None
    """The balancer's own average of the response time of recent requests; none where it has no such figure."""


@dataclass(frozen=True)
class Change:
    """A target before and after an operation."""

    name: str
    before: Target | None
    after: Target | None

    @property
    def changed(self) -> bool:
        """Whether intent or address changed; health and counters never count."""
        return _intent(self.before) != _intent(self.after)


def _intent(target: Target | None) -> tuple[object, ...]:
    if target is None:
        return ()
    return (target.address, target.port, target.admin, target.weight)


@dataclass(frozen=True)
class Capabilities:
    """What this balancer in this version can do."""

    name: str
    version: str
    standby: bool
    weight: bool
    health: bool
    in_flight: Quality
    persistence: bool
    settle: float
    """Seconds between a confirmed drain and the first in-flight figure that counts."""
    shares: bool = False
    """Whether each target's share of new requests is in proportion to its weight, whatever its load."""
    balance: str = ""
    """How the backend spreads requests, in the balancer's own word."""
    preview: bool = False
    """Whether requests can ask for the new release, and get it before others do."""


class LoadBalancer(abc.ABC):
    """One backend of one load balancer. Every failure is a LoadBalancerError with a kind."""

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """Name backend and balancer for messages, such as C(haproxy /run/x/admin.sock backend shop)."""

    @abc.abstractmethod
    def probe(self) -> Capabilities:
        """Check reachability, permission, version and that the backend exists and can be used."""

    @abc.abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """Return every target of the backend, ours or not, in the balancer's order."""

    @abc.abstractmethod
    def register(self, name: str, address: str, port: int) -> Change:
        """Make a target exist in STANDBY, with health checks running.

        A target that exists with this address is left as it is (whatever its state);
        one with another address raises CONFLICT.
        """

    @abc.abstractmethod
    def set_state(self, name: str, admin: Admin) -> Change:
        """Set ACTIVE, DRAINING, STANDBY or MAINTENANCE and confirm it in the balancer's own view."""

    @abc.abstractmethod
    def set_weight(self, name: str, weight: int) -> Change:
        """Set the weight and confirm it."""

    def set_weights(self, weights: Mapping[str, int]) -> Mapping[str, Change]:
        """Set many weights as nearly at once as the balancer can; a target that is absent is left out.

        One after the other would for a moment send nearly everything to one target whenever the scale changes.
        """
        known = {target.name for target in self.targets()}
        return {
            name: self.set_weight(name, weight) for name, weight in weights.items() if name in known
        }

    def traffic(self, names: Sequence[str]) -> Mapping[str, Traffic]:
        """Return the counters of each named target that exists; they start anew with the balancer."""
        raise LoadBalancerError(
            LoadBalancerErrorKind.UNSUPPORTED,
            f"{self.where}: counts no requests and errors for each target",
            where=self.where,
        )

    def preview(self) -> tuple[str, ...] | None:
        """Return the targets that get the requests that ask for the new release; none if requests cannot ask."""
        return None

    def change_preview(self, change: Callable[[tuple[str, ...]], Iterable[str]]) -> bool:
        """Have the targets that C(change) makes of those there are get the requests that ask for the new release.

        Safe among threads: steps of one run come to it side by side. A target gets them in standby too, and what is in
        flight for it counts as ever. One that cannot serve is passed over, and without any the requests are balanced
        like all others. Returns whether anything changed.
        """
        raise LoadBalancerError(
            LoadBalancerErrorKind.UNSUPPORTED,
            f"{self.where}: requests cannot ask for the new release",
            where=self.where,
        )

    @abc.abstractmethod
    def deregister(self, name: str) -> Change:
        """Remove a target; unchanged if it is absent, NOT_DRAINED if it has work in flight."""

    @abc.abstractmethod
    def in_flight(self, names: Sequence[str]) -> Mapping[str, InFlight]:
        """Return what each named target works on. A target that is absent counts 0 by definition."""

    @abc.abstractmethod
    def sessions(self, name: str) -> tuple[Session, ...]:
        """Return what a target works on one by one, the oldest first."""

    @abc.abstractmethod
    def close(self, name: str, session: Session) -> bool:
        """Cut one session; False if it has ended by itself."""

    @abc.abstractmethod
    def persist(self) -> bool:
        """Make the current targets survive a restart of the balancer; return whether bytes changed."""

    @abc.abstractmethod
    def persisted(self) -> bool:
        """Whether persist() would change nothing; writes nothing itself."""
