# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""CR-05: the controller loses the host, over a real ssh connection and a real cable, while it replaces a release.

The controller is in a network of its own and reaches the host by ssh alone. What works on the host goes on without it,
and the next run comes from the same controller once it is connected again, or at once from another one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tools.chaos import check
from tools.chaos.faults import FAULTS, Scene
from tools.chaos.moments import step
from tools.chaos.process import eventually
from tools.chaos.remote import Remote, remote
from tools.chaos.rig import Playing, Release, Site, Tail, own_site
from tools.chaos.run import PATIENT
from tools.loadgen import Load
from tools.loadgen.outcome import OK

RATE = 100.0
TTL = 8
UNREACHABLE = 4
"""How ansible-playbook ends when it could not reach a host."""


@dataclass
class World:
    """A site that one release runs on, and a controller that is apart from it."""

    site: Site
    remote: Remote
    load: Load
    current: Release

    def release(self, **more: object) -> Release:
        """Make one whose lease ends soon: nobody else sees that its holder is dead."""
        strategy = {"max_surge": 2, "min_ready_seconds": 1}
        options = {"surge": 2, "release_lease": {"ttl": TTL}, "release_strategy": strategy, **more}
        return self.site.release(**options)  # type: ignore[arg-type]  # options by name

    def start(self, release: Release, *options: str) -> Playing:
        """Replace, from the controller that is apart."""
        return self.site.start("replace", release, *options, remote=self.remote)

    def scene(self, run: Playing) -> Scene:
        """Return what a fault of the kill matrix acts on."""
        return Scene(run, self.site, None, 0, 0, self.remote)

    def judge(self, wanted: Release, rows: Tail) -> None:
        """Assert what must hold after the next run."""
        self.current = wanted
        check.converged(self.site, wanted, rows.rows())
        check.unchanged(self.site, wanted)


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """One load runs through everything."""
    with own_site("unreachable") as site, remote(site.sample.name, site.state / "ssh") as apart:
        current = site.deploy(site.release(surge=2))
        load = Load(site.sample.url, rate=RATE, options=PATIENT)
        with load:
            yield World(site, apart, load, current)
        shutil.rmtree(load.out, ignore_errors=True)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The same for each test, connected and with one release, whatever the one before has left."""
    yield shared
    shared.remote.cable.plug()
    shared.site.tidy()
    if check.serving(shared.site) != {shared.current.mark}:
        shared.current = shared.site.deploy(shared.site.release(surge=2))


def test_cr_05_a_host_that_vanishes_is_named_and_another_controller_goes_on(world: World) -> None:
    # The new replicas take longer to get ready than a call works, so the run has the lease when it is lost.
    rows, site, release = check.tail(world.site), world.site, world.release(delay=9)
    run = world.start(release)
    run.until(step("ready", "begin", 2))
    FAULTS["host_unreachable"].inject(world.scene(run))
    ended = run.end()
    assert ended.code == UNREACHABLE, ended.text
    assert "UNREACHABLE!" in ended.text and "unreachable=1" in ended.text, ended.text
    assert "nothing is rolled back. Next: the playbook status" in ended.text
    run.orphans_end()  # its call is over, and it still has the lease
    lease = site.lease()
    assert lease["holder"]["host"] == world.remote.cable.controller
    after = site.play("replace", release)  # the cable is still out
    assert after.code == 0, after.text
    then = [row["time"] for row in rows.rows() if row["epoch"] > run.before + 1]
    assert min(then) >= lease["renewed"] + TTL, "nobody there sees that the holder is dead"
    started = [row for row in rows.rows() if (row["step"], row["outcome"]) == ("start", "ok")]
    assert {row["epoch"] for row in started} == {run.before + 1}, "what had been started was kept"
    world.remote.cable.plug()
    world.judge(release, rows)


def test_cr_05_a_host_that_is_away_from_the_beginning_is_left_as_it_is(world: World) -> None:
    rows, before = check.tail(world.site), check.containers(world.site)
    world.remote.cable.pull()
    ended = world.start(world.release()).end()
    assert ended.code == UNREACHABLE, ended.text
    assert rows.rows() == []
    assert check.containers(world.site) == before
    world.remote.cable.plug()
    world.judge(world.current, rows)


def test_cr_05_a_connection_that_is_cut_ends_the_run_and_the_way_back_is_open(world: World) -> None:
    rows, release = check.tail(world.site), world.release()
    run = world.start(release)
    run.until(step("activate", "begin"))
    FAULTS["connection_cut"].inject(world.scene(run))
    assert run.end().code == UNREACHABLE
    after = world.site.start("rollback", release, remote=world.remote).end()
    assert after.code == 0, after.text
    run.orphans_end()
    world.judge(world.current, rows)


def about_to_change(run: Playing) -> bool:
    """Whether a step that changes something has begun and not ended."""
    rows = [row for row in run.rows() if row["step"] in check.MUTATING]
    last = {(row["step"], row["replica"]): row["outcome"] for row in rows}
    return "begin" in last.values()


def test_cr_05_a_call_that_ansible_makes_again_takes_the_place_of_the_first(world: World) -> None:
    """With retries of the connection two calls of one run work on the host, and only the second may change anything."""
    rows, site, release = check.tail(world.site), world.site, world.release(delay=2)
    run = world.start(release, "-e", "ansible_ssh_retries=2")
    run.until(step("start", "ok", 2))
    with site.between_steps():
        run.until(about_to_change)
        first = [process for process in run.working() if process.alive]
        for process in first:
            process.stop()
        call = site.lease()["call"]
        FAULTS["connection_cut"].inject(world.scene(run))
    eventually(lambda: site.lease()["call"] not in ("", call), 60)
    for process in first:
        process.resume()
    ended = run.end()
    assert ended.code == 0, ended.text
    eventually(lambda: not any(process.alive for process in first))
    fenced = [row for row in run.rows() if row["outcome"] == "fenced"]
    assert fenced and {row["step"] for row in fenced} <= set(check.MUTATING)
    assert all("a later call of the same run" in row["detail"]["message"] for row in fenced)
    words = [row["outcome"] for row in run.rows() if row["step"] == "run"]
    assert words[-1] == "done" and "fenced" not in words
    world.judge(release, rows)


def test_no_request_was_lost(shared: World) -> None:
    books = shared.load.stop()
    assert books.planned == books.accounted > 1000
    assert [row for row in books.rows() if row.outcome != OK] == []
