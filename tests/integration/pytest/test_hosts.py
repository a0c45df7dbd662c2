# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Several hosts: behind one load balancer, behind two of which one is away, and each on its own in batches."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.pytest.hosts_rig import (
    NEW,
    OLD,
    UNREACHABLE,
    Clients,
    Fleet,
    two_backends,
    until,
)
from tools.sample import Sample


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    """Images, and HAProxy with two backends."""
    with two_backends("hosts") as made:
        yield made


@pytest.fixture
def fleet(sample: Sample) -> Iterator[Fleet]:
    """Two hosts on which the old version runs."""
    folder = Path(f"/var/lib/immutable-cutover-test-{sample.name}")
    shutil.rmtree(folder, ignore_errors=True)
    made = Fleet(sample, folder)
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture
def clients(sample: Sample, tmp_path: Path) -> Clients:
    """Load on the app."""
    return Clients([sample.url], tmp_path)


def deployed(fleet: Fleet) -> None:
    first = fleet.play("replace", OLD)
    assert first.code == 0, first.text
    fleet.converged(OLD)


def test_ro_09_two_hosts_behind_one_balancer_lose_nothing(fleet: Fleet, clients: Clients) -> None:
    for member in fleet.members:
        fleet.hosts[member]["release_fleet"]["min_serving"] = "100%"
    planned = fleet.play("replace", OLD, "--check", "--diff", "--limit", "b1")
    assert (planned.code, fleet.replicas("b1"), fleet.targets()) == (0, {}, {}), planned.text
    assert "serving before web 0" in planned.text
    assert "never below 4 (fleet.min_serving: 100% of 2 on each of 2 hosts)" in planned.text
    deployed(fleet)
    with clients:
        ended = fleet.play("replace", NEW)
        assert ended.code == 0, ended.text
        fleet.converged(NEW)
        back = fleet.play("rollback", NEW)
        assert back.code == 0, back.text
        assert clients.lost() == []
    fleet.converged(OLD)
    again = fleet.play("replace", OLD)
    assert (again.code, again.changed("b1"), again.changed("b2")) == (0, 0, 0), again.text


def test_cr_11_b62_disjoint_limits_at_once_keep_the_floor_of_the_fleet(
    fleet: Fleet, clients: Clients
) -> None:
    deployed(fleet)
    strategy = {"max_surge": 0, "max_unavailable": 1}
    for member in fleet.members:
        fleet.hosts[member]["release_fleet"]["min_serving"] = "75%"
    with clients:
        runs = [
            fleet.start("replace", NEW, "--limit", member, release_strategy=strategy)
            for member in fleet.members
        ]
        lowest = 4
        while any(run.poll() is None for run in runs):
            lowest = min(lowest, sum(status == "UP" for status in fleet.targets().values()))
            time.sleep(0.02)
        said = [run.communicate()[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0], "\n".join(said)[-3000:]
        assert clients.lost() == []
    assert lowest == 3
    fleet.converged(NEW)


def test_lb_10_nothing_is_destroyed_while_one_of_two_balancers_is_away(
    fleet: Fleet, clients: Clients
) -> None:
    other = fleet.put_behind_another()
    deployed(fleet)
    old = fleet.replicas("b1")
    with clients:
        run = fleet.start("replace", NEW, "--limit", "b1")
        until(lambda: len(fleet.replicas("b1")) > len(old), run)
        other.unlink()
        text = run.communicate(timeout=300)[0]
        assert run.returncode != 0
        assert "other.sock" in text
        assert old.items() <= fleet.replicas("b1").items()
        assert set(old) <= set(fleet.targets("shop2"))
        unreachable = {**fleet.hosts["lb2"], **UNREACHABLE}
        reachable, fleet.hosts["lb2"] = fleet.hosts["lb2"], unreachable
        refused = fleet.play("replace", NEW, "--limit", "b1")
        assert refused.code != 0
        assert "lb2" in refused.text
        assert old.items() <= fleet.replicas("b1").items()
        fleet.hosts["lb2"] = reachable
        other.symlink_to(fleet.socket)
        ended = fleet.play("replace", NEW)
        assert ended.code == 0, ended.text
        assert clients.lost() == []
    fleet.converged(NEW)


def test_cr_01_a_run_that_dies_anywhere_is_gone_on_with(fleet: Fleet, clients: Clients) -> None:
    deployed(fleet)
    version = OLD
    with clients:
        for where in ("engine", "balancer"):  # when one was started, and when one was registered
            version = NEW if version == OLD else OLD
            run = fleet.start("replace", version, "--limit", "b1")
            until(partial(newer, fleet, where, seen(fleet, where)), run)
            run.kill()
            ended = fleet.play("replace", version)
            assert ended.code == 0, ended.text
            fleet.converged(version)
        assert clients.lost() == []


def newer(fleet: Fleet, where: str, before: set[str]) -> set[str]:
    return seen(fleet, where) - before


def seen(fleet: Fleet, where: str) -> set[str]:
    return set(fleet.replicas("b1") if where == "engine" else fleet.targets())


def test_ro_02_what_never_gets_ready_is_taken_back_and_stops_the_next_host(
    fleet: Fleet, clients: Clients
) -> None:
    deployed(fleet)
    before = [fleet.replicas(member) for member in fleet.members]
    never = {"STARTUP_DELAY": "600", "ACCESS_LOG": "0"}
    web = fleet.sample.spec(NEW)["release_processes"]["web"]
    web |= {"replicas": 2}
    web["readiness"] |= {"timeout": 3}
    with clients:
        ended = fleet.play("replace", NEW, release_env=never, release_processes={"web": web})
        assert ended.code != 0
        assert clients.lost() == []
    assert "rolled back: release" in ended.text, ended.text
    assert not re.search("^b2 ", ended.text.partition("PLAY RECAP")[2], re.MULTILINE)
    assert [fleet.replicas(member) for member in fleet.members] == before
    fleet.converged(OLD)


def apart(fleet: Fleet, **env: str) -> None:
    """Give every host a load balancer of its own: a backend that no other host has to do with."""
    fleet.balancers = [
        {"name": fleet.sample.balancer, "backend": backend} for backend in ("shop", "shop2")
    ]
    own = zip(fleet.members, fleet.balancers, strict=True)
    for member, balancer in own:
        fleet.hosts[member] |= {
            "release_network": fleet.sample.network,
            "release_fleet": {},
            "own_balancer": balancer,
            "own_env": {"STARTUP_DELAY": "0.3", "ACCESS_LOG": "0", **env},
        }
    fleet.common |= {
        "release_load_balancers": ["{{ own_balancer }}"],
        "release_env": "{{ own_env }}",
        "release_strategy": {"type": "blue_green", "two_phase": True, "scale_down_delay": 2},
    }


def served(fleet: Fleet, version: str) -> None:
    """Assert that every host's own backend has its own replicas of this version, and nothing else."""
    for member, balancer in zip(fleet.members, fleet.balancers, strict=True):
        found = fleet.replicas(member)
        assert set(found.values()) == {version}, found
        assert fleet.targets(balancer["backend"]) == dict.fromkeys(found, "UP")


def test_no_host_switches_before_every_host_is_prepared(fleet: Fleet, clients: Clients) -> None:
    apart(fleet)
    first = fleet.play("replace_two_phase", OLD)
    assert first.code == 0, first.text
    served(fleet, OLD)
    known = {member: len(fleet.steps(member, "activate")) for member in fleet.members}
    with clients:
        ended = fleet.play("replace_two_phase", NEW)
        assert ended.code == 0, ended.text
        assert clients.lost() == []
    served(fleet, NEW)
    switched = [fleet.steps(member, "activate")[known[member] :] for member in fleet.members]
    prepared = [fleet.steps(member, "run", "held") for member in fleet.members]
    assert all(switched) and all(prepared), (switched, prepared)
    assert min(map(min, switched)) > max(map(max, prepared))
    again = fleet.play("replace_two_phase", NEW)
    assert (again.code, again.changed("b1"), again.changed("b2")) == (0, 0, 0), again.text


def test_ro_02_a_host_that_cannot_be_prepared_keeps_every_host_from_switching(
    fleet: Fleet, clients: Clients
) -> None:
    apart(fleet)
    first = fleet.play("replace_two_phase", OLD)
    assert first.code == 0, first.text
    known = {member: len(fleet.steps(member, "activate")) for member in fleet.members}
    fleet.hosts["b2"]["own_env"]["STARTUP_DELAY"] = "600"
    web = fleet.sample.spec(NEW)["release_processes"]["web"] | {"replicas": 2}
    web["readiness"] |= {"timeout": 5}
    with clients:
        ended = fleet.play("replace_two_phase", NEW, release_processes={"web": web})
        assert clients.lost() == []
    assert ended.code != 0
    assert "nothing was switched anywhere: b2 could not be prepared" in ended.text, ended.text
    served(fleet, OLD)
    assert {member: len(fleet.steps(member, "activate")) for member in fleet.members} == known
    fleet.hosts["b2"]["own_env"]["STARTUP_DELAY"] = "0.3"
    ended = fleet.play("replace_two_phase", NEW)
    assert ended.code == 0, ended.text
    served(fleet, NEW)


def test_ro_02_ro_10_what_somebody_else_holds_on_a_host_is_not_given_up_with_the_rest(
    fleet: Fleet,
) -> None:
    apart(fleet)
    first = fleet.play("replace_two_phase", OLD)
    assert first.code == 0, first.text
    fleet.hosts["b2"]["own_env"]["OF"] = "somebody else"
    other = fleet.play("replace", NEW, "--limit", "b2", release_version="9.0.0")
    assert other.code == 0, other.text
    del fleet.hosts["b2"]["own_env"]["OF"]
    waits = fleet.replicas("b2")
    assert sorted(waits.values()) == [OLD, OLD, "9.0.0", "9.0.0"]
    ended = fleet.play("replace_two_phase", NEW)
    assert ended.code != 0
    assert "nothing was switched anywhere: b2 could not be prepared" in ended.text, ended.text
    assert "promote or abort it first" in ended.text
    assert sorted(fleet.replicas("b1").values()) == [OLD, OLD]
    assert fleet.replicas("b2") == waits
    promoted = fleet.play("promote", NEW, "--limit", "b2", "-e", "promote_release=9.0.0")
    assert promoted.code == 0, promoted.text
    assert set(fleet.replicas("b2").values()) == {"9.0.0"}


def test_cr_01_ro_10_two_phases_that_die_between_them_are_gone_on_with(fleet: Fleet) -> None:
    apart(fleet)
    first = fleet.play("replace_two_phase", OLD)
    assert first.code == 0, first.text
    held = fleet.play("replace", NEW)  # the first phase alone, as of a run that died behind it
    assert held.code == 0, held.text
    known = {member: len(fleet.steps(member, "activate")) for member in fleet.members}
    handed = {
        member: {"app": fleet.app(member), "status": "held", "release": "0badc0de"}
        for member in fleet.members
    }
    told = json.dumps({"immutable_cutover": {"hosts": handed}})  # as a workflow hands it on
    refused = fleet.play("promote", NEW, "-e", told)
    assert refused.code != 0
    said = " ".join(refused.text.split())
    for member in fleet.members:
        instead = f"which was approved, does not wait at a gate: release {NEW} ("
        assert f"release 0badc0de of {fleet.app(member)}, {instead}" in said, refused.text
    assert {member: len(fleet.steps(member, "activate")) for member in fleet.members} == known
    for member in fleet.members:
        assert sorted(fleet.replicas(member).values()) == [OLD, OLD, NEW, NEW]
    ended = fleet.play("replace_two_phase", NEW)
    assert ended.code == 0, ended.text
    served(fleet, NEW)


def test_two_phases_are_refused_without_a_strategy_that_has_them(fleet: Fleet) -> None:
    apart(fleet)
    refused = fleet.play("replace_two_phase", OLD, release_strategy={"type": "rolling"})
    assert refused.code != 0
    assert "release_strategy: must be of type blue_green with two_phase true" in refused.text
    assert fleet.replicas("b1") == {}
