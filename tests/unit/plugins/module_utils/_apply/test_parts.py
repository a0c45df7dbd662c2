# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release by two hosts, call by call: what each does with what it is told of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import parts
from ansible_collections.immutable.cutover.plugins.module_utils._apply.front import apply_release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.info import release_info
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    Fenced,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

SOCKET = "/run/haproxy/admin.sock"
Answer = dict[str, Any]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
    monkeypatch.setattr(parts.factory, "connect", lambda _options: made.engine)
    yield made
    made.rig.close()


class Controller:
    """What carries the run from call to call; everything goes through JSON, as between hosts."""

    def __init__(self, host: Host, version: str, image_id: str, run: str, **options: Any) -> None:
        self._host = host
        fleet = {"member": "b1", **options.pop("fleet", {})}
        self._spec = host.spec(
            version,
            image_id,
            fleet=fleet,
            load_balancers=[{"socket": SOCKET, "backend": "shop", "host": "lb1"}],
            **options,
        )
        self._run = run
        self.to = ""
        self.epoch = 0
        self.view: Answer = self.call("look")["view"]
        self.resume: Answer = {}
        self.there: Answer = {}
        self.release: Answer = {}

    def call(self, side: str, **more: Any) -> Answer:
        turn = more.pop("turn", {})
        holder = {"run": self._run, "user": "eve"}
        params = self._host.params(self._spec, self.to, holder=holder, epoch=self.epoch, **turn)
        part = {"side": side, "host": "lb1", **more}
        answer = parts.run_part({**params, "part": part}, False)
        found: Answer = json.loads(json.dumps(answer))
        return found

    def home(self, **turn: Any) -> Answer:
        answer = self.call("host", views=[self.view], turn={"resume": self.resume, **turn})
        self.epoch, self.release = answer.get("epoch", 0), answer["handed"]
        self.resume = answer.get("resume", {})
        return answer

    def balancer(self) -> Answer:
        resume = {**self.there, "prepared": self.resume["prepared"]}
        answer = self.call("balancer", release=self.release, turn={"resume": resume})
        self.view, self.there = answer["view"], answer["resume"]
        return answer

    def through(self) -> list[str]:
        """Take turns to the end; return what was done, in order."""
        done: list[str] = []
        for _turn in range(20):
            for answer in (self.home(), None):
                answer = answer or self.balancer()
                assert answer["status"] != "failed", answer["error"]
                done += answer["actions"]
                if answer["status"] == "done":
                    return [action.split()[0] for action in done]
        raise AssertionError("it does not end")


def test_two_hosts_replace_in_the_order_of_one(host: Host) -> None:
    up = ["start", "ready", "register", "activate", "confirm"]
    assert Controller(host, "1", IMAGE_ID, "one").through() == [*up, "record"]
    second = Controller(host, "2", OTHER_IMAGE_ID, "two").through()
    assert second == [*up, "drain", "await", "deregister", "destroy", "record"]
    assert host.serving() == [("serving", OTHER_IMAGE_ID)]
    name = host.balancer.targets()[0].name
    assert name.startswith("shop.at.b1-web-")
    assert Controller(host, "2", OTHER_IMAGE_ID, "three").home()["changed"] is False


def test_cr_02_nothing_is_destroyed_on_a_view_of_before_this_run(host: Host) -> None:
    Controller(host, "1", IMAGE_ID, "one").through()
    # With nothing to keep, only this rule is between a look of before the run and the end of a replica.
    strategy = {"max_unavailable": 1}
    dead = Controller(host, "2", OTHER_IMAGE_ID, "dead", strategy=strategy)
    dead.home()
    while "deregister" not in " ".join(dead.balancer()["actions"]):
        dead.home()
    old = host.engine.containers({"immutable.cutover.version": "1"})
    again = Controller(host, "2", OTHER_IMAGE_ID, "again", strategy=strategy)
    assert old[0].name not in json.dumps(again.view)
    again.home(take_over=dead.epoch)
    assert host.engine.containers({"immutable.cutover.version": "1"}) == old
    again.balancer()
    with pytest.raises(Fenced):
        dead.balancer()
    last = again.home()
    assert (last["status"], len(host.engine.containers({}))) == ("done", 1)


def test_what_is_not_ready_is_not_registered(host: Host) -> None:
    run = Controller(
        host, "1", IMAGE_ID, "one", web={"readiness": {"path": "/never", "timeout": 1}}
    )
    answer = run.home()
    assert (answer["status"], answer["failed_step"]["verb"]) == ("failed", "ready")
    run.resume = {"prepared": []}
    assert run.balancer()["actions"] == []
    assert host.balancer.targets() == ()


def test_the_first_release_is_taken_away_whatever_the_fleet_has_to_keep(host: Host) -> None:
    options: dict[str, Any] = {
        "fleet": {"min_serving": "75%", "hosts": 2},
        "strategy": {"max_surge": 0, "max_unavailable": "25%"},
        "web": {"replicas": 4},
    }
    dead = Controller(host, "1", IMAGE_ID, "dead", **options)
    dead.home()
    dead.balancer()
    again = Controller(host, "1", IMAGE_ID, "again", **options)
    again.to = "abort"
    answer = again.home(take_over=dead.epoch)
    while answer["status"] == "more":
        assert again.balancer()["status"] != "failed"
        answer = again.home()
    assert answer["status"] == "done", answer
    assert (host.engine.containers({}), host.balancer.targets()) == ((), ())


def test_what_another_host_has_in_the_backend_is_left_alone(host: Host) -> None:
    Controller(host, "1", IMAGE_ID, "one").through()
    host.balancer.register("shop.at.b2-web-01234567-1", "127.0.0.1", host.rig.port)
    host.balancer.set_state("shop.at.b2-web-01234567-1", Admin.ACTIVE)
    assert "destroy" in Controller(host, "2", OTHER_IMAGE_ID, "two").through()
    names = [target.name for target in host.balancer.targets()]
    assert "shop.at.b2-web-01234567-1" in names, "it is another host's"


def test_one_host_alone_refuses_balancers_of_others(host: Host) -> None:
    balancers = [{"socket": SOCKET, "backend": "shop", "host": "lb1"}]
    spec = host.spec("1", fleet={"member": "b1"}, load_balancers=balancers)
    with pytest.raises(InvalidInput, match=r"^load_balancers\[0\]\.host: is for the role release"):
        apply_release(host.params(spec))


def test_shares_that_cannot_be_and_unseen_balancers_are_refused(host: Host) -> None:
    strategy = {"type": "canary", "steps": [{"weight": 10}, {"weight": 99}]}
    told = (
        r"^strategy\.steps\[1\]\.weight: needs more than 1 canary replicas beside 8 of web: behind a load balancer"
        r" shared with other hosts they can get \d\d percent; set strategy\.replicas, found 99"
    )
    with pytest.raises(InvalidInput, match=told):
        Controller(host, "1", IMAGE_ID, "one", strategy=strategy, web={"replicas": 8}).home()
    run = Controller(host, "1", IMAGE_ID, "one")
    with pytest.raises(CutoverError, match="lb1 was not looked at"):
        run.call("host", views=[])


def test_the_lease_is_given_back(host: Host) -> None:
    run = Controller(host, "1", IMAGE_ID, "one")
    run.home()
    told = {"release": run.release, "message": "lb1 is away"}
    assert run.call("give_back", **told)["changed"] is True
    assert run.call("give_back", **told)["changed"] is False
    last = host.rig_rows()[-1]
    assert (last["step"], last["outcome"], last["release"]) == ("run", "failed", run.release["id"])
    assert last["detail"] == {"message": "lb1 is away"}


def test_the_status_of_a_host_asks_no_balancer_of_another(host: Host) -> None:
    Controller(host, "1", IMAGE_ID, "one").through()
    host.balancer.fail("targets", AssertionError("it was asked"))  # type: ignore[arg-type]  # no error of ours: it must not come
    found = release_info("shop", None, str(host.state_dir), 5, host.engine, host.rig.clock)
    assert found["problems"] == ["web: its load balancer is on lb1, which was not asked"]
    assert [item["state"] for item in found["processes"]["web"]] == ["unknown"]
