# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world that watches the five rules: every act of ours on it is checked at the moment it takes effect.

The planner, the step runner and the lease under test are the real ones; engine and load balancer are the reference
drivers in memory. An act that breaks a rule raises Violation, which is no CutoverError and so is caught by nobody.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Interrupted
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    GroupCommit,
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Change,
    Health,
    Target,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import ProbeResult
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World
from ansible_collections.immutable.cutover.tests.unit.support.shop import IMAGE_ID, mapping

APP, PROCESS = "shop", "web"
PATIENCE = 8
"""Sleeps until a wait is cut off, so that no step blocks the simulation."""


class Violation(AssertionError):
    """One of the five rules was broken by an act of ours. C(rule) names it."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


class Killed(BaseException):
    """The process that runs a step is gone; like the real thing, nothing below can catch it."""


class PatientClock:
    """Time stands still; a wait gets a few looks and is then interrupted."""

    def __init__(self) -> None:
        self.looks = PATIENCE

    def monotonic(self) -> float:
        return 1000.0

    def now(self) -> float:
        return 1_700_000_000.0

    def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        self.looks -= 1
        if self.looks <= 0:
            raise Interrupted("interrupted: out of patience")


class WatchedEngine(MemoryEngine):
    """Tells the simulation of every act."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(Image(IMAGE_ID, {}, (), "1000", ""))
        self._simulation = simulation

    def start(self, spec: ContainerSpec) -> Container:
        self._simulation.acting()
        container = super().start(spec)
        self._simulation.ready.discard(spec.name)
        self._simulation.acted()
        return container

    def ask_to_stop(self, container_id: str, signal: str) -> None:
        self._simulation.acting()
        self._simulation.check_destroy(container_id)
        super().ask_to_stop(container_id, signal)
        self._simulation.acted()

    def stop(self, container_id: str, signal: str, grace_period: int) -> int:
        self._simulation.acting()
        self._simulation.check_destroy(container_id)
        code = super().stop(container_id, signal, grace_period)
        self._simulation.acted()
        return code

    def remove_quietly(self, container_id: str) -> None:
        """Remove as somebody else."""
        super().remove(container_id)

    def remove(self, container_id: str) -> bool:
        self._simulation.acting()
        removed = super().remove(container_id)
        self._simulation.acted()
        return removed


class WatchedBalancer(MemoryLoadBalancer):
    """Tells the simulation of every act. C(lagging): returns before what was asked is in force."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        super().__init__(simulation.clock, backend=name)
        self._simulation = simulation
        self.lagging = False
        self.guards_work = True
        self.asked: dict[str, Admin] = {}

    def register(self, name: str, address: str, port: int) -> Change:
        self._simulation.acting()
        self._simulation.check_ready(name)
        change = super().register(name, address, port)
        self._simulation.acted()
        return change

    def set_weights(self, weights: Mapping[str, int]) -> Mapping[str, Change]:
        self._simulation.acting()
        changes = super().set_weights(weights)
        self._simulation.acted()
        return changes

    def set_state(self, name: str, admin: Admin) -> Change:
        self._simulation.acting()
        if self.lagging and admin is not Admin.ACTIVE:
            self.asked[name] = admin
            return Change(name, None, None)
        taken = self._simulation.takes_traffic(name)
        change = super().set_state(name, admin)
        if taken and admin is not Admin.ACTIVE:
            self._simulation.check_floor(f"{admin.value} {name}")
        self._simulation.acted()
        return change

    def deregister(self, name: str) -> Change:
        self._simulation.acting()
        if self.lagging:
            self.asked[name] = Admin.ABSENT
            return Change(name, None, None)
        taken = self._simulation.takes_traffic(name)
        if not self.guards_work and name in self._entries:
            self._entries[name].count = 0
        change = super().deregister(name)
        if taken:
            self._simulation.check_floor(f"deregister {name}")
        self._simulation.acted()
        return change

    def persist(self) -> bool:
        self._simulation.acting()
        changed = super().persist()
        self._simulation.acted()
        return changed

    # What the environment does.

    def entries(self) -> Mapping[str, Target]:
        """Return the targets without a health check taking place."""
        return {name: entry.target for name, entry in self._entries.items()}

    def change(self, name: str, **values: object) -> None:
        """Change a target without anybody of us having asked for it."""
        entry = self._entries[name]
        entry.target = replace(entry.target, **values)  # type: ignore[arg-type]  # fields by name

    def reset_draining(self) -> None:
        """Come back from a reload with everything active."""
        for name, target in self.entries().items():
            if target.admin is not Admin.ACTIVE:
                self.change(name, admin=Admin.ACTIVE, health=Health.UP)

    def lose(self, name: str) -> None:
        """Forget a target."""
        self._entries.pop(name, None)

    def apply_asked(self) -> None:
        """Bring what was asked of a lagging balancer in force."""
        asked, self.asked = self.asked, {}
        for name, admin in asked.items():
            if name in self._entries and admin is Admin.ABSENT:
                del self._entries[name]
            elif name in self._entries:
                self.change(name, admin=admin)


@dataclass
class Simulation:
    """One host: containers, load balancers, clients, and the rules."""

    balancers: int
    floor: int = 0
    """The promise to clients that holds now: replicas that serve, however many are wanted."""
    epoch: int = 0
    """Who has the lease."""
    acting_epoch: int = 0
    kill_in: int = 0
    """Kill the acting process when that many halves of acts have passed; 0: never."""
    ready: set[str] = field(default_factory=set)
    work: dict[str, int] = field(default_factory=dict)
    """Requests in flight, by container name."""

    def __post_init__(self) -> None:
        self.clock = PatientClock()
        self.state_dir = tempfile.mkdtemp(prefix="immutable-cutover-simulation-")
        self.engine = WatchedEngine(self)
        self.drivers = [WatchedBalancer(self, str(number)) for number in range(self.balancers)]
        self.lease = Lease(self.state_dir, APP, self.clock)
        pairs = tuple(Balancer(driver, GroupCommit(driver)) for driver in self.drivers)
        self.site = Site(self.engine, {PROCESS: pairs}, self.state_dir, self.clock)

    def close(self) -> None:
        """Remove the state folder."""
        shutil.rmtree(self.state_dir)

    def release(self, version: str, replicas: int, surge: int, unavailable: int) -> Release:
        """Return a release of so many replicas, by the strategy rolling."""
        return self.by({"max_surge": surge, "max_unavailable": unavailable}, version, replicas)

    def by(self, strategy: Mapping[str, object], version: str, replicas: int) -> Release:
        """Return a release of so many replicas, by a strategy."""
        patient = {"timeout": 86400}
        refs = [{"socket": f"/{number}", "backend": "shop"} for number in range(self.balancers)]
        value = mapping(
            env={"VERSION": version},
            processes={
                PROCESS: {
                    "port": 8080,
                    "replicas": max(1, replicas),
                    "readiness": {**patient, "successes": 1},
                    "drain": patient,
                }
            },
            load_balancers=refs,
            strategy=dict(strategy),
        )
        spec = parse_spec(value)
        if not replicas:  # what an undo of the first deployment wants; no user can write it
            spec = replace(spec, processes=(replace(spec.processes[0], replicas=0),))
        return Release(spec, IMAGE_ID)

    def look(self) -> World:
        """Return what the code under test sees."""
        return observe(self.site, APP)

    # The rules.

    def acting(self) -> None:
        """FENCE: only the current holder of the lease changes anything."""
        if self.acting_epoch != self.epoch:
            raise Violation("FENCE", f"epoch {self.acting_epoch} acts, {self.epoch} has the lease")
        self._count_down()

    def acted(self) -> None:
        """Let the process die right after its act as well."""
        self._count_down()

    def check_ready(self, name: str) -> None:
        """READY: what clients may be sent to has passed our probe."""
        if name not in self.ready:
            raise Violation("READY", f"{name} is registered and was not ready")

    def check_floor(self, act: str) -> None:
        """CAP: after an act of ours that took traffic away, enough others serve."""
        serving = sum(self._serves(item.name) for item in self._containers())
        if serving < self.floor:
            raise Violation("CAP", f"{act}: {serving} serve, {self.floor} must")

    def check_destroy(self, container_id: str) -> None:
        """DRAINCHK and VIEW: what is stopped works on nothing, and no balancer routes to it."""
        container = self.engine.inspect(container_id)
        if container is None or not container.running:
            return
        if self.work.get(container.name):
            raise Violation("DRAINCHK", f"{container.name} is stopped with work in flight")
        for driver in self.drivers:
            target = driver.entries().get(container.name)
            if target is not None and target.address == container.address:
                raise Violation("VIEW", f"{container.name} is stopped while {driver.where} has it")

    def takes_traffic(self, name: str) -> bool:
        """Tell whether clients may be sent to a replica that runs, healthy at the moment or not.

        Not one that some balancer has under a wrong address: what is sent there is lost already, so it is repaired
        at once.
        """
        container = self.engine.inspect(name)
        found = [driver.entries().get(name) for driver in self.drivers]
        known = [target for target in found if target is not None]
        return (
            container is not None
            and container.running
            and all(target.address == container.address for target in known)
            and any(target.admin is Admin.ACTIVE for target in known)
        )

    def _serves(self, name: str) -> bool:
        container = self.engine.inspect(name)
        return (
            container is not None
            and container.running
            and all(
                target is not None and target.serving and target.address == container.address
                for target in (driver.entries().get(name) for driver in self.drivers)
            )
        )

    def _containers(self) -> tuple[Container, ...]:
        return self.engine.containers({})

    def _count_down(self) -> None:
        if self.kill_in:
            self.kill_in -= 1
            if not self.kill_in:
                raise Killed

    # What the environment does.

    def running(self) -> list[str]:
        """Return the names of running containers."""
        return [item.name for item in self._containers() if item.running]

    def routed(self) -> list[tuple[WatchedBalancer, str]]:
        """Return where each balancer may send the next request."""
        return [
            (driver, name)
            for driver in self.drivers
            for name, target in driver.entries().items()
            if target.serving and name in self.running()
        ]

    def set_work(self, name: str, count: int) -> None:
        """Let a replica work on so many requests, as its balancers count them (the first has them all)."""
        self.work[name] = count
        for driver in self.drivers:
            entry = driver._entries.get(name)
            if entry is not None:
                entry.count = count
                break

    def die(self, name: str) -> None:
        """End a container and what it worked on."""
        self.set_work(name, 0)
        self.engine.crash(name)

    def vanish(self, name: str) -> None:
        """Let somebody else remove a container."""
        self.die(name)
        container = self.engine.inspect(name)
        assert container is not None
        self.engine.remove_quietly(container.id)

    def sicken(self, name: str) -> None:
        """Let every health check of a replica fail."""
        for driver in self.drivers:
            if name in driver.entries():
                driver.health(name, Health.DOWN)

    def readdress(self, name: str) -> None:
        """Let somebody else give a target another address everywhere."""
        for driver in self.drivers:
            if name in driver.entries():
                driver.change(name, address="192.0.2.9")

    def restart_balancer(self, driver: WatchedBalancer) -> None:
        """Its connections are cut, what was not persisted is forgotten."""
        for name in driver.entries():
            self.set_work(name, 0)
        driver.restart()

    def heal(self) -> None:
        """From now on every replica becomes ready, every check passes and every request ends."""
        self.ready.update(self.running())
        for name in list(self.work):
            self.set_work(name, 0)
        for driver in self.drivers:
            driver.apply_asked()
            for name, target in driver.entries().items():
                if target.admin is not Admin.MAINTENANCE and target.health is Health.DOWN:
                    driver.health(name, Health.UP)


@dataclass(frozen=True)
class SimulatedProbe:
    """Stands for HttpProbe: the app at that address says whether it is ready."""

    simulation: Simulation

    def url(self, address: str) -> str:
        return f"http://{address}/readyz"

    def check(self, address: str, *, timeout: float = 0, clock: object = None) -> ProbeResult:
        found = self.simulation.engine.containers({})
        ready = any(
            item.address == address and item.name in self.simulation.ready for item in found
        )
        return ProbeResult(ready, 200 if ready else 503, "status")
