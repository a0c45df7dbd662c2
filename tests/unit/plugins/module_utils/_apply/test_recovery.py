# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery: what a dead run left is finished or undone, once, and never at the cost of what serves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import (
    deployment,
    front,
    leftovers,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    Releases,
    _Index,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

TWO = {"replicas": 2}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
    yield made
    made.rig.close()


def first(host: Host, **web: Any) -> dict[str, Any]:
    return host.spec("1", web={**TWO, **web})


def second(host: Host, **web: Any) -> dict[str, Any]:
    return host.spec("2", OTHER_IMAGE_ID, web={**TWO, **web})


def dead(host: Host, spec: dict[str, Any], to: str = "", seconds: float = 0) -> int:
    """Let a run begin and never come back; return its epoch."""
    left = host.apply(spec, to, seconds=seconds, holder={"run": "dead", "user": "bob"})
    assert left["status"] == "more"
    return int(left["epoch"])


def recover(host: Host, spec: dict[str, Any], to: str = "recover", epoch: int = 0) -> Any:
    """Recover, after the check mode of it has said the same."""
    planned = host.plan(spec, to)
    done = host.apply(spec, to, take_over=epoch, holder={"run": "heal", "user": "eve"})
    assert done["status"] == "done", done
    assert planned["needed"] == done["changed"]
    assert [row["name"] for row in _rows(planned["after"])] == [
        row["name"] for row in _rows(done["after"])
    ]
    again = host.apply(spec, to, holder={"run": "again", "user": "eve"})
    assert (again["status"], again["changed"]) == ("done", False)
    assert Lease(str(host.state_dir), "shop", host.rig.clock).read().holder is None
    return done


def _rows(processes: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [row for rows in processes.values() for row in rows]


@pytest.mark.parametrize("to", ["recover", "undo"])
def test_cr_01_what_had_not_completed_is_undone(host: Host, to: str) -> None:
    host.apply(first(host))
    epoch = dead(host, second(host))
    done = recover(host, second(host), to, epoch)
    assert done["version"] == "1"
    assert host.serving() == [("serving", IMAGE_ID)] * 2


def test_cr_01_what_all_serves_already_is_finished(host: Host) -> None:
    host.apply(first(host))
    for replica in host.rig.world().replicas:
        host.balancer.work(replica.name, 1)
    strategy = {"max_surge": 2}
    epoch = dead(host, {**second(host), "strategy": strategy}, seconds=4)
    assert [phase for phase, found in host.serving() if found == OTHER_IMAGE_ID] == ["serving"] * 2
    for replica in host.rig.world().replicas:
        host.balancer.work(replica.name, 0)
    done = recover(host, {**second(host), "strategy": strategy}, "recover", epoch)
    assert done["version"] == "2"
    assert host.serving() == [("serving", OTHER_IMAGE_ID)] * 2


# What was decided before the lease was had, and another run came in between.


def decided(host: Host, spec: dict[str, Any], to: str) -> Callable[[], dict[str, Any]]:
    """Decide, and return what acts on it, however late."""
    params = host.params(spec, to, holder={"run": "late", "user": "eve"})
    late = front.Deployment(params, host.engine, front.BoundedClock(host.rig.clock))
    return lambda: front.apply_to(late, params)


def looks_again(host: Host, act: Callable[[], dict[str, Any]]) -> None:
    before = host.traces()
    answer = act()
    assert (answer["status"], answer["changed"]) == ("again", False)
    assert "another run of shop came in between" in answer["message"]
    assert host.traces() == before, "it never was a run"


def index(host: Host) -> Releases:
    return Releases(str(host.state_dir), "shop")


@pytest.mark.parametrize("to", ["recover", "finish"])
def test_cr_01_what_a_run_that_lives_has_finished_is_not_taken_away(host: Host, to: str) -> None:
    host.apply(first(host))
    host.apply(second(host))
    releases = index(host)
    earlier, newest = releases.completed()
    releases._write(_Index((earlier,), Begun(newest, "")))
    act = decided(host, second(host), to)
    releases.complete(newest)
    looks_again(host, act)
    assert recover(host, second(host), to)["version"] == "2"
    assert host.serving() == [("serving", OTHER_IMAGE_ID)] * 2


def test_cr_01_a_decision_that_another_run_cuts_in_two_goes_back_to_something(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be finished is looked up a moment after it was decided: by then nothing may be begun."""
    host.apply(first(host))
    host.apply(second(host))
    releases = index(host)
    newest = releases.completed()[-1]
    resolve = deployment.resolve

    def resolved(*arguments: Any) -> str:
        found = resolve(*arguments)
        releases.complete(newest)
        return found

    releases._write(_Index((releases.completed()[0],), Begun(newest, "")))
    monkeypatch.setattr(deployment, "resolve", resolved)
    plan = host.plan(second(host), "recover")
    assert (plan["version"], plan["needed"]) == ("2", False)


@pytest.mark.parametrize("to", ["undo", "abort"])
def test_cr_01_a_first_release_that_completes_meanwhile_is_not_taken_away(
    host: Host, to: str
) -> None:
    host.apply(first(host))
    releases = index(host)
    release = releases.completed()[-1]
    releases._write(_Index((), Begun(release, "")))
    act = decided(host, first(host), to)
    releases.complete(release)
    looks_again(host, act)
    assert host.serving() == [("serving", IMAGE_ID)] * 2


def test_ro_10_a_rollback_goes_back_from_what_runs_when_it_has_the_lease(host: Host) -> None:
    host.apply(first(host))
    host.apply(second(host))
    act = decided(host, second(host), "previous")
    host.apply(first(host))
    looks_again(host, act)


def test_ro_10_a_release_that_is_held_meanwhile_is_not_overlapped(host: Host) -> None:
    host.apply(first(host))
    act = decided(host, first(host, replicas=1), "")
    strategy = {"type": "blue_green", "approval": True}
    assert host.apply({**second(host), "strategy": strategy})["status"] == "held"
    looks_again(host, act)
    with pytest.raises(CutoverError, match="is held at gate approval"):
        host.apply(first(host, replicas=1))


@pytest.mark.parametrize("to", ["recover", "undo", "abort"])
def test_cr_01_without_its_record_what_serves_is_not_taken_away(host: Host, to: str) -> None:
    host.apply(first(host))
    dead(host, second(host))
    (host.state_dir / "apps/shop/releases" / f"{index(host).completed()[-1]}.json").unlink()
    with pytest.raises(CutoverError, match=r"^the record of release \w+ of shop, which completed"):
        host.plan(first(host), to)
    assert ("serving", IMAGE_ID) in host.serving()


def test_cr_01_a_person_may_choose_to_finish(host: Host) -> None:
    host.apply(first(host))
    epoch = dead(host, second(host))
    assert recover(host, first(host), "finish", epoch)["version"] == "2"
    assert host.serving() == [("serving", OTHER_IMAGE_ID)] * 2


def test_the_first_deployment_is_taken_away_if_nothing_of_it_serves(host: Host) -> None:
    never = first(host, readiness={"successes": 10, "interval": 60, "timeout": 3600})
    epoch = dead(host, never)
    done = recover(host, never, "recover", epoch)
    assert (done["after"], host.serving()) == ({}, [])


def test_the_first_deployment_is_finished_if_some_of_it_serves(host: Host) -> None:
    host.engine.fail("start", times=1)
    host.apply({**first(host), "strategy": {"max_surge": 2, "on_failure": "stop"}})
    host.apply(first(host), seconds=3, holder={"run": "dead", "user": "bob"})
    lease = Lease(str(host.state_dir), "shop", host.rig.clock)
    state = [phase for phase, _image in host.serving()]
    if "serving" in state and lease.read().holder is not None:
        assert recover(host, first(host), "recover", lease.read().epoch)["version"] == "1"
    assert host.apply(first(host), "recover")["version"] == "1"
    assert host.serving() == [("serving", IMAGE_ID)] * 2


def test_a_rollback_that_died_is_undone_or_finished(host: Host) -> None:
    for to, version in (("undo", "2"), ("finish", "1")):
        host.apply(first(host))
        host.apply(second(host))
        epoch = dead(host, second(host), "previous")
        assert recover(host, second(host), to, epoch)["version"] == version


def test_the_plan_says_where_it_goes_and_what_it_does_not_take_back(host: Host) -> None:
    host.apply(first(host))
    host.apply(second(host))
    line = host.plan(second(host), "previous")["lines"][0]
    assert line.startswith("back to 1 (") and "Not taken back: data" in line
    assert host.plan(second(host))["lines"][0].startswith("nothing to do")
    epoch = dead(host, first(host))
    assert "undo release " in host.plan(second(host), "recover")["lines"][0]
    assert host.plan(second(host), "finish")["lines"][0].startswith("finish release 1 (")
    recover(host, second(host), "recover", epoch)


@pytest.mark.parametrize("to", ["previous", "1"])
def test_ro_12_a_rollback_to_an_image_that_is_gone_is_refused(host: Host, to: str) -> None:
    host.apply(first(host))
    host.apply(second(host))
    del host.engine._images[IMAGE_ID]
    before = host.traces()
    with pytest.raises(CutoverError, match=r"is not on this host; nothing was changed") as caught:
        host.apply(second(host), to)
    assert "Bake, pull or load it again" in caught.value.message
    assert host.traces() == before


def test_nothing_to_recover_is_no_change_and_takes_no_lease(host: Host) -> None:
    before = host.traces()
    result = host.apply(first(host), "recover")
    assert (result["status"], result["changed"], result["needed"]) == ("done", False, False)
    assert host.traces() == before
    host.apply(first(host))
    before = host.traces()
    assert host.apply(second(host), "recover")["changed"] is False
    assert host.traces() == before, "a recovery never deploys what the spec describes"


@pytest.mark.parametrize("to", ["recover", "undo", "finish"])
def test_cr_13_what_runs_without_a_record_is_never_taken_away(host: Host, to: str) -> None:
    host.apply(first(host))
    (host.state_dir / "apps" / "shop" / "releases" / "index.json").unlink()
    before = host.traces()
    with pytest.raises(CutoverError, match="this host has no record of any release") as caught:
        host.apply(first(host), to)
    assert "run replace with the spec of what should run" in caught.value.message
    assert host.traces() == before


def test_lb_05_a_healthy_replica_that_lost_its_target_gets_it_back(host: Host) -> None:
    host.apply(first(host))
    ids = {item.id for item in host.engine.containers({})}
    name = host.rig.world().replicas[0].name
    host.balancer.set_state(name, Admin.MAINTENANCE)
    host.balancer.deregister(name)
    assert host.rig.phases()[name] == "started"
    done = recover(host, first(host))
    assert f"register {name}" in done["actions"]
    assert host.serving() == [("serving", IMAGE_ID)] * 2
    assert {item.id for item in host.engine.containers({})} == ids


def test_a_replica_that_ended_is_replaced(host: Host) -> None:
    host.apply(first(host))
    name = host.rig.world().replicas[0].name
    host.engine.crash(name)
    done = recover(host, second(host))
    assert done["actions"][-1] == f"confirm {name}"
    assert host.serving() == [("serving", IMAGE_ID)] * 2


def test_cr_08_a_stale_lease_alone_is_dropped(host: Host) -> None:
    host.apply(first(host))
    lease = Lease(str(host.state_dir), "shop", host.rig.clock)
    lease.acquire(Holder("dead", "bob"), 600)
    done = recover(host, first(host), "recover", lease.read().epoch)
    assert done["actions"] == [f"give back the lease that a dead run had with epoch {2}"]


def test_b67_a_living_holder_elsewhere_is_named(host: Host) -> None:
    host.apply(first(host))
    Lease(str(host.state_dir), "shop", host.rig.clock).acquire(Holder("r9", "bob", "ctl2"), 600)
    answer = host.apply(first(host), "recover")
    assert (answer["status"], answer["holder"]["user"]) == ("waiting", "bob")
    assert "lease held by bob, run r9, host ctl2" in answer["message"]


def test_what_was_begun_has_a_record_from_the_beginning(host: Host) -> None:
    host.apply(first(host))
    dead(host, second(host))
    begun = host.state_dir / "apps" / "shop" / "releases"
    assert len(list(begun.glob("????????.json"))) == 2


def test_finishing_what_has_no_record_is_refused(host: Host) -> None:
    host.apply(first(host))
    dead(host, second(host))
    folder = host.state_dir / "apps" / "shop" / "releases"
    newest = max(folder.glob("????????.json"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    with pytest.raises(CutoverError, match=r"was begun and this host has no record of it"):
        host.plan(second(host), "finish")
    assert host.plan(second(host), "recover")["version"] == "1"


def test_ro_12_an_image_that_is_gone_is_told_before_anything_is_touched(host: Host) -> None:
    host.apply(first(host))
    epoch = dead(host, second(host))
    del host.engine._images[IMAGE_ID]
    before = host.traces()
    with pytest.raises(CutoverError, match=f"image {IMAGE_ID} of shop@{IMAGE_ID} is not on this"):
        host.apply(second(host), "recover", take_over=epoch)
    assert host.traces() == before


def test_a_process_type_that_came_with_the_failed_release_goes_with_it(host: Host) -> None:
    host.apply(host.spec("1"))
    spec = host.spec("2", OTHER_IMAGE_ID)
    spec["processes"]["api"] = {**spec["processes"]["web"], "port": host.rig.port}
    spec["load_balancers"] = [
        {"process": name, "socket": "/run/haproxy/admin.sock", "backend": name}
        for name in ("web", "api")
    ]
    host.apply(spec, seconds=0, holder={"run": "dead", "user": "bob"})
    assert any("-api-" in item.name for item in host.engine.containers({}))
    done = recover(host, spec, "undo", 2)
    assert done["version"] == "1"
    assert host.serving() == [("serving", IMAGE_ID)]
    assert host.apply(host.spec("1"))["changed"] is False


def test_temporary_files_of_writers_that_are_gone_are_removed(host: Host) -> None:
    host.apply(first(host))
    folder = host.state_dir / "apps" / "shop"
    left = [folder / f"lease.json.new.{2**22 + 1}", folder / "releases" / f"x.json.new.{2**22 + 1}"]
    alive = folder / f"lease.json.new.{os.getppid()}"
    for path in (*left, alive):
        path.write_text("{")
    done = recover(host, first(host))
    assert done["actions"] == [f"remove {path}, left by a dead run" for path in left]
    assert [path.exists() for path in (*left, alive)] == [False, False, True]


def test_secrets_that_no_release_needs_go_after_the_longest_wait_for_a_lease(host: Host) -> None:
    folder = host.state_dir / "apps" / "shop" / "secrets"
    folder.mkdir(parents=True)
    names = ("used", "new", "old")
    for name in names:
        (folder / name).write_text(name)
        age = 0 if name == "new" else leftovers.PLACED + 3600
        os.utime(folder / name, (host.rig.clock.now() - age,) * 2)
    secrets = {"DB": {"source": str(folder / "used"), "sha256": "0" * 64}}
    host.apply({**first(host), "secrets": secrets})
    assert sorted(path.name for path in folder.iterdir()) == ["new", "used"]
