# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    GroupCommit,
    Release,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
    LoadBalancerErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    mapping,
    with_option,
)


class SlowDisk(MemoryLoadBalancer):
    """Each write takes what is there when it begins, and lasts until the test lets it end."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.writes = 0
        self.changed: set[int] = set()
        self.on_disk: frozenset[int] = frozenset()
        self.writing, self.go_on = threading.Event(), threading.Event()

    def persist(self) -> bool:
        self.writes += 1
        taken = frozenset(self.changed)
        self.writing.set()
        assert self.go_on.wait(10)
        self.on_disk = taken
        return super().persist()


def test_many_changes_share_a_write_and_nobody_returns_before_one_that_covers_it() -> None:
    disk = SlowDisk()
    commit = GroupCommit(disk)
    uncovered: list[int] = []
    asked = threading.Barrier(11)

    def change(number: int, meet: bool = True) -> None:
        disk.changed.add(number)
        if meet:
            asked.wait(10)
        commit.persist()
        if number not in disk.on_disk:
            uncovered.append(number)

    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(change, 0, False)
        assert disk.writing.wait(10)  # the first write has begun, without what comes now
        others = [pool.submit(change, number) for number in range(1, 11)]
        asked.wait(10)
        threading.Event().wait(0.1)
        assert not any(item.done() for item in (first, *others))
        disk.go_on.set()
        for item in (first, *others):
            item.result(10)
    assert uncovered == []
    assert disk.writes == 2, "ten changes that came during one write share the next"


def test_one_after_the_other_each_write_is_made() -> None:
    disk = SlowDisk()
    disk.go_on.set()
    commit = GroupCommit(disk)
    for number in range(3):
        disk.changed.add(number)
        commit.persist()
        assert number in disk.on_disk
    assert disk.writes == 3


def test_a_write_that_failed_covers_nobody() -> None:
    driver = MemoryLoadBalancer(FakeClock())
    commit = GroupCommit(driver)
    driver.fail("persist", LoadBalancerError(LoadBalancerErrorKind.PERSIST_FAILED, "disk full"))
    with pytest.raises(LoadBalancerError, match="disk full"):
        commit.persist()
    driver.register("a", "10.0.0.1", 80)
    commit.persist()
    assert driver.persisted()


def release(path: str = "app", value: object = "shop") -> Release:
    return Release(parse_spec(with_option(path, value)), IMAGE_ID, {"web": ("serve", "--now")})


def test_a_container_carries_what_identifies_it_and_nothing_secret() -> None:
    secrets = {"DB": {"source": "/var/x", "sha256": "0" * 64}}
    made = Release(parse_spec(mapping(secrets=secrets)), IMAGE_ID)
    spec = made.container(made.spec.processes[0], 2, "/state")
    assert spec.name == f"shop-web-{made.id}-2"
    assert spec.labels == {
        "immutable.cutover.app": "shop",
        "immutable.cutover.process": "web",
        "immutable.cutover.release": made.id,
        "immutable.cutover.replica": "2",
        "immutable.cutover.version": "1.0.0",
        "immutable.cutover.port": "8080",
    }
    assert spec.env == {"LOG_LEVEL": "info", "PORT": "8080"}
    assert [(secret.name, secret.source) for secret in spec.secrets] == [("DB", "/var/x")]
    assert spec.secrets_dir == "/state/apps/shop/replicas"
    assert (spec.image_id, spec.network) == (IMAGE_ID, "cutover")


def test_the_spec_chooses_the_command_before_the_image_does() -> None:
    plain, chosen = release(), release("processes/web/command", ["other"])
    assert plain.container(plain.spec.processes[0], 1, "/s").command == ("serve", "--now")
    assert chosen.container(chosen.spec.processes[0], 1, "/s").command == ("other",)


def test_the_goal_is_what_the_spec_says() -> None:
    spec = with_option("strategy", {"max_surge": "50%", "max_unavailable": 1})
    spec["processes"]["web"] |= {"replicas": 4, "warm_up": {"requests": ["/"]}}
    made = Release(parse_spec(spec), IMAGE_ID)
    want = made.goal().wants[0]
    assert (want.replicas, want.max_surge, want.max_unavailable, want.floor) == (4, 2, 1, 3)
    assert (want.load_balancers, want.warm_up, want.release) == (1, True, made.id)
    assert made.wanted_replicas == 4
