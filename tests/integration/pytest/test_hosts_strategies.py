# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Strategies over several hosts whose load balancers, two of them, are on hosts of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
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


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    """Images, and HAProxy with two backends."""
    with two_backends("hosts-switch") as made:
        yield made


@pytest.fixture
def fleet(sample: Sample) -> Iterator[Fleet]:
    """Two hosts on which the old version runs, behind two load balancers."""
    folder = Path(f"/var/lib/immutable-cutover-test-{sample.name}")
    shutil.rmtree(folder, ignore_errors=True)
    made = Fleet(sample, folder)
    made.put_behind_another()
    strategy(made)
    try:
        assert green(made.play("replace", OLD))
        made.converged(OLD)
        yield made
    finally:
        made.clean()


@pytest.fixture
def clients(sample: Sample, tmp_path: Path) -> Clients:
    """Load on the app."""
    return Clients([sample.url], tmp_path)


def strategy(fleet: Fleet, kind: str = "blue_green", **options: object) -> None:
    more = {"scale_down_delay": 1} if kind == "blue_green" else {}
    fleet.common["release_strategy"] = {"type": kind, **more, **options}


def green(ended: Ended) -> bool:
    assert ended.code == 0, ended.text
    return True


def activated(fleet: Fleet) -> list[int]:
    return [len(fleet.steps(member, "activate")) for member in fleet.members]


def test_ro_09_blue_green_switches_when_all_is_prepared_at_every_balancer(
    fleet: Fleet, clients: Clients
) -> None:
    known = {member: len(fleet.steps(member, "activate")) for member in fleet.members}
    checks = {member: len(fleet.steps(member, "check")) for member in fleet.members}
    with clients:
        assert green(fleet.play("replace", NEW))
        fleet.converged(NEW)
        for member in fleet.members:
            checked = fleet.steps(member, "check")[checks[member] :]
            switched = fleet.steps(member, "activate")[known[member] :]
            assert (len(checked), len(switched)) == (4, 4), "two replicas at two load balancers"
            assert max(checked) < min(switched)
        assert green(fleet.play("rollback", NEW))
        assert clients.lost() == []
    fleet.converged(OLD)
    again = fleet.play("replace", OLD)
    assert green(again)
    assert (again.changed("b1"), again.changed("b2")) == (0, 0), again.text


def test_ro_11_what_is_held_is_aborted_or_promoted(fleet: Fleet, clients: Clients) -> None:
    strategy(fleet, approval=True)
    known = activated(fleet)
    with clients:
        held = fleet.play("replace", NEW)
        assert green(held)
        assert "is held at gate approval" in held.text
        assert activated(fleet) == known
        assert green(fleet.play("abort", NEW))
        fleet.converged(OLD)
        assert activated(fleet) == known
        assert green(fleet.play("replace", NEW))
        refused = fleet.play("promote", NEW, "-e", f"promote_release={OLD}")
        assert refused.code != 0
        instead = f"which was approved, does not wait at a gate: release {NEW} ("
        assert instead in " ".join(refused.text.split()), refused.text
        assert activated(fleet) == known
        assert green(fleet.play("promote", NEW, "-e", f"promote_release={NEW}"))
        assert clients.lost() == []
    fleet.converged(NEW)


def test_ro_02_no_host_switches_where_one_cannot_be_prepared(
    fleet: Fleet, clients: Clients
) -> None:
    strategy(fleet, two_phase=True)
    known = activated(fleet)
    web = fleet.sample.spec(NEW)["release_processes"]["web"] | {"replicas": 2}
    web["readiness"] |= {"interval": 1, "successes": 1, "timeout": 5}
    fleet.hosts["b1"]["startup"], fleet.hosts["b2"]["startup"] = "0.3", "600"
    env = {"STARTUP_DELAY": "{{ startup }}", "ACCESS_LOG": "0"}
    with clients:
        ended = fleet.play(
            "replace_two_phase", NEW, release_env=env, release_processes={"web": web}
        )
        assert ended.code != 0
        assert "nothing was switched anywhere: b2 could not be prepared" in ended.text, ended.text
        fleet.converged(OLD)
        assert activated(fleet) == known
        assert green(fleet.play("replace_two_phase", NEW))
        assert clients.lost() == []
    fleet.converged(NEW)
    for member in fleet.members:
        assert fleet.steps(member, "run", "held")


def test_cr_01_a_switch_that_dies_is_gone_on_with_or_undone(fleet: Fleet, clients: Clients) -> None:
    with clients:
        for playbook, version in (("replace", NEW), ("abort", NEW)):
            known = len(fleet.steps("b1", "activate"))
            other = OLD if playbook == "abort" else NEW
            run = fleet.start("replace", other, "--limit", "b1")
            until(partial(switching, fleet, known), run)
            run.kill()
            run.communicate()
            assert green(fleet.play(playbook, version))
            fleet.converged(NEW)
        assert clients.lost() == []


def switching(fleet: Fleet, known: int) -> bool:
    return len(fleet.steps("b1", "activate")) > known


def test_recreate_has_nothing_of_the_old_when_the_new_begins(fleet: Fleet) -> None:
    strategy(fleet, "recreate")
    known = {member: len(fleet.steps(member, "start")) for member in fleet.members}
    assert green(fleet.play("replace", NEW))
    fleet.converged(NEW)
    for member in fleet.members:
        started = fleet.steps(member, "start")[known[member] :]
        assert max(fleet.steps(member, "destroy")) < min(started)
