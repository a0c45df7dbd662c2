# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strategies by three hosts, call by call: that of the replicas and two with a load balancer each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import connect, parts
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

Answer = dict[str, Any]
HOSTS = ("lb1", "lb2")
BLUE_GREEN = {"type": "blue_green", "scale_down_delay": 0}


class Two:
    """The host of the replicas, and the load balancers C(lb1) and C(lb2)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = Host(folder / "home", monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
        self.folder = folder
        clock = self.home.rig.clock
        self.balancers = {host: MemoryLoadBalancer(clock, backend=host) for host in HOSTS}
        monkeypatch.setattr(connect.factory, "connect", self._driver)
        monkeypatch.setattr(parts.factory, "connect", lambda _options: self.home.engine)

    def _driver(self, options: Mapping[str, Any], _clock: object) -> MemoryLoadBalancer:
        return self.balancers[str(options["socket"]).strip("/")]

    def admins(self, host: str, image_id: str) -> list[Admin]:
        """Return how the targets of an image stand at a load balancer."""
        mine = {item.name for item in self.home.engine.containers({}) if item.image_id == image_id}
        return [item.admin for item in self.balancers[host].targets() if item.name in mine]


class Failed(Exception):
    """A call ended so; its argument is the answer."""


class Controller:
    """What carries one run from call to call; everything goes through JSON, as between hosts."""

    def __init__(
        self, two: Two, image_id: str, run: str, strategy: object = None, to: str = ""
    ) -> None:
        self._two, self._run, self._to = two, run, to
        self._spec = two.home.spec(
            "1" if image_id == IMAGE_ID else "2",
            image_id,
            fleet={"member": "b1"},
            strategy=strategy or BLUE_GREEN,
            load_balancers=[
                {"socket": f"/{host}", "backend": "shop", "host": host} for host in HOSTS
            ],
        )
        self.epoch = 0
        self.resumes: dict[str, Answer] = {"": {}, "lb1": {}, "lb2": {}}
        self.views = {host: self._call("look", host)["view"] for host in HOSTS}
        self.release: Answer = {}

    def _call(self, side: str, host: str = "", **more: Any) -> Answer:
        turn = {"epoch": self.epoch, "holder": {"run": self._run, "user": "eve"}}
        turn |= more.pop("turn", {})
        params = self._two.home.params(self._spec, self._to, **turn)
        params["state_dir"] = str(self._two.folder / (host or "home"))
        part = {"side": side, "host": host, **more}
        found: Answer = json.loads(json.dumps(parts.run_part({**params, "part": part}, False)))
        if found.get("status") == "failed":
            raise Failed(found)
        return found

    def at_home(self, **turn: Any) -> Answer:
        turn = {"resume": self.resumes[""], **turn}
        answer = self._call("host", views=list(self.views.values()), turn=turn)
        self.epoch, self.release = answer.get("epoch", 0), answer["handed"]
        self.resumes[""] = answer.get("resume", {})
        return answer

    def at(self, host: str, seconds: float = 30, watch: float = 0) -> list[str]:
        prepared = self.resumes[""]["prepared"]
        turn = {"resume": {**self.resumes[host], "prepared": prepared}, "seconds": seconds}
        answer = self._call("balancer", host, release=self.release, turn=turn, watch=watch)
        self.views[host], self.resumes[host] = answer["view"], answer["resume"]
        return [action.split()[0] for action in answer["actions"]]

    def through(self, **turn: Any) -> tuple[str, list[str]]:
        """Take turns to the end; return how it ended, and what was done in order."""
        done: list[str] = []
        for _turn in range(20):
            answer = self.at_home(**turn)
            turn = {}
            done += [action.split()[0] for action in answer["actions"]]
            if answer["status"] != "more":
                return answer["status"], done
            for host in HOSTS:
                done += self.at(host)
        raise AssertionError("it does not end")


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    made = Two(tmp_path, monkeypatch)
    yield made
    made.home.rig.close()


@pytest.fixture
def deployed(two: Two) -> Two:
    assert Controller(two, IMAGE_ID, "one").through()[0] == "done"
    return two


def test_all_is_prepared_at_every_balancer_before_any_of_them_switches(deployed: Two) -> None:
    status, done = Controller(deployed, OTHER_IMAGE_ID, "two").through()
    assert status == "done"
    assert done == [
        *("start", "ready"),
        *("register", "check") * 2,
        *("activate", "confirm") * 2,
        *("drain", "await", "deregister") * 2,
        *("destroy", "record"),
    ]


def test_one_balancer_alone_does_not_switch_however_often_it_is_asked(deployed: Two) -> None:
    run = Controller(deployed, OTHER_IMAGE_ID, "two")
    run.at_home()
    assert run.at("lb1") == ["register", "check"]
    assert run.at("lb1") == []
    run.at_home()
    assert run.at("lb1") == []
    assert deployed.admins("lb1", OTHER_IMAGE_ID) == [Admin.STANDBY]
    assert deployed.admins("lb1", IMAGE_ID) == [Admin.ACTIVE]
    run.at("lb2")
    run.at_home()
    assert run.at("lb1") == ["activate", "confirm"]
    assert run.at("lb1") == [], "the other one does not serve the new yet"
    assert [deployed.admins(host, IMAGE_ID) for host in HOSTS] == [[Admin.ACTIVE]] * 2


def test_ro_11_what_is_held_waits_at_both_until_it_is_promoted(deployed: Two) -> None:
    strategy = {**BLUE_GREEN, "approval": True}
    status, done = Controller(deployed, OTHER_IMAGE_ID, "two", strategy).through()
    assert (status, "activate" in done) == ("held", False)
    assert Controller(deployed, OTHER_IMAGE_ID, "again", strategy).at_home()["status"] == "held"
    promoted = Controller(deployed, OTHER_IMAGE_ID, "three", strategy, "promote")
    status, done = promoted.through()
    assert (status, done.count("activate")) == ("done", 2)
    assert [deployed.admins(host, OTHER_IMAGE_ID) for host in HOSTS] == [[Admin.ACTIVE]] * 2
    nothing = Controller(deployed, OTHER_IMAGE_ID, "four", strategy, "promote").at_home()
    assert (nothing["status"], nothing["changed"]) == ("done", False)


def test_what_is_started_anew_under_its_name_is_checked_anew(deployed: Two) -> None:
    run = Controller(deployed, OTHER_IMAGE_ID, "two")
    run.at_home()
    for host in HOSTS:
        run.at(host)
    engine = deployed.home.engine
    died = next(one.id for one in engine.containers({}) if one.image_id == OTHER_IMAGE_ID)
    engine.stop(died, "SIGKILL", 0)
    engine.remove(died)
    run.at_home()
    for host in HOSTS:
        assert run.at(host) == ["await", "deregister"]
    assert run.at_home()["actions"]
    assert run.at("lb1") == ["register", "check"]
    deployed.balancers["lb2"]._looks = 10**6  # its check passes at some later time
    assert run.at("lb2", seconds=0.2) == ["register"]
    run.at_home()
    assert run.release["reach"] == "prepare"
    assert run.at("lb1") == []


def test_a_pause_keeps_both_from_switching(deployed: Two) -> None:
    run = Controller(deployed, OTHER_IMAGE_ID, "two", {**BLUE_GREEN, "pause": 3600})
    run.at_home()
    for host in HOSTS:
        run.at(host)
    assert run.at_home(seconds=0.1)["status"] == "more"
    assert [run.at(host) for host in HOSTS] == [[], []]
    assert [deployed.admins(host, OTHER_IMAGE_ID) for host in HOSTS] == [[Admin.STANDBY]] * 2


def test_ro_11_what_is_aborted_has_moved_nothing(deployed: Two) -> None:
    strategy = {**BLUE_GREEN, "approval": True}
    Controller(deployed, OTHER_IMAGE_ID, "two", strategy).through()
    status, done = Controller(deployed, OTHER_IMAGE_ID, "three", strategy, "abort").through()
    assert (status, "activate" in done, "destroy" in done) == ("done", False, True)
    assert [deployed.admins(host, IMAGE_ID) for host in HOSTS] == [[Admin.ACTIVE]] * 2


def test_cr_01_a_run_that_died_between_two_switches_is_gone_on_with(deployed: Two) -> None:
    dead = Controller(deployed, OTHER_IMAGE_ID, "two")
    dead.at_home()
    for host in HOSTS:
        dead.at(host)
    dead.at_home()
    dead.at("lb1")
    assert deployed.admins("lb2", OTHER_IMAGE_ID) == [Admin.STANDBY]
    status, _done = Controller(deployed, OTHER_IMAGE_ID, "three").through(take_over=dead.epoch)
    assert status == "done"
    assert [deployed.admins(host, OTHER_IMAGE_ID) for host in HOSTS] == [[Admin.ACTIVE]] * 2
    assert len(deployed.home.engine.containers({})) == 1


def test_what_was_replaced_is_kept_at_both_for_its_time(deployed: Two) -> None:
    strategy = {**BLUE_GREEN, "scale_down_delay": 3600}
    status, done = Controller(deployed, OTHER_IMAGE_ID, "two", strategy).through()
    assert (status, done[-1]) == ("delayed", "record")
    assert [deployed.admins(host, IMAGE_ID) for host in HOSTS] == [[Admin.DRAINING]] * 2
    for host in HOSTS:
        journal = deployed.folder / host / "apps" / "shop" / "journal.jsonl"
        assert '"gate"' not in journal.read_text(), "the host of the replicas stands at gates"
    back = Controller(deployed, OTHER_IMAGE_ID, "three", strategy, "previous")
    status, done = back.through()
    assert (status, "start" in done) == ("done", False)
    assert [deployed.admins(host, IMAGE_ID) for host in HOSTS] == [[Admin.ACTIVE]] * 2


def test_recreate_starts_when_every_balancer_has_let_go(deployed: Two) -> None:
    recreate = {"type": "recreate"}
    status, done = Controller(deployed, OTHER_IMAGE_ID, "two", recreate).through()
    assert (status, done.count("deregister")) == ("done", 2)
    assert done.index("destroy") < done.index("start")


# Canary: the shares are set and counted at the load balancers, and decided about where the replicas are.

HELD = {"type": "canary", "steps": [{"weight": 10}, {"pause": {}}]}


def weights(two: Two) -> list[list[int]]:
    """Return the weights of the old and the new targets at each load balancer."""
    return [sorted(target.weight for target in two.balancers[host].targets()) for host in HOSTS]


def count(two: Two, host: str, image_id: str, requests: int, errors: int) -> None:
    """Let clients have had these answers of an image."""
    names = {item.name for item in two.home.engine.containers({}) if item.image_id == image_id}
    for target in two.balancers[host].targets():
        if target.name in names:
            two.balancers[host].count_traffic(target.name, requests, errors, 5.0)


def analysed(duration: int = 2, **more: object) -> Answer:
    look = {"duration": duration, "min_requests": 20, "max_error_rate": 5, "timeout": 60, **more}
    return {"type": "canary", "steps": [{"weight": 10}, {"analysis": look}]}


def at_the_gate(two: Two, strategy: object) -> Controller:
    """Bring a run to where its first canary has its share, and everything waits."""
    run = Controller(two, OTHER_IMAGE_ID, "two", strategy)
    for _turn in range(6):
        run.at_home(seconds=1)
        if run.release["watch"]:
            return run
        for host in HOSTS:
            run.at(host)
    raise AssertionError("it comes to no gate")


def test_every_target_weighs_the_same_whatever_the_strategy(deployed: Two) -> None:
    assert weights(deployed) == [[64], [64]]
    assert Controller(deployed, OTHER_IMAGE_ID, "two").through()[0] == "done"
    assert weights(deployed) == [[64], [64]]


def test_ro_13_a_canary_has_its_share_at_both_and_takes_none_of_another_host(deployed: Two) -> None:
    stranger = deployed.balancers["lb1"]
    stranger.register("shop.at.b2-web-01234567-1", "10.0.0.9", 21000)
    stranger.set_weight("shop.at.b2-web-01234567-1", 64)
    status, done = Controller(deployed, OTHER_IMAGE_ID, "two", HELD).through()
    assert (status, done.count("weigh"), "drain" in done) == ("held", 2, False)
    assert done.index("weigh") < done.index("start")
    assert weights(deployed) == [[6, 54, 64], [6, 54]]
    assert Controller(deployed, OTHER_IMAGE_ID, "three", HELD, "promote").through()[0] == "done"
    assert weights(deployed) == [[64, 64], [64]]
    assert deployed.admins("lb2", OTHER_IMAGE_ID) == [Admin.ACTIVE]


def test_ro_11_an_aborted_canary_gives_its_share_back_at_both(deployed: Two) -> None:
    Controller(deployed, OTHER_IMAGE_ID, "two", HELD).through()
    assert Controller(deployed, OTHER_IMAGE_ID, "three", HELD, "abort").through()[0] == "done"
    assert weights(deployed) == [[64], [64]]
    assert [deployed.admins(host, IMAGE_ID) for host in HOSTS] == [[Admin.ACTIVE]] * 2


def test_ro_14_figures_of_both_decide_together(deployed: Two) -> None:
    run = at_the_gate(deployed, analysed(duration=1))
    for host in HOSTS:  # neither has enough of them alone
        count(deployed, host, OTHER_IMAGE_ID, 12, 0)
        count(deployed, host, IMAGE_ID, 100, 0)
        run.at(host, watch=0.6)
    status, done = run.through()
    assert (status, "destroy" in done) == ("done", True)
    assert weights(deployed) == [[64], [64]]


def test_ro_14_without_enough_requests_it_waits_and_then_does_not_pass(deployed: Two) -> None:
    run = at_the_gate(deployed, analysed(duration=1, timeout=2))
    for host in HOSTS:
        run.at(host, watch=0.6)
    assert run.at_home(seconds=1)["status"] == "more"
    assert run.release["watch"] == 5.0, "the next look at the figures"
    for host in HOSTS:
        run.at(host, watch=0.6)
    with pytest.raises(Failed) as failed:
        run.at_home(seconds=1)
    assert "inconclusive after 2 s" in failed.value.args[0]["error"]
    assert failed.value.args[0]["worth_undoing"] is True


def test_ro_14_a_balancer_that_watches_ends_a_canary_that_costs_too_much(deployed: Two) -> None:
    run = at_the_gate(deployed, analysed(duration=600, timeout=900))
    run.at("lb1", watch=0.1)  # a window begins
    run.at_home(seconds=1)
    count(deployed, "lb1", OTHER_IMAGE_ID, 30, 30)
    count(deployed, "lb1", IMAGE_ID, 100, 0)
    with pytest.raises(Failed) as failed:
        run.at("lb1", watch=30)
    assert "canary of shop" in failed.value.args[0]["error"]
    assert failed.value.args[0]["worth_undoing"] is True


def test_a_balancer_that_is_not_told_to_watch_returns_at_once(deployed: Two) -> None:
    run = at_the_gate(deployed, {"type": "canary", "steps": [{"weight": 10}, {"pause": 3600}]})
    assert 3500 < run.release["watch"] <= 3600
    assert run.at("lb1", seconds=10**6) == []
