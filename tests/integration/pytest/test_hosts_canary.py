# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""A canary on a host whose replicas share two load balancers with another host's, all of them on other hosts."""

from __future__ import annotations

import http.client
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.pytest.hosts_rig import (
    NEW,
    OLD,
    Clients,
    Ended,
    Fleet,
    two_backends,
    until,
)
from tools.sample import Sample

ASKS = {"X-Canary": "yes"}
PREVIEW = {"header": "X-Canary", "value": "yes"}


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    """Images, and HAProxy with two backends that share by weight."""
    with two_backends("hosts-canary", balance="roundrobin", preview=PREVIEW) as made:
        yield made


@pytest.fixture(scope="module")
def running(sample: Sample) -> Iterator[Fleet]:
    """Two hosts behind two load balancers."""
    folder = Path(f"/var/lib/immutable-cutover-test-{sample.name}")
    shutil.rmtree(folder, ignore_errors=True)
    made = Fleet(sample, folder)
    made.put_behind_another()
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """The hosts, with the old version and nothing else; what a test before has left is aborted."""
    running.common.pop("release_strategy", None)
    ended(running.play("replace", OLD))
    running.converged(OLD)
    return running


@pytest.fixture
def clients(sample: Sample, tmp_path: Path) -> Clients:
    """Load on the app."""
    return Clients([sample.url], tmp_path)


def ended(found: Ended, code: int = 0) -> str:
    assert found.code == code, found.text
    return found.text


def canary(fleet: Fleet, *steps: object, **more: object) -> None:
    fleet.common["release_strategy"] = {
        "type": "canary",
        "max_surge": 2,
        "while_held": "abort",
        "steps": list(steps),
        "analysis": {"max_error_rate": 100},
        **more,
    }


def answers(fleet: Fleet, number: int, **headers: str) -> Counter[str]:
    """Ask so many times, one after the other, which is what a round robin shares exactly; count by host and version."""
    found: Counter[str] = Counter()
    with closing(http.client.HTTPConnection("127.0.0.1", fleet.sample.port, timeout=60)) as asks:
        for _number in range(number):
            asks.request(
                "GET", "/", headers={key.replace("_", "-"): headers[key] for key in headers}
            )
            answer = asks.getresponse()
            answer.read()
            assert answer.status == 200
            host = answer.headers["X-App-Instance"].split("-web-")[0].rpartition(".")[2]
            found[f"{host} {answer.headers['X-App-Version']}"] += 1
    return found


def test_ro_13_a_host_divides_its_own_part_and_takes_none_of_another(
    fleet: Fleet, clients: Clients
) -> None:
    canary(fleet, {"weight": 0}, {"pause": {}}, {"weight": 20}, {"pause": {}})
    limit = ("--limit", "b1")
    with clients:
        assert "is held at gate 2-pause-at-0" in ended(fleet.play("replace", NEW, *limit))
        assert set(answers(fleet, 30, X_Canary="yes")) == {f"b1 {NEW}"}
        assert set(answers(fleet, 30)) == {f"b1 {OLD}", f"b2 {OLD}"}
        assert "is held at gate 4-pause-at-20" in ended(fleet.play("promote", NEW, *limit))
        number = 1000
        found = answers(fleet, number)
        assert found[f"b2 {OLD}"] == pytest.approx(number / 2, rel=0.1), found
        mine = found[f"b1 {NEW}"] + found[f"b1 {OLD}"]
        assert found[f"b1 {NEW}"] / mine == pytest.approx(0.2, abs=0.03), found
        assert fleet.weights() == fleet.weights("shop2")
        ended(fleet.play("promote", NEW, *limit))
        assert set(fleet.weights().values()) == {64}
        assert clients.lost() == []
    assert set(answers(fleet, 30)) == {f"b1 {NEW}", f"b2 {OLD}"}


def test_ro_14_host_by_host_an_analysis_passes_by_itself(fleet: Fleet, clients: Clients) -> None:
    asked = {"duration": 4, "timeout": 120, "min_requests": 20, "max_latency_ratio": 0}
    canary(fleet, {"weight": 30}, {"analysis": asked})
    with clients:
        ended(fleet.play("replace", NEW))
        assert clients.lost() == []
    fleet.converged(NEW)
    assert set(fleet.weights().values()) == set(fleet.weights("shop2").values()) == {64}
    again = fleet.play("replace", NEW)
    ended(again)
    assert (again.changed("b1"), again.changed("b2")) == (0, 0), again.text


def test_ro_14_a_canary_that_costs_too_much_is_stopped_and_no_other_host_begins(
    fleet: Fleet, clients: Clients
) -> None:
    canary(
        fleet, {"weight": 30}, {"pause": 600}, analysis={"max_error_rate": 2, "min_requests": 20}
    )
    env = {"STARTUP_DELAY": "0.3", "ACCESS_LOG": "0", "ERROR_RATE": "0.5"}
    started = len(fleet.steps("b2", "start"))
    with clients:
        text = ended(fleet.play("replace", NEW, release_env=env), 2)
        assert "requests failed" in text and "rolled back" in text, text
        lost = clients.lost()
    assert lost and all(" http_5xx " in row for row in lost), (
        "the canary's own errors and no others"
    )
    fleet.converged(OLD)
    assert set(fleet.weights().values()) == {64}
    assert len(fleet.steps("b2", "start")) == started


@pytest.mark.parametrize("then", ["recover", "replace"])
def test_cr_01_killed_at_a_gate_it_is_recovered_or_gone_on_with(
    fleet: Fleet, clients: Clients, then: str
) -> None:
    canary(fleet, {"weight": 30}, {"pause": 15})
    limit = ("--limit", "b1")
    with clients:
        known = len(fleet.steps("b1", "gate", "begin"))
        run = fleet.start("replace", NEW, *limit)
        until(lambda: len(fleet.steps("b1", "gate", "begin")) > known, run)
        run.kill()
        run.communicate()
        ended(fleet.play(then, NEW, *limit))
        assert clients.lost() == []
    versions = {NEW} if then == "replace" else {OLD}
    assert set(fleet.replicas("b1").values()) == versions
    assert len(fleet.weights()) == len(fleet.weights("shop2")) == 4
    assert set(fleet.weights().values()) == set(fleet.weights("shop2").values()) == {64}
    assert "interrupted" in ended(fleet.play("history", NEW, *limit))
