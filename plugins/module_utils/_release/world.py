# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine and the load balancers show now, as one value; private, no stability promised."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    Target,
)


class Phase(str, enum.Enum):
    """Where one replica stands. Read off the world, never stored."""

    MISSING = "missing"
    """No container; a target of that name may be left over."""
    DEAD = "dead"
    """The container exists and its process does not run."""
    STARTED = "started"
    """Runs, in no load balancer."""
    MISADDRESSED = "misaddressed"
    """Runs, but a load balancer has it under an address that is not its own."""
    STANDBY = "standby"
    """In every load balancer, receives nothing new: not yet activated, or draining."""
    UNHEALTHY = "unhealthy"
    """Active in every load balancer, and at least one does not find it up."""
    SERVING = "serving"
    """Runs, active and up in every load balancer of its process."""


@dataclass(frozen=True)
class Replica:
    """One replica: its container (empty C(container_id): none) and its target in each load balancer."""

    name: str
    process: str
    release: str
    slot: int
    container_id: str = ""
    running: bool = False
    address: str = ""
    port: int = 0
    targets: tuple[Target | None, ...] = ()
    version: str = ""

    @property
    def registered(self) -> bool:
        """Whether any load balancer knows it."""
        return any(target is not None for target in self.targets)

    @property
    def routed(self) -> bool:
        """Whether a load balancer sends it traffic, or will as soon as its check passes again."""
        if not self.running or self.phase is Phase.MISADDRESSED:
            return False
        return any(target is not None and target.admin is Admin.ACTIVE for target in self.targets)

    @property
    def spare(self) -> bool:
        """Whether it has served, is drained, and could serve again at once: healthy in a load balancer's own view."""
        return self.running and any(
            target is not None and target.admin is Admin.DRAINING and target.health is Health.UP
            for target in self.targets
        )

    @property
    def phase(self) -> Phase:
        """Return where it stands."""
        if not self.container_id:
            return Phase.MISSING
        if not self.running:
            return Phase.DEAD
        if not self.registered:
            return Phase.STARTED
        if any(self._elsewhere(target) for target in self.targets):
            return Phase.MISADDRESSED
        if any(target is None or target.admin is not Admin.ACTIVE for target in self.targets):
            return Phase.STANDBY
        if all(target is not None and target.serving for target in self.targets):
            return Phase.SERVING
        return Phase.UNHEALTHY

    def _elsewhere(self, target: Target | None) -> bool:
        return target is not None and (target.address, target.port) != (self.address, self.port)


@dataclass(frozen=True)
class World:
    """All replicas of an app.

    C(settled) holds the names whose min_ready_seconds have passed, C(checked) those that this run found ready and
    the load balancers' own checks found up, without traffic.
    """

    replicas: tuple[Replica, ...]
    settled: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()
    tasks: tuple[str, ...] = ()
    """Containers of one-off tasks, running or not, by ID."""

    def of(self, process: str) -> tuple[Replica, ...]:
        """Return the replicas of one process type."""
        return tuple(replica for replica in self.replicas if replica.process == process)

    def find(self, name: str) -> Replica | None:
        """Return a replica by name."""
        return next((replica for replica in self.replicas if replica.name == name), None)

    def put(self, replica: Replica) -> World:
        """Return the world with this replica added or replaced."""
        others = tuple(other for other in self.replicas if other.name != replica.name)
        return replace(self, replicas=(*others, replica))

    def without(self, name: str) -> World:
        """Return the world without this replica."""
        return replace(
            self,
            replicas=tuple(replica for replica in self.replicas if replica.name != name),
            settled=self.settled - {name},
            checked=self.checked - {name},
        )


def serving_count(world: World, process: str) -> int:
    """Return how many replicas of a process receive and answer requests."""
    return sum(replica.phase is Phase.SERVING for replica in world.of(process))
