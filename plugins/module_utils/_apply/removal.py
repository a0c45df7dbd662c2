# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a drained replica goes for good: out of the load balancers, then its process; private, no stability promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._apply import replicas, targets
from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Interrupted
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.gates import HealthySide
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.step_log import step_key
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Container
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import Stop
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Step
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import serving_count

Detail = Mapping[str, object]
FLOOR_INTERVAL = 0.2
FLOOR_WAIT = 60


@dataclass(frozen=True)
class Removal:
    """The last two steps of a replica."""

    release: Release
    site: Site
    lease: Lease
    epoch: int
    timers: Timers
    note: Callable[[str, str], None]
    container_of: Callable[[Step], Container | None]
    failing: Callable[[], bool]
    """Whether another step has failed, so that the next call may go elsewhere."""

    def deregister(self, step: Step) -> Detail:
        """Take it out for good, if enough others still serve: until here it is one command away from serving again."""
        while not self._may_go(step):
            left = self.timers.left(step_key(step), FLOOR_WAIT)
            if left <= 0:
                raise HealthySide(
                    f"{step.replica}: not taken away: fewer than {self._floor(step.process)} other replicas of "
                    f"{step.process} serve now in the load balancer's view; it still runs, healthy and without traffic"
                )
            self.note(step.replica, "waiting for others that serve")
            self.site.clock.sleep(min(FLOOR_INTERVAL, left))
        for driver in self.site.drivers(step.process):
            with self.lease.guard(self.epoch):
                targets.deregister(driver, step.replica)
        return {}

    def destroy(self, step: Step) -> Detail:
        """Ask it to stop, give it its time, remove it. No lock is held meanwhile, for others wait for that."""
        container, process = self.container_of(step), self.release.spec.process(step.process)
        if container is None:
            return {"gone": True}
        stop, engine = process.stop if process else Stop(), self.site.engine
        self._ask_to_stop(step, container.id, stop.signal)
        self.note(step.replica, f"{stop.signal} was sent")

        def left() -> float:
            return self.timers.left(step_key(step), stop.grace_period)

        try:
            replicas.await_end(engine, container.id, left, self.site.clock)
        except Interrupted:
            if not self.failing():  # it goes on in the next call
                raise
        rest = math.ceil(left())
        with self.lease.guard(self.epoch):
            self._refuse_registered(step)
            return replicas.stop_replica(
                engine,
                container.id,
                signal=stop.signal,
                grace_period=rest,
                waited=stop.grace_period - rest,
            )

    def _floor(self, process: str) -> int:
        wants = {want.process: want for want in self.release.goal().wants}
        return wants[process].floor if process in wants else 0

    def _may_go(self, step: Step) -> bool:
        """Whether nothing is lost with a replica: it could not serve, or never did, or enough others do."""
        with self.lease.guard(self.epoch):  # one that comes late does not wait to be told so
            world = observe(self.site, self.release.spec.app)
        replica = world.find(step.replica)
        if replica is None or not replica.spare:
            return True
        return serving_count(world, step.process) >= self._floor(step.process)

    def _ask_to_stop(self, step: Step, container_id: str, signal: str) -> None:
        """Send the signal, in the first of the calls that this takes."""
        if step_key(step) in self.timers.began:
            return
        with self.lease.guard(self.epoch):
            self._refuse_registered(step)
            try:
                self.site.engine.ask_to_stop(container_id, signal)
            except EngineError as error:
                if error.details.get("kind") != "not_found":
                    raise

    def _refuse_registered(self, step: Step) -> None:
        for driver in self.site.drivers(step.process):
            if any(target.name == step.replica for target in driver.targets()):
                raise CutoverError(
                    f"{step.replica} is still registered in {driver.where}; it is not destroyed",
                    replica=step.replica,
                )
