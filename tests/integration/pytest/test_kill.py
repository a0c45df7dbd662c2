# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""CR-01 to CR-03, CR-08: whatever is killed and whenever, the next run converges and no request is lost.

One load runs through one HAProxy during everything. Each test begins with a release that runs, kills or stops a
run of ansible-playbook that replaces it, and at once starts another: the same again, a rollback, or a third release.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._process import identity
from tools.chaos import check
from tools.chaos.faults import CONTROLLER, EVERYTHING, FAMILY
from tools.chaos.moments import Forked, Moment, leased, said
from tools.chaos.moments import step as journal
from tools.chaos.process import Process, eventually
from tools.chaos.rig import (
    MODULE_DEPTH,
    REPLICAS,
    Playing,
    Release,
    Site,
    own_site,
)
from tools.loadgen import Load
from tools.loadgen.outcome import OK, Row, read_rows

RATE = 150.0
LOAD = ("--slow", "1-2", "--timeout", "60", "--connect-timeout", "30")
"""On a busy host an answer may be late; that it is late is no loss."""
MODULE = -1
AGAIN, ROLLBACK, THIRD = "again", "rollback", "third"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """HAProxy, an app and a folder for state."""
    with own_site("kill") as made:
        yield made


class Traffic:
    """The load, and what has become of it so far."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def lost(self) -> list[str]:
        """Return what failed until now."""
        time.sleep(1.1)  # rows are flushed once a second
        return [
            f"{row.kind} {row.planned:.3f} {row.outcome} {row.detail}"
            for row in self._rows()
            if row.outcome != OK
        ]

    def _rows(self) -> Iterator[Row]:
        """Read what has been written; the last line may be half a line."""
        with contextlib.suppress(TypeError, ValueError):
            yield from read_rows(self.load.out / "rows.csv")


class World:
    """What a test has: the site, the release that runs, and how to judge the end."""

    def __init__(self, site: Site, traffic: Traffic, current: Release) -> None:
        self.site = site
        self.traffic = traffic
        self.current = current
        self.lost_before = 0
        self.journal = check.tail(site)

    def judge(self, wanted: Release) -> None:
        """Assert everything that must hold now."""
        self.current = wanted
        check.converged(self.site, wanted, self.journal.rows())
        check.unchanged(self.site, wanted)
        lost = self.traffic.lost()
        new, self.lost_before = lost[self.lost_before :], len(lost)
        assert new == []


@pytest.fixture(scope="module")
def shared(site: Site) -> Iterator[World]:
    """The one load that runs during everything."""
    older = site.deploy(site.release(surge=2))
    assert older.mark
    first = site.deploy(site.release(surge=2))
    load = Load(site.sample.url, rate=RATE, options=LOAD)
    with load:
        yield World(site, Traffic(load), first)
    shutil.rmtree(load.out, ignore_errors=True)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The same for each test; one that failed does not spoil the next."""
    shared.journal = check.tail(shared.site)
    yield shared
    shared.site.tidy()
    if [seen.env["GREETING"] for seen in check.containers(shared.site)] != [
        shared.current.mark
    ] * 2:
        shared.current = shared.site.deploy(shared.site.release(surge=2))
        shared.lost_before = len(shared.traffic.lost())


@dataclass(frozen=True)
class Kill:
    """When, what, and which run comes then."""

    name: str
    when: Moment
    what: int
    then: str
    surge: int = 2
    secret: bool = False
    delay: float = 0.3


def at(step: str, outcome: str, what: int, then: str, count: int = 1, **more: Any) -> Kill:
    """Name a kill by the row of the journal it waits for."""
    name = f"{step}-{outcome}" + (f"-{count}" if count > 1 else "")
    return Kill(name, journal(step, outcome, count), what, then, **more)


KILLS = (
    Kill("plan", said("Validating arguments"), CONTROLLER, AGAIN),
    Kill("fork", Forked(), CONTROLLER, AGAIN),
    Kill("lease", leased, EVERYTHING, AGAIN),
    at("start", "begin", EVERYTHING, AGAIN, secret=True),
    at("start", "ok", FAMILY, ROLLBACK, secret=True, surge=1),
    at("ready", "begin", CONTROLLER, THIRD),
    at("ready", "ok", EVERYTHING, AGAIN),
    at("register", "begin", EVERYTHING, ROLLBACK),
    at("register", "ok", FAMILY, AGAIN, surge=1),
    at("activate", "begin", EVERYTHING, AGAIN),
    at("activate", "ok", CONTROLLER, THIRD, surge=1),
    at("drain", "begin", EVERYTHING, AGAIN),
    at("drain", "ok", FAMILY, ROLLBACK, surge=1),
    at("await", "begin", CONTROLLER, THIRD),
    at("await", "ok", EVERYTHING, AGAIN),
    at("deregister", "begin", EVERYTHING, AGAIN),
    at("deregister", "ok", FAMILY, ROLLBACK, surge=1),
    at("destroy", "begin", CONTROLLER, AGAIN, surge=1),
    at("destroy", "ok", EVERYTHING, THIRD),
    Kill("turn", said("replaced"), CONTROLLER, AGAIN, surge=1, delay=4),
    at("destroy", "ok", FAMILY, AGAIN, count=2),
    at("record", "ok", CONTROLLER, AGAIN),
)
MODULE_KILLS = (
    at("start", "begin", MODULE, AGAIN, secret=True),
    at("drain", "ok", MODULE, AGAIN),
    at("destroy", "begin", MODULE, ROLLBACK),
)


def next_run(world: World, then: str, killed: Release) -> tuple[Release, tuple[str, Release]]:
    """Return which release must run in the end, and the playbook with its spec that comes next."""
    if then == AGAIN:
        return killed, ("replace", killed)
    if then == ROLLBACK:
        return world.current, ("rollback", killed)
    third = world.site.release(surge=2)
    return third, ("replace", third)


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_cr_01_kill(world: World, kill: Kill) -> None:
    site = world.site
    release = site.release(surge=kill.surge, secret=kill.secret, delay=kill.delay)
    run = site.start("replace", release)
    run.until(kill.when)
    run.kill(kill.what)
    wanted, (playbook, spec) = next_run(world, kill.then, release)
    ended = site.play(playbook, spec)
    assert ended.code == 0, ended.text
    run.orphans_end()
    world.judge(wanted)


@pytest.mark.parametrize("kill", MODULE_KILLS, ids=lambda kill: kill.name)
def test_cr_01_module_kill(world: World, kill: Kill) -> None:
    site = world.site
    release = site.release(surge=kill.surge, secret=kill.secret, delay=kill.delay)
    run = site.start("replace", release)
    run.until(kill.when)
    run.kill_module()
    killed = run.end()
    assert killed.code != 0 and "failed=1" in killed.text, killed.text
    wanted, (playbook, spec) = next_run(world, kill.then, release)
    ended = site.play(playbook, spec)
    assert ended.code == 0, ended.text
    world.judge(wanted)


# The wait before each step, and what HAProxy shows when one replica is past the step. The others may be stuck before
# it: a call whose time is over begins no further step.
CHANGES: dict[str, tuple[str, Callable[[list[str]], bool]]] = {
    "activate": ("ready", lambda shown: shown.count("UP") > REPLICAS),
    "drain": ("confirm", lambda shown: "DRAIN" in shown),
    "deregister": ("await", lambda shown: len(shown) < 2 * REPLICAS),
}


@pytest.mark.parametrize("step", CHANGES)
def test_cr_01_killed_between_a_change_and_writing_it_down(world: World, step: str) -> None:
    """The module dies when HAProxy has changed and haproxy.cfg not yet: the next run must not leave it so."""
    site = world.site
    release = site.release(surge=2, release_strategy={"max_surge": 2, "min_ready_seconds": 1})
    run = site.start("replace", release)
    waited_for, happened = CHANGES[step]
    run.until(journal(waited_for, "begin", REPLICAS))
    with site.no_persisting():
        eventually(lambda: happened([row[1] for row in check.targets(site).values()]))
        run.kill(EVERYTHING)
    assert not any(row["step"] == step and row["outcome"] == "ok" for row in run.rows())
    ended = site.play("replace", release)
    assert ended.code == 0, ended.text
    world.judge(release)


def test_cr_08_a_dead_run_that_had_done_everything_leaves_no_lease(world: World) -> None:
    """It dies between noting the release and giving the lease back: nothing is to be done, and it is done."""
    site = world.site
    release = site.deploy(site.release(surge=2))
    lease = site.lease()
    here = identity(os.getpid()).partition(" ")[0]
    gone = f"{here} 1 1"  # process 1 is there, and began at another time
    dead = {"run": "dead", "user": "", "host": socket.gethostname(), "process": gone, "job": ""}
    lease |= {"epoch": lease["epoch"] + 1, "holder": dead, "renewed": time.time(), "ttl": 600}
    (site.app_folder / "lease.json").write_text(json.dumps(lease))
    ended = site.play("replace", release)
    assert ended.code == 0, ended.text
    world.judge(release)


def orphan_at_deregister(world: World) -> tuple[Playing, list[Process], Release]:
    """Leave an orphan that is about to deregister an old replica, stopped; its controller is dead."""
    site = world.site
    release = site.release(surge=2)
    run = site.start("replace", release)
    run.until(journal("await", "begin", 2))
    with site.between_steps():
        run.until(journal("deregister", "begin"))
        orphans = [process for process in run.tree() if process.depth >= MODULE_DEPTH]
        run.kill(FAMILY)
        for process in orphans:
            process.stop()
    return run, orphans, release


@pytest.mark.parametrize("then", [ROLLBACK, AGAIN])
def test_cr_02_an_orphan_that_comes_late_is_fenced(world: World, then: str) -> None:
    site = world.site
    run, orphans, release = orphan_at_deregister(world)
    wanted, (playbook, spec) = next_run(world, then, release)
    ended = site.play(playbook, spec)
    assert ended.code == 0, ended.text
    for process in orphans:
        process.send(signal.SIGCONT)
    run.orphans_end()
    fenced = [row for row in run.rows() if row["outcome"] == "fenced"]
    assert {row["epoch"] for row in fenced} == {run.before + 1}
    assert "deregister" in {row["step"] for row in fenced}
    assert all("this run changes nothing more" in row["detail"]["message"] for row in fenced)
    world.judge(wanted)


@pytest.mark.parametrize("then", [AGAIN, THIRD])
def test_cr_03_a_controller_that_was_paused_is_fenced(world: World, then: str) -> None:
    """It is alive, so only its lease's end lets another run in."""
    site = world.site
    release = site.release(surge=2, delay=2, release_lease={"ttl": 5})
    run = site.start("replace", release)
    run.until(journal("ready", "begin", 2))
    paused = run.pause()
    expires = site.lease()["renewed"] + 5
    wanted, (playbook, spec) = next_run(world, then, release)
    second = site.play(playbook, spec)
    assert second.code == 0, second.text
    assert min(row["time"] for row in run.rows() if row["epoch"] > run.before + 1) >= expires
    ids = [seen.id for seen in check.containers(site)]
    for process in paused:
        process.send(signal.SIGCONT)
    first = run.end()
    assert first.code != 0
    assert "fenced: run epoch" in first.text, first.text
    assert [seen.id for seen in check.containers(site)] == ids
    world.judge(wanted)


def test_all_requests_are_accounted_for(shared: World) -> None:
    result = shared.traffic.load.stop()
    assert result.planned == result.accounted > 1000
    assert (result.failed, result.failed_by_outcome) == (0, {})


def test_the_same_load_sees_a_naive_order(site: Site) -> None:
    """Positive control: the old one is killed before its successor is there."""
    current = site.deploy(site.release(surge=2))
    with Load(site.sample.url, rate=RATE, options=LOAD) as load:
        time.sleep(3)
        victim = check.containers(site)[0]
        subprocess.run(["docker", "kill", victim.id], check=True, stdout=subprocess.DEVNULL)
        site.deploy(current)
        result = load.stop()
    assert result.planned == result.accounted
    assert result.failed > 0
    check.converged(site, current)
    shutil.rmtree(load.out)
