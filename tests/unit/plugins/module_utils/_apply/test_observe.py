# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    GroupCommit,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    Image,
    Resources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import Phase
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock
from ansible_collections.immutable.cutover.tests.unit.support.shop import IMAGE_ID

LABELS = {
    "app": "shop",
    "process": "web",
    "release": "01234567",
    "replica": "1",
    "port": "80",
    "version": "1.0",
}
NAME = "shop-web-01234567-1"


class Place:
    """An engine and two load balancers."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.engine = MemoryEngine(Image(IMAGE_ID, {}, (), "1", ""))
        self.drivers = [MemoryLoadBalancer(clock, looks_until_up=0) for _number in range(2)]
        pairs = tuple(Balancer(driver, GroupCommit(driver)) for driver in self.drivers)
        self.site = Site(self.engine, {"web": pairs}, "/state", clock)

    def add(self, name: str = NAME, state: str = "running", **labels: str) -> str:
        full = {
            f"immutable.cutover.{key}": value
            for key, value in {**LABELS, **labels}.items()
            if value
        }
        spec = ContainerSpec(name, IMAGE_ID, "cutover", full, {}, Resources(1, 1, 1))
        return self.engine.add(spec, state).address

    def register(self, name: str, address: str, *admins: Admin) -> None:
        for driver, admin in zip(self.drivers, admins, strict=False):
            driver.register(name, address, 80)
            driver.set_state(name, admin)


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_replica_is_read_off_its_labels_and_its_targets(place: Place) -> None:
    place.register(NAME, place.add(), Admin.ACTIVE, Admin.ACTIVE)
    world = observe(place.site, "shop", frozenset([NAME]))
    (replica,) = world.replicas
    assert (replica.name, replica.process, replica.release, replica.slot) == (
        NAME,
        "web",
        "01234567",
        1,
    )
    assert (replica.port, replica.version, replica.phase) == (80, "1.0", Phase.SERVING)
    assert world.settled == {NAME}


@pytest.mark.parametrize(
    ("admins", "state", "phase", "routed"),
    [
        ((), "running", Phase.STARTED, False),
        ((Admin.ACTIVE,), "running", Phase.STANDBY, True),
        ((Admin.ACTIVE, Admin.DRAINING), "running", Phase.STANDBY, True),
        ((Admin.DRAINING, Admin.MAINTENANCE), "running", Phase.STANDBY, False),
        ((Admin.ACTIVE, Admin.ACTIVE), "exited", Phase.DEAD, False),
        ((), "created", Phase.DEAD, False),
    ],
)
def test_phases(
    place: Place, admins: tuple[Admin, ...], state: str, phase: Phase, routed: bool
) -> None:
    address = place.add(state=state) or "10.0.0.1"
    place.register(NAME, address, *admins)
    (replica,) = observe(place.site, "shop").replicas
    assert (replica.phase, replica.routed) == (phase, routed)


def test_an_address_that_is_not_its_own(place: Place) -> None:
    place.add()
    place.register(NAME, "192.0.2.1", Admin.ACTIVE, Admin.ACTIVE)
    (replica,) = observe(place.site, "shop").replicas
    assert (replica.phase, replica.routed) == (Phase.MISADDRESSED, False)


def test_a_target_without_its_container_is_one_of_ours_by_its_name(place: Place) -> None:
    place.register(NAME, "10.0.0.9", Admin.DRAINING, Admin.DRAINING)
    place.register("shop-web-old", "10.0.0.8", Admin.ACTIVE)
    place.register("blog-web-01234567-1", "10.0.0.7", Admin.ACTIVE)
    (replica,) = observe(place.site, "shop").replicas
    assert (replica.name, replica.release, replica.slot) == (NAME, "01234567", 1)
    assert (replica.phase, replica.registered) == (Phase.MISSING, True)


@pytest.mark.parametrize(
    "labels",
    [
        {"app": "blog"},
        {"process": ""},
        {"release": ""},
        {"replica": ""},
        {"replica": "x"},
        {"port": "x"},
    ],
)
def test_a_container_that_is_not_wholly_labelled_is_not_ours(
    place: Place, labels: dict[str, str]
) -> None:
    place.add("something", **labels)
    assert observe(place.site, "shop").replicas == ()
