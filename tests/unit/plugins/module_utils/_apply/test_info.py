# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of an app: what it shows, and what it tells a person to do next."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import status
from ansible_collections.immutable.cutover.plugins.module_utils._apply.info import release_info
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
    LoadBalancerErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.processes import ended_process
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
    yield made
    made.rig.close()


def info(host: Host) -> dict[str, Any]:
    return release_info("shop", None, str(host.state_dir), 50, host.engine, host.rig.clock)


def text(host: Host) -> str:
    return "\n".join(info(host)["lines"])


def test_what_runs_is_shown_with_health_work_and_age(host: Host) -> None:
    host.apply(host.spec("1", web={"replicas": 2}))
    name = info(host)["processes"]["web"][0]["name"]
    host.balancer.work(name, 3)
    found = info(host)
    replica = found["processes"]["web"][0]
    assert (replica["state"], replica["in_flight"]) == ("serving", 3)
    assert replica["age"] is not None and replica["health"]
    lines = found["lines"]
    assert lines[0] == f"shop 1 ({found['current']}), image shop@{IMAGE_ID[:19]}"
    assert lines[1] == "  web: 2 serve, 2 wanted"
    assert lines[2].split()[:3] == [name, "1", "serving"]
    assert "3 in flight  up " in lines[2]
    assert lines[-2:] == ["  kept for a rollback: none", "  lease: free"]
    assert (found["next"], found["under_way"], found["wanted"]) == ([], {}, {"web": 2})


def test_an_app_that_was_never_deployed(host: Host) -> None:
    assert info(host)["lines"] == [
        "shop: no release completed yet",
        "  kept for a rollback: none",
        "  lease: free",
    ]


def test_what_is_kept_is_named(host: Host) -> None:
    host.apply(host.spec("1"))
    host.apply(host.spec("2", OTHER_IMAGE_ID))
    first = info(host)["releases"][0]["id"]
    assert f"  kept for a rollback: 1 ({first})" in info(host)["lines"]


def test_b67_who_has_the_lease_and_who_waits(host: Host) -> None:
    host.apply(host.spec("1"))
    lease = Lease(str(host.state_dir), "shop", host.rig.clock)
    lease.acquire(Holder("r7", "bob", "ctl2", "", "41", "https://awx.example/41"), 600)
    host.apply(host.spec("2", OTHER_IMAGE_ID), waits=900.0)
    shown = text(host)
    assert "lease: bob, run r7, host ctl2, job 41 (https://awx.example/41), for " in shown
    assert "in line: eve, run run-1" in shown
    assert "next: wait for the run that has the lease" in shown


def test_a_dead_run_is_told_with_what_to_do(host: Host) -> None:
    dead = ended_process()
    host.apply(host.spec("1"))
    holder = {"run": "r7", "user": "bob", "host": socket.gethostname(), "process": dead}
    host.apply(host.spec("2", OTHER_IMAGE_ID), seconds=0, holder=holder)
    found = info(host)
    assert (found["lease"]["dead"], found["under_way"]["to"]) == (True, "")
    shown = "\n".join(found["lines"])
    assert "ago, dead" in shown
    assert f"under way: release {found['under_way']['release']}" in shown.replace("2 (", "")
    assert "next: the run that has the lease is dead: run recover, or replace again" in shown


def test_a_lease_that_has_run_out_is_told(host: Host) -> None:
    Lease(str(host.state_dir), "shop", host.rig.clock).acquire(Holder("r7", "bob", "ctl2"), -1)
    found = info(host)
    assert (found["lease"]["expired"], found["lease"]["dead"]) == (True, False)
    assert "has not been heard from for longer than its lease: run recover" in text(host)


def test_what_was_begun_and_nobody_works_on(host: Host) -> None:
    host.apply(host.spec("1"))
    host.engine.fail("start")
    host.apply(host.spec("2", OTHER_IMAGE_ID))
    assert "next: no run works on what was begun: run recover" in text(host)


def test_a_replica_that_should_serve_and_does_not(host: Host) -> None:
    host.apply(host.spec("1", web={"replicas": 2}))
    name = info(host)["processes"]["web"][0]["name"]
    host.engine.crash(name)
    shown = text(host)
    assert "  web: 1 serve, 2 wanted" in shown
    assert f"next: run recover: {name} should serve and does not" in shown


def test_lb_09_a_load_balancer_that_does_not_answer_does_not_hide_the_rest(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.apply(host.spec("1"))

    def gone() -> tuple[()]:
        raise LoadBalancerError(LoadBalancerErrorKind.UNREACHABLE, "/run/x: no socket there")

    monkeypatch.setattr(host.balancer, "targets", gone)
    found = info(host)
    assert [item["state"] for item in found["processes"]["web"]] == ["unknown"]
    assert found["problems"] == ["/run/x: no socket there"]
    assert "  /run/x: no socket there" in found["lines"]
    assert found["next"] == ["see to the load balancer: what it routes to is not known"]


def test_a_held_gate_is_told_with_what_to_do() -> None:
    lease: dict[str, Any] = {"holder": None, "line": [], "dead": False, "expired": False}
    found: dict[str, Any] = {"lease": lease, "under_way": {"release": "bbbbbbbb", "held": "switch"}}
    assert status.advice(found) == ["run promote to pass the gate switch, or abort to go back"]
