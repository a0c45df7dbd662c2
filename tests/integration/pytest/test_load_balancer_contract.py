# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The contract of the load balancer seam, the same for the reference driver and for a real HAProxy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    InvalidInput,
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    InFlight,
    LoadBalancer,
    Quality,
    Target,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from tests.integration.pytest.haproxy_rig import PATIENCE, App, Haproxy, eventually
from tools.sample import free_port

CLOCK = SystemClock()
IDLE = (Admin.STANDBY, Admin.DRAINING)


class Bench(Protocol):
    """What a driver is tested on."""

    lb: LoadBalancer

    def app(self, name: str, *, ready: bool = True) -> tuple[str, int]: ...
    def busy(self, name: str) -> contextlib.AbstractContextManager[Callable[[], None]]: ...
    def restart(self) -> None: ...
    def another(self) -> LoadBalancer: ...


class MemoryBench:
    def __init__(self) -> None:
        self.memory = MemoryLoadBalancer(CLOCK, preview=True)
        self.lb: LoadBalancer = self.memory
        self._unready: set[int] = set()

    def app(self, name: str, *, ready: bool = True) -> tuple[str, int]:
        return "127.0.0.1", free_port()

    @contextlib.contextmanager
    def busy(self, name: str) -> Iterator[Callable[[], None]]:
        self.memory.work(name, 1)
        self.memory.count_traffic(name, 1)
        yield lambda: self.memory.work(name, 0)
        self.memory.work(name, 0)

    def restart(self) -> None:
        self.memory.restart()

    def another(self) -> LoadBalancer:
        return self.memory


class HaproxyBench:
    def __init__(self, directory: Path) -> None:
        self.haproxy = Haproxy(directory, balance="roundrobin")
        self.lb = self.haproxy.driver()
        self._dir = directory
        self.apps: list[App] = []

    def app(self, name: str, *, ready: bool = True) -> tuple[str, int]:
        app = App(self._dir, name)
        app.ready(ready)
        self.apps.append(app)
        return app.address, app.port

    @contextlib.contextmanager
    def busy(self, name: str) -> Iterator[Callable[[], None]]:
        with self.haproxy.held() as held:
            eventually(lambda: self.lb.in_flight([name])[name].total == 1)
            yield held.release
        assert held.answers == [(200, name)]

    def restart(self) -> None:
        self.haproxy.restart()

    def another(self) -> LoadBalancer:
        return self.haproxy.driver()


@pytest.fixture(params=["memory", "haproxy"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "memory":
        yield MemoryBench()
        return
    made = HaproxyBench(tmp_path)
    made.haproxy.start()
    try:
        yield made
    finally:
        made.haproxy.kill()
        for app in made.apps:
            app.kill()


def up(bench: Bench, name: str) -> Target:
    """Register, wait and activate one target."""
    targets.register_standby(bench.lb, name, *bench.app(name))
    targets.await_healthy(bench.lb, name, PATIENCE, CLOCK)
    targets.activate(bench.lb, name)
    return targets.find(bench.lb, name)


def test_probe_says_what_it_can(bench: Bench) -> None:
    can = bench.lb.probe()
    assert can.standby and can.health and can.weight and can.persistence
    assert can.in_flight is Quality.EXACT
    assert bench.lb.targets() == ()


def test_what_is_previewed_is_what_was_said_last(bench: Bench) -> None:
    assert bench.lb.probe().preview and bench.lb.preview() == ()
    for name in ("new-1", "new-2", "old-1"):
        targets.register_standby(bench.lb, name, *bench.app(name))
    targets.offer(bench.lb, "old-1", lambda other: other.startswith("old"))
    targets.offer(bench.lb, "new-1", lambda other: other.startswith("new"))
    targets.offer(bench.lb, "new-2", lambda other: other.startswith("new"))
    assert bench.lb.preview() == ("new-1", "new-2")
    assert not bench.lb.change_preview(lambda _: ["new-2", "new-1"]), "it was so already"
    bench.lb.persist()
    assert bench.lb.persisted()
    bench.restart()
    assert bench.lb.preview() == ("new-1", "new-2")
    targets.start_drain(bench.lb, "new-1")
    assert bench.lb.preview() == ("new-2",)
    targets.deregister(bench.lb, "new-2")
    assert bench.lb.preview() == ()
    bench.lb.persist()
    assert bench.lb.persisted()


@pytest.mark.parametrize("runs", [1, 8], ids=["of-one-run", "of-runs-of-several-hosts"])
def test_what_is_previewed_is_right_when_steps_come_to_it_at_the_same_moment(
    bench: Bench, runs: int
) -> None:
    names = [f"new-{number}" for number in range(8)]
    for name in names:
        targets.register_standby(bench.lb, name, *bench.app(name))
    drivers = [bench.another() for _run in range(runs)] * (len(names) // runs)
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda lb, name: targets.offer(lb, name, lambda _: True), drivers, names))
        assert bench.lb.preview() == tuple(names)
        list(pool.map(targets.withdraw, drivers, names[:-1]))
    assert bench.lb.preview() == ("new-7",)
    bench.lb.persist()
    assert bench.lb.persisted()


def test_a_registered_target_waits_in_standby_and_gets_healthy(bench: Bench) -> None:
    address, port = bench.app("one")
    change = bench.lb.register("one", address, port)
    assert change.changed and change.before is None and change.after is not None
    assert (change.after.admin, change.after.address, change.after.port) == (
        Admin.STANDBY,
        address,
        port,
    )
    healthy = targets.await_healthy(bench.lb, "one", PATIENCE, CLOCK)
    assert healthy.admin is Admin.STANDBY and healthy.health is Health.UP and healthy.check
    assert not healthy.serving
    assert targets.activate(bench.lb, "one").changed
    assert targets.find(bench.lb, "one").serving
    assert not targets.activate(bench.lb, "one").changed


def test_registering_again_changes_nothing_and_never_readdresses(bench: Bench) -> None:
    target = up(bench, "one")
    again = bench.lb.register("one", target.address, target.port)
    assert not again.changed and again.after is not None and again.after.admin is Admin.ACTIVE
    with pytest.raises(LoadBalancerError, match="exists with address") as refused:
        bench.lb.register("one", target.address, free_port())
    assert refused.value.kind is Kind.CONFLICT
    assert targets.find(bench.lb, "one") == target


@pytest.mark.parametrize("admin", [Admin.DRAINING, Admin.MAINTENANCE, Admin.STANDBY])
def test_states_are_set_once_and_back(bench: Bench, admin: Admin) -> None:
    up(bench, "one")
    first, second = bench.lb.set_state("one", admin), bench.lb.set_state("one", admin)
    assert first.changed and not second.changed
    assert second.after is not None
    assert second.after.admin is admin or (second.after.admin in IDLE and admin in IDLE)
    assert bench.lb.set_state("one", Admin.ACTIVE).changed
    eventually(lambda: targets.find(bench.lb, "one").serving)


def test_weight_is_set_and_bounded(bench: Bench) -> None:
    up(bench, "one")
    assert bench.lb.set_weight("one", 200).changed
    assert not bench.lb.set_weight("one", 200).changed
    assert targets.find(bench.lb, "one").weight == 200
    for refused in (-1, 257):
        with pytest.raises(InvalidInput, match="from 0 to 256"):
            bench.lb.set_weight("one", refused)


def test_ro_13_weights_are_set_together_and_what_is_absent_is_left_out(bench: Bench) -> None:
    up(bench, "one")
    up(bench, "two")
    changes = bench.lb.set_weights({"one": 9, "two": 2, "nobody": 7})
    assert {name: change.changed for name, change in changes.items()} == {"one": True, "two": True}
    assert {target.name: target.weight for target in bench.lb.targets()} == {"one": 9, "two": 2}
    assert not any(change.changed for change in bench.lb.set_weights({"one": 9}).values())
    bench.lb.persist()
    bench.restart()
    assert {target.name: target.weight for target in bench.lb.targets()} == {"one": 9, "two": 2}


def test_ro_14_traffic_is_counted_for_each_target(bench: Bench) -> None:
    up(bench, "one")
    before = bench.lb.traffic(["one", "nobody"])
    assert set(before) == {"one"}
    with bench.busy("one"):
        pass
    after = bench.lb.traffic(["one"])["one"]
    assert after.requests - before["one"].requests == 1
    assert after.errors == before["one"].errors and after.response_ms is not None


def test_absent_targets(bench: Bench) -> None:
    assert not bench.lb.deregister("nobody").changed
    assert bench.lb.in_flight(["nobody"])["nobody"].total == 0
    for refused in (
        lambda: bench.lb.set_state("nobody", Admin.ACTIVE),
        lambda: bench.lb.set_weight("nobody", 1),
    ):
        with pytest.raises(LoadBalancerError) as missing:
            refused()
        assert missing.value.kind is Kind.TARGET_NOT_FOUND


def test_an_unhealthy_target_is_never_activated(bench: Bench) -> None:
    address, port = bench.app("sick", ready=False)
    bench.lb.register("sick", address, port)
    if isinstance(bench, MemoryBench):
        bench.memory.health("sick", Health.DOWN)
    with pytest.raises(LoadBalancerError, match="not healthy after 0.5 s") as late:
        targets.await_healthy(bench.lb, "sick", 0.5, CLOCK)
    assert late.value.kind is Kind.NOT_HEALTHY and late.value.answer
    with pytest.raises(LoadBalancerError) as refused:
        targets.activate(bench.lb, "sick")
    assert refused.value.kind is Kind.NOT_HEALTHY
    assert targets.find(bench.lb, "sick").admin is Admin.STANDBY


def test_busy_targets_are_counted_and_not_deregistered(bench: Bench) -> None:
    up(bench, "one")
    with bench.busy("one") as end:
        figure = bench.lb.in_flight(["one", "nobody"])
        assert figure["one"].count == 1 and figure["nobody"].total == 0
        assert sum(count for _part, count in figure["one"].parts) == figure["one"].total
        with pytest.raises(LoadBalancerError, match="still works on 1") as refused:
            bench.lb.deregister("one")
        assert refused.value.kind is Kind.NOT_DRAINED
        assert targets.find(bench.lb, "one").admin is Admin.DRAINING
        seen: list[int] = []

        def look(busy: Mapping[str, InFlight]) -> None:
            seen.append(busy["one"].total)
            end()

        done = targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK, look)
    assert done["one"].peak == 1
    assert seen[0] == 1
    assert bench.lb.deregister("one").changed
    assert bench.lb.targets() == ()


def test_a_drain_that_takes_too_long_names_who_is_busy_and_cuts_nothing(bench: Bench) -> None:
    up(bench, "one")
    with bench.busy("one"):
        targets.start_drain(bench.lb, "one")
        with pytest.raises(LoadBalancerError, match=r"one \(1 in flight, 0 queued\)") as late:
            targets.await_drained(bench.lb, ["one"], 0.2, CLOCK)
        assert late.value.kind is Kind.DRAIN_TIMEOUT
        assert late.value.details["busy"] == {"one": 1}


def test_a_target_that_is_routed_to_again_is_no_drained_target(bench: Bench) -> None:
    up(bench, "one")
    with pytest.raises(LoadBalancerError) as stale:
        targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK)
    assert stale.value.kind is Kind.STALE
    targets.start_drain(bench.lb, "one")

    def undo(_busy: Mapping[str, InFlight]) -> None:
        bench.lb.set_state("one", Admin.ACTIVE)

    with pytest.raises(LoadBalancerError) as stale:
        targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK, undo, samples=5)
    assert stale.value.kind is Kind.STALE


def test_persist_writes_once_and_a_restart_finds_the_active_ones(bench: Bench) -> None:
    for name in ("one", "two", "three"):
        up(bench, name)
    targets.start_drain(bench.lb, "two")
    assert bench.lb.persist() and not bench.lb.persist()
    bench.restart()
    after = {target.name: target for target in bench.lb.targets()}
    assert set(after) == {"one", "two", "three"}
    assert after["one"].serving and after["three"].serving
    assert after["two"].admin is Admin.MAINTENANCE
    assert not bench.lb.persist()
    targets.register_standby(bench.lb, "two", after["two"].address, after["two"].port)
    targets.await_healthy(bench.lb, "two", PATIENCE, CLOCK)
    targets.activate(bench.lb, "two")
    assert bench.lb.persist()
    for name in ("one", "two", "three"):
        bench.lb.deregister(name)
    assert bench.lb.persist()
    bench.restart()
    assert bench.lb.targets() == ()


def test_many_threads_at_once(bench: Bench) -> None:
    names = [f"t{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: up(bench, name), names))
        assert sorted(target.name for target in bench.lb.targets()) == names
        list(pool.map(lambda name: targets.start_drain(bench.lb, name), names))
        list(pool.map(lambda _name: bench.lb.persist(), names))
        list(pool.map(bench.lb.deregister, names))
    assert bench.lb.targets() == ()


@pytest.mark.parametrize(
    "name",
    [
        "a;del server shop/b",
        "a\ndel server shop/b",
        "a<<",
        "a b",
        "a\0",
        "a\u2028b",
        "",
        "-a",
        "x" * 16384,
    ],
)
def test_se_11_names_are_refused_before_anything_is_sent(bench: Bench, name: str) -> None:
    for call in (
        lambda: bench.lb.register(name, "127.0.0.1", 80),
        lambda: bench.lb.set_state(name, Admin.ACTIVE),
        lambda: bench.lb.set_weight(name, 1),
        lambda: bench.lb.deregister(name),
        lambda: bench.lb.in_flight([name]),
    ):
        with pytest.raises(InvalidInput):
            call()
    for address in ("127.0.0.1 check;show info", "localhost", "unix@/x"):
        with pytest.raises(InvalidInput, match="address"):
            bench.lb.register("fine", address, 80)
    assert bench.lb.targets() == ()
