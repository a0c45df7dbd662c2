# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One step at a time: re-check, act inside the fence, confirm; private, no stability promised.

Every step may run a second time, in another process, after the first one was killed at any point.
Waits hold no lock; whatever changes something does so inside C(Lease.guard).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from ansible_collections.immutable.cutover.plugins.module_utils._apply import (
    drained,
    replicas,
    targets,
    warm_up,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Interrupted
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.fleet_floor import (
    floor_lock,
    or_of_the_fleet,
    others_serve,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import (
    observe,
    target_address,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.ports import port_for
from ansible_collections.immutable.cutover.plugins.module_utils._apply.probes import (
    readiness_probe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.removal import Removal
from ansible_collections.immutable.cutover.plugins.module_utils._apply.step_log import step_key
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Container
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
    ProbeError,
    WaitTimeout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    LoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.plugins.module_utils._release.fleet import Fleet
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    ProcessSpec,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Step, Verb
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Phase,
    Replica,
    serving_count,
)

Detail = Mapping[str, object]
CONFIRM_INTERVAL = 0.2
FLOOR_INTERVAL = 0.2
FLOOR_WAIT = 60
_COME_UP = frozenset({Verb.CHECK, Verb.ACTIVATE})
"""A replica has come up: to the last gate before it has traffic, or to traffic."""


class StepRunner:
    """Run the steps of one release on one site under one epoch of the lease."""

    def __init__(
        self,
        release: Release,
        site: Site,
        lease: Lease,
        epoch: int,
        timers: Timers,
        note: Callable[[str, str], None],
        failing: Callable[[], bool] = lambda: False,
    ) -> None:
        """C(failing): whether another step has failed, and the next call may go elsewhere."""
        self._release = release
        self._site = site
        self._lease = lease
        self._epoch = epoch
        self._timers = timers
        self._note = note
        self._capacity = threading.Lock()
        self._drained = drained.Drained(site, lease, epoch, timers, note, self._container)
        self._wants = {want.process: want for want in release.goal().wants}
        self._removal = Removal(release, site, lease, epoch, timers, note, self._container, failing)
        self._verbs: Mapping[Verb, Callable[[Step], Detail]] = {
            Verb.START: self._start,
            Verb.READY: self._ready,
            Verb.WARM: self._warm,
            Verb.REGISTER: self._register,
            Verb.CHECK: self._check,
            Verb.ACTIVATE: self._activate,
            Verb.WEIGH: self._weigh,
            Verb.CONFIRM: self._confirm,
            Verb.DRAIN: self._drain,
            Verb.AWAIT: self._await,
            Verb.DEREGISTER: self._deregister,
            Verb.DESTROY: self._removal.destroy,
        }

    def run(self, step: Step) -> Detail:
        """Run a step and return what a person may want to know of it."""
        if step.verb is Verb.START:
            self._timers.began.pop(_progress(step), None)
            self._timers.counts.pop(_warmed(step), None)
        try:
            detail = self._verbs[step.verb](step)
        except Interrupted:
            raise
        except CutoverError as error:
            deadline = self._release.spec.strategy.progress_deadline
            begun = _progress(step) in self._timers.began
            if begun and self._timers.left(_progress(step), deadline) <= 0:
                error.message += f" (strategy.progress_deadline is {deadline} s)"
            raise
        if step.verb in _COME_UP:
            self._timers.began.pop(_progress(step), None)
        if step.verb is Verb.START and self._release.spec.strategy.progress_deadline:
            self._timers.left(_progress(step), 0)  # begins now
        return detail

    def _left(self, step: Step, seconds: int) -> tuple[float, int]:
        """Return what is left of a wait for a new replica, and which time is over then: its own, or the deadline."""
        left = self._timers.left(step_key(step), seconds)
        deadline = self._release.spec.strategy.progress_deadline
        if not deadline:
            return left, seconds
        return min((left, seconds), (self._timers.left(_progress(step), deadline), deadline))

    def _start(self, step: Step) -> Detail:
        process, engine, state_dir = self._process(step), self._site.engine, self._site.state_dir
        fleet = self._release.spec.fleet
        with (
            self._lease.guard(self._epoch),
            port_for(engine, fleet, step.replica, state_dir, self._site.clock) as port,
        ):
            spec = self._release.container(process, step.slot, state_dir, port)
            container = replicas.start_replica(engine, spec)
        self._timers.counts[_started(step)] = 1
        return {"container": container.id[:12], "address": container.address}

    def _ready(self, step: Step) -> Detail:
        process, container = self._process(step), self._running(step)
        readiness = process.readiness
        left, whole = self._left(step, readiness.timeout)
        try:
            replicas.await_replica_ready(
                self._site.engine,
                container.id,
                readiness_probe(process),
                successes=readiness.successes,
                interval=readiness.interval,
                timeout=left,
                whole=whole,
                clock=self._site.clock,
            )
        except (ProbeError, WaitTimeout) as error:
            self._refuse_one_that_was_told_to_end(step, container)
            report = replicas.failure_report(self._site.engine, container.id)
            raise ProbeError(
                f"{step.replica}: {error.message}", **{**error.details, **report}
            ) from error
        return {"successes": readiness.successes}

    def _refuse_one_that_was_told_to_end(self, step: Step, container: Container) -> None:
        """Have a replica replaced that an earlier run may have told to stop, and that has ended since."""
        seen = self._site.engine.inspect(container.id)
        ended = seen is None or not seen.running
        if ended and _started(step) not in self._timers.counts:
            raise Interrupted(f"{step.replica} has ended and was not started by this run")

    def _warm(self, step: Step) -> Detail:
        process, container = self._process(step), self._running(step)
        warming, port, clock = process.warm_up, process.port, self._site.clock
        done = int(self._timers.counts.get(_warmed(step), 0))

        def sent() -> None:
            self._timers.counts[_warmed(step)] = self._timers.counts.get(_warmed(step), 0) + 1

        warm_up.warm_up(
            container.address,
            port,
            warming.requests[done:],
            clock=clock,
            left=lambda: self._left(step, process.readiness.timeout)[0],
            sent=sent,
        )
        detail: dict[str, object] = {"requests": len(warming.requests)}
        other = self._other_that_serves(step) if warming.max_p95_ratio else None
        running = self._site.engine.inspect(other.container_id) if other else None
        if running is not None:
            detail["compared_with"] = running.name
            detail |= warm_up.await_as_fast(
                container.address,
                running.address,
                port,
                warming.requests,
                max_ratio=warming.max_p95_ratio,
                timeout=self._left(step, process.readiness.timeout)[0],
                clock=clock,
            )
        return detail

    def _other_that_serves(self, step: Step) -> Replica | None:
        """Return a replica of another release that serves now, to compare with."""
        world = observe(self._site, self._release.spec.app)
        others = (item for item in world.of(step.process) if item.release != step.release)
        return next((item for item in others if item.phase is Phase.SERVING), None)

    def _register(self, step: Step) -> Detail:
        address, port = target_address(self._running(step))
        for driver in self._site.drivers(step.process):
            with self._lease.guard(self._epoch):
                targets.register_standby(driver, step.replica, address, port)
        return {"target": f"{address}:{port}"}

    def _await_healthy(self, step: Step, driver: LoadBalancer, timeout: int) -> None:
        """Wait until a load balancer's own check has passed, over as many calls as it takes."""
        left, whole = self._left(step, timeout)
        targets.await_healthy(
            driver, step.replica, timeout=left, clock=self._site.clock, whole=whole
        )

    def _check(self, step: Step) -> Detail:
        """See every load balancer's own check pass, without traffic."""
        process = self._process(step)
        for driver in self._site.drivers(step.process):
            self._await_healthy(step, driver, process.readiness.timeout)
            with self._lease.guard(self._epoch):
                self._offer(step, driver)
        self._persist(step.process)
        return {}

    def _offer(self, step: Step, driver: LoadBalancer) -> None:
        """Let requests that ask for the new release have it, where they can."""
        targets.offer(
            driver, step.replica, lambda other: names.release_of_name(other)[0] == step.release
        )

    def _activate(self, step: Step) -> Detail:
        process = self._process(step)
        for driver in self._site.drivers(step.process):
            self._await_healthy(step, driver, process.readiness.timeout)
            with self._lease.guard(self._epoch):
                if step.weights:
                    driver.set_weights(dict(step.weights))
                if self._release.spec.strategy.type == "canary":
                    self._offer(step, driver)
                targets.activate(driver, step.replica)
        self._persist(step.process)
        return {"weights": dict(step.weights)} if step.weights else {}

    def _weigh(self, step: Step) -> Detail:
        """Give targets their weights; one that has gone since the plan was made needs none."""
        for driver in self._site.drivers(step.process):
            with self._lease.guard(self._epoch):
                driver.set_weights(dict(step.weights))
        self._persist(step.process)
        return {"weights": dict(step.weights)}

    def _confirm(self, step: Step) -> Detail:
        """See it serve in every load balancer for min_ready_seconds."""
        seconds = self._release.spec.strategy.min_ready_seconds
        while True:
            replica = observe(self._site, self._release.spec.app).find(step.replica)
            phase = replica.phase.value if replica else "gone"
            left = self._timers.left(f"confirm:{step.replica}", seconds)
            if replica is None or replica.phase is not Phase.SERVING:
                raise ProbeError(
                    f"{step.replica}: {phase} within min_ready_seconds {seconds} after it became active"
                )
            if left <= 0:
                return {"min_ready_seconds": seconds}
            self._site.clock.sleep(min(CONFIRM_INTERVAL, left))

    def _drain(self, step: Step) -> Detail:
        """Take it out of rotation, once enough others serve in the load balancers' own view."""
        want, fleet = self._wants[step.process], self._release.spec.fleet
        while not self._drain_now(step, want, fleet):
            wait = fleet.wait if fleet.guards else FLOOR_WAIT
            left = self._timers.left(f"drain:{step.replica}", wait)
            if left <= 0:
                raise WaitTimeout(
                    f"{step.replica}: not drained: fewer than {want.floor} other replicas of "
                    f"{step.process} serve in the load balancer's view"
                    f"{or_of_the_fleet(fleet, want.replicas)}; "
                    "nothing was taken away"
                )
            self._note(step.replica, f"waiting for {want.floor} others that serve")
            self._site.clock.sleep(min(FLOOR_INTERVAL, left))
        self._persist(step.process)
        return {}

    def _drain_now(self, step: Step, want: Want, fleet: Fleet) -> bool:
        floor = floor_lock(fleet, self._site.state_dir)
        with self._capacity, self._lease.guard(self._epoch), floor:
            world = observe(self._site, self._release.spec.app)
            replica = world.find(step.replica)
            if replica is None or not replica.registered:
                return True
            serves = replica.phase is Phase.SERVING
            if replica.routed and serving_count(world, step.process) - serves < want.floor:
                return False
            drivers = self._site.drivers(step.process)
            if replica.routed and not others_serve(fleet, drivers, step.replica, want.replicas):
                return False
            for driver in drivers:
                drained.set_if_there(driver, step.replica, Admin.DRAINING)
            return True

    def _await(self, step: Step) -> Detail:
        return self._drained.wait(step, self._release.spec.process(step.process))

    def _deregister(self, step: Step) -> Detail:
        detail = self._removal.deregister(step)
        self._persist(step.process)
        return detail

    def _persist(self, process: str) -> None:
        with self._lease.guard(self._epoch):
            for balancer in self._site.balancers.get(process, ()):
                balancer.commit.persist()

    def _process(self, step: Step) -> ProcessSpec:
        process = self._release.spec.process(step.process)
        if process is None:
            raise CutoverError(f"{step.replica}: process {step.process} is not in the spec")
        return process

    def _container(self, step: Step) -> Container | None:
        labels = self._release.labels(step.process)
        return next(
            (item for item in self._site.engine.containers(labels) if item.name == step.replica),
            None,
        )

    def _running(self, step: Step) -> Container:
        container = self._container(step)
        if container is None or not container.running:
            state = _state_of(container)
            report = replicas.failure_report(self._site.engine, container.id) if container else {}
            raise EngineError(f"{step.replica}: its container {state}", **report)
        return container


def _progress(step: Step) -> str:
    """Name the time in which a replica has to come up."""
    return f"progress:{step.replica}"


def _warmed(step: Step) -> str:
    """Name how many of its warm-up requests a replica was sent."""
    return f"warmed:{step.replica}"


def _started(step: Step) -> str:
    """Name what this run has started itself."""
    return f"started:{step.replica}"


def _state_of(container: Container | None) -> str:
    if container is None:
        return "is gone"
    if (
        container.state == "restarting"
    ):  # for a moment, between two starts, and then without an exit code
        return "does not run: its process ended and is started anew"
    return f"is {container.state}, exit code {container.exit_code}"
