# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The strategies blue_green and recreate on a real engine and a real HAProxy, under one load.

RO-02, RO-11, RO-12, RO-18 and CR-01 as far as they concern a switch, its gates and what is kept behind it: whatever
is killed and whenever, the next run converges and no request is lost.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.pytest.test_kill import (
    AGAIN,
    CONTROLLER,
    EVERYTHING,
    FAMILY,
    ROLLBACK,
    THIRD,
    Kill,
    Traffic,
    World,
    at,
    said,
)
from tools.chaos import check
from tools.chaos.rig import REPLICAS, Playing, Release, Site, own_site
from tools.loadgen import Load

KEPT = "is kept for"
RATE = 40.0
LOAD = ("--slow", "1-2", "--timeout", "150", "--connect-timeout", "60")
"""Who is held back waits for as long as a recreate takes, which is long on a busy machine."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """HAProxy, an app and a folder for state."""
    with own_site("strategies") as made:
        yield made


@pytest.fixture(scope="module")
def shared(site: Site) -> Iterator[World]:
    """The one load that runs during everything, on a release that came by blue_green."""
    first = site.deploy(blue_green(site, scale_down_delay=0))
    load = Load(site.sample.url, rate=RATE, options=LOAD)
    with load:
        yield World(site, Traffic(load), first)
    shutil.rmtree(load.out, ignore_errors=True)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The same for each test; one that failed does not spoil the next."""
    yield shared
    shared.site.tidy()
    if [seen.env["GREETING"] for seen in check.containers(shared.site)] != [
        shared.current.mark
    ] * REPLICAS:
        back = blue_green(shared.site, scale_down_delay=0, while_held="abort")
        shared.current = shared.site.deploy(back)
        shared.lost_before = len(shared.traffic.lost())


def blue_green(site: Site, delay: float = 0.3, **options: Any) -> Release:
    """Make a release that is switched to."""
    strategy = {"type": "blue_green", "scale_down_delay": 2, **options}
    return site.release(delay=delay, release_strategy=strategy)


def ids(site: Site, release: Release) -> list[str]:
    """Return the containers of a release."""
    return [seen.id for seen in check.containers(site) if seen.env["GREETING"] == release.mark]


def verbs(run: Playing) -> list[str]:
    """Return what a run has done, in order."""
    return [row["step"] for row in run.rows() if row["outcome"] == "ok"]


def end_well(run: Playing) -> str:
    """Let it end, and return what it said."""
    ended = run.end()
    assert ended.code == 0, ended.text
    return ended.text


def test_blue_green_prepares_all_then_switches_once(world: World) -> None:
    """No new one is active before all are up, no old one drains before all new ones serve."""
    release = blue_green(world.site)
    run = world.site.start("replace", release)
    text = end_well(run)
    done = verbs(run)
    first = done.index

    def last(verb: str) -> int:
        return len(done) - 1 - done[::-1].index(verb)

    assert last("check") < first("activate")
    assert last("confirm") < first("drain")
    assert last("drain") < first("record") < first("await"), "recorded, then what was replaced goes"
    assert done.count("destroy") == REPLICAS
    assert KEPT in text
    world.judge(release)


ABORT = "abort"
LEFT_HALF_WAY = at("activate", "ok", EVERYTHING, THIRD)
KILLS = (
    at("start", "ok", FAMILY, ROLLBACK),
    at("check", "begin", EVERYTHING, AGAIN),
    at("check", "ok", CONTROLLER, THIRD),
    at("activate", "begin", EVERYTHING, AGAIN),
    at("activate", "ok", FAMILY, ROLLBACK),
    at("drain", "begin", EVERYTHING, AGAIN),
    at("drain", "ok", EVERYTHING, ROLLBACK),
    Kill("delay", said(KEPT), CONTROLLER, AGAIN),
    Kill("delay-third", said(KEPT), CONTROLLER, THIRD),
    at("destroy", "begin", EVERYTHING, AGAIN),
    LEFT_HALF_WAY,
    at("ready", "begin", EVERYTHING, ABORT),
    at("activate", "ok", EVERYTHING, ABORT),
    # Everything: a module that lived on would complete the release, and then there is nothing to abort.
    at("drain", "ok", EVERYTHING, ABORT),
)


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill.name}-{kill.then}")
def test_cr_01_kill_in_prepare_switch_and_delay(world: World, kill: Kill) -> None:
    site = world.site
    release = blue_green(site)
    run = site.start("replace", release)
    run.until(kill.when)
    run.kill(kill.what)
    if kill.then == ABORT and "record" in verbs(run):
        # On a busy host all was complete before the kill came, and there is nothing to abort.
        kill = replace(kill, then=AGAIN)
    third = blue_green(site)
    wanted = {AGAIN: release, THIRD: third}.get(kill.then, world.current)
    playbook = kill.then if kill.then in (ROLLBACK, ABORT) else "replace"
    ended = site.play(playbook, third if kill.then == THIRD else release)
    assert ended.code == 0, ended.text
    if kill is LEFT_HALF_WAY:
        assert "was left half way, with traffic: it is aborted first" in ended.text, ended.text
    run.orphans_end()
    world.judge(wanted)


def test_ro_12_rollback_while_the_old_is_kept_starts_nothing(world: World) -> None:
    """It is a flip of the load balancer; the run that waited ends well, whatever came in between."""
    site, old = world.site, world.current
    before = ids(site, old)
    release = blue_green(site, scale_down_delay=40)
    first = site.start("replace", release)
    first.until(said(KEPT))
    assert len(check.containers(site)) == 2 * REPLICAS
    assert {mark for _instance, mark in check.answers(site, REPLICAS)} == {release.mark}
    flip = site.start("rollback", release)
    end_well(flip)
    done = verbs(flip)
    assert "start" not in done
    assert len(done) - 1 - done[::-1].index("confirm") < done.index("drain")
    assert ids(site, old) == before
    text = end_well(first)
    # It comes back after the other run, or while that one still works.
    assert "another run came in between" in text or "that run takes away" in text
    world.judge(old)


def test_ro_11_held_promoted_and_aborted(world: World) -> None:
    """What is held gets no traffic; abort removes it, promote switches to it."""
    site, old = world.site, world.current
    release = blue_green(site, approval=True)
    text = end_well(site.start("replace", release))
    assert "is held at gate approval; run the playbook promote" in text
    assert site.lease()["holder"] is None
    assert len(ids(site, release)) == REPLICAS
    assert {mark for _instance, mark in check.answers(site, REPLICAS)} == {old.mark}
    again = site.play("replace", release)
    assert (again.code, again.changed) == (0, 0), again.text
    refused = site.play("replace", blue_green(site))
    assert refused.code != 0
    assert "is held at gate approval: promote or abort it first" in " ".join(refused.text.split())
    end_well(site.start("abort", release))
    world.judge(old)
    noop = site.play("abort", release)
    assert (noop.code, noop.changed) == (0, 0), noop.text
    end_well(site.start("replace", release))
    promoted = site.start("promote", release)
    end_well(promoted)
    assert "start" not in verbs(promoted)
    world.judge(release)


def test_cr_01_a_promotion_that_dies_goes_on_behind_its_gate(world: World) -> None:
    site = world.site
    release = blue_green(site, approval=True)
    end_well(site.start("replace", release))
    run = site.start("promote", release)
    run.until(lambda playing: "activate" in [row["step"] for row in playing.rows()])
    run.kill(EVERYTHING)
    ended = site.play("replace", release)
    assert ended.code == 0 and "is held" not in ended.text, ended.text
    world.judge(release)


def test_ro_18_a_held_release_is_aborted_first_by_choice(world: World) -> None:
    site = world.site
    held = blue_green(site, approval=True)
    end_well(site.start("replace", held))
    third = blue_green(site, while_held="abort")
    text = end_well(site.start("replace", third))
    assert "it is aborted first" in text
    world.judge(third)


def test_ro_18_a_new_release_waits_for_a_held_one_by_choice(world: World) -> None:
    site = world.site
    held = blue_green(site, approval=True)
    end_well(site.start("replace", held))
    third = blue_green(site, while_held="wait")
    waits = site.start("replace", third)
    waits.until(said("promote or abort it"))
    assert len(ids(site, held)) == REPLICAS and ids(site, third) == []
    end_well(site.start("promote", held))
    end_well(waits)
    world.judge(third)


@pytest.mark.parametrize("limit", ["readiness.timeout", "progress_deadline"])
def test_ro_02_a_failure_in_prepare_moves_no_traffic(world: World, limit: str) -> None:
    site, old = world.site, world.current
    before = ids(site, old)
    release = blue_green(
        site, delay=600, **({"progress_deadline": 3} if "deadline" in limit else {})
    )
    variables = json.loads(release.spec.read_text())
    if limit == "readiness.timeout":
        variables["release_processes"]["web"]["readiness"]["timeout"] = 3
    release.spec.write_text(json.dumps(variables))
    run = site.start("replace", release)
    ended = run.end()
    assert ended.code != 0 and "rolled back" in ended.text, ended.text
    assert ("progress_deadline is 3 s" in ended.text) == (limit == "progress_deadline")
    assert not {"activate", "drain"} & set(verbs(run))
    assert ids(site, old) == before
    world.judge(old)


@pytest.fixture
def held_back(world: World) -> Iterator[None]:
    """HAProxy holds requests back while nothing serves."""
    sample = world.site.sample
    backend = {"name": "shop", "bind": f"127.0.0.1:{sample.port}", "hold_requests": 120}
    sample.prepare("-e", json.dumps({"load_balancer_backends": [backend]}))
    yield
    sample.prepare()


def test_recreate_under_held_requests_loses_nothing(world: World, held_back: None) -> None:
    """What must not run twice does not, and whoever asks meanwhile waits."""
    site = world.site
    release = site.release(release_strategy={"type": "recreate"})
    run = site.start("replace", release)
    text = end_well(run)
    assert "NOT zero-downtime: nothing of web serves for a while" in text
    done = verbs(run)
    assert len(done) - 1 - done[::-1].index("destroy") < done.index("start")
    world.judge(release)


@pytest.mark.parametrize(
    "kill",
    [
        at("destroy", "ok", EVERYTHING, AGAIN, count=REPLICAS),
        at("start", "ok", FAMILY, ROLLBACK),
        at("activate", "ok", CONTROLLER, AGAIN),
    ],
    ids=lambda kill: f"{kill.name}-{kill.then}",
)
def test_cr_01_a_recreate_that_dies_is_gone_on_with_or_back_from(
    world: World, held_back: None, kill: Kill
) -> None:
    """Whoever asks while nothing serves is held back for as long as it takes, whichever run ends it."""
    site = world.site
    release = site.release(release_strategy={"type": "recreate"})
    run = site.start("replace", release)
    run.until(kill.when)
    run.kill(kill.what)
    ended = site.play("replace" if kill.then == AGAIN else kill.then, release)
    assert ended.code == 0, ended.text
    run.orphans_end()
    world.judge(release if kill.then == AGAIN else world.current)


def test_all_requests_are_accounted_for(shared: World) -> None:
    result = shared.traffic.load.stop()
    assert result.planned == result.accounted > 1000
    assert (result.failed, result.failed_by_outcome) == (0, {})


def test_the_same_load_sees_a_recreate_that_holds_nothing(site: Site) -> None:
    """Positive control: without hold_requests, whoever asks while nothing serves fails."""
    with Load(site.sample.url, rate=RATE, options=LOAD) as load:
        release = site.deploy(site.release(release_strategy={"type": "recreate"}))
        result = load.stop()
    assert result.planned == result.accounted
    assert result.failed > 0
    check.converged(site, release)
    shutil.rmtree(load.out)
