# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen on another host can be read and not be changed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.handed import (
    HandedBalancer,
    HandedEngine,
    balancer_data,
    containers_data,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import (
    target_address,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.ports import port_for
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Container
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.plugins.module_utils._release.fleet import Fleet
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

NAME = "shop.at.b1-web-0123abcd-1"


def container(state: str = "running", **labels: str) -> Container:
    own = {names.APP: "shop", names.PORT: "8080", **labels}
    return Container("id-1", NAME, "sha256:1", state, own, "10.0.0.9")


def published(port: int) -> dict[str, str]:
    return {names.PUBLISHED: f"127.0.0.1:{port}"}


def test_containers_survive_the_way(tmp_path: Path) -> None:
    there = container(**published(21000))
    engine = HandedEngine(json.loads(json.dumps(containers_data([there]))))
    assert engine.containers({names.APP: "shop"}) == (there,)
    assert engine.containers({names.APP: "other"}) == ()


def handed(there: MemoryLoadBalancer, *counted: str) -> HandedBalancer:
    return HandedBalancer(json.loads(json.dumps(balancer_data(there, "lb1", counted))))


@pytest.fixture
def there() -> MemoryLoadBalancer:
    made = MemoryLoadBalancer(FakeClock(), backend="shop")
    made.register(NAME, "10.0.0.9", 21000)
    made.set_state(NAME, Admin.DRAINING)
    return made


def test_what_a_balancer_shows_survives_the_way(there: MemoryLoadBalancer) -> None:
    balancer = handed(there, NAME)
    assert balancer.targets() == there.targets()
    assert balancer.probe() == there.probe()
    assert balancer.traffic([NAME, "other"]) == there.traffic([NAME])
    assert handed(there).traffic([NAME]) == {}, "nobody asked for it"
    assert balancer.where == f"{there.where} on lb1"
    assert (balancer.persist(), balancer.persisted()) == (False, True)


CHANGES: list[Callable[[MemoryLoadBalancer], object]] = [
    lambda _there: HandedEngine([]).stop("id-1", "SIGTERM", 1),
    lambda _there: HandedEngine([]).remove("id-1"),
    lambda there: handed(there).set_state(NAME, Admin.ACTIVE),
    lambda there: handed(there).deregister(NAME),
    lambda there: handed(there).in_flight([NAME]),
]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_changed_elsewhere(
    change: Callable[[MemoryLoadBalancer], object], there: MemoryLoadBalancer
) -> None:
    with pytest.raises(CutoverError, match="on another host"):
        change(there)


def test_a_published_replica_is_reached_at_its_host() -> None:
    assert target_address(container()) == ("10.0.0.9", 8080)
    assert target_address(container(**published(21000))) == ("127.0.0.1", 21000)


def given_port(fleet: Fleet, folder: Path, *there: Container, name: str = NAME) -> int:
    engine = HandedEngine(containers_data(list(there)))
    with port_for(engine, fleet, name, str(folder), FakeClock()) as port:
        return port


def test_a_port_is_free_and_stays_with_its_replica(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        low = stranger.getsockname()[1]
        fleet = Fleet("b1", "127.0.0.1", (low, low + 9))
        assert given_port(fleet, tmp_path) > low
        first = container(**published(low + 1))
        assert given_port(fleet, tmp_path, first) == low + 1
        assert given_port(fleet, tmp_path, first, name="other") > low + 1
        with pytest.raises(EngineError, match="no free port left"):
            given_port(Fleet("b1", "127.0.0.1", (low, low)), tmp_path)


def test_what_is_not_published_needs_no_port(tmp_path: Path) -> None:
    assert given_port(Fleet(), tmp_path) == 0


def test_an_address_of_another_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"192\.0\.2\.1 is not an address of this host"):
        given_port(Fleet("b1", "192.0.2.1"), tmp_path)
