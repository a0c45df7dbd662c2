# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""lb_target, lb_target_info and drain against a real HAProxy: check mode equals the real run, repeat is unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.pytest.haproxy_rig import PATIENCE, App, Haproxy, eventually

ROOT = Path(__file__).resolve().parents[3]


class Bench:
    """One HAProxy, some apps, and the modules as Ansible calls them."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.haproxy = Haproxy(directory)
        self.apps: dict[str, App] = {}

    def app(self, name: str) -> dict[str, Any]:
        self.apps[name] = App(self.dir, name)
        return {"name": name, "address": "127.0.0.1", "port": self.apps[name].port}

    def balancer(self, backend: str = "shop") -> dict[str, Any]:
        return {
            "socket": str(self.haproxy.socket),
            "master_socket": str(self.haproxy.master),
            "backend": backend,
            "config": str(self.haproxy.config),
        }

    def run(self, name: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run one module in a process of its own."""
        options.setdefault("load_balancers", [self.balancer()])
        arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check}}
        done = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.immutable.cutover.plugins.modules.{name}"],
            input=json.dumps(arguments),
            env={**os.environ, "PYTHONPATH": str(ROOT / ".ansible" / "collections")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.strip().startswith("{"), done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        answer.pop("invocation", None)
        return answer

    def thrice(self, name: str, **options: Any) -> dict[str, Any]:
        """Run in check mode, for real, and both again."""
        config = self.haproxy.config.read_bytes()
        predicted = self.run(name, check=True, **options)
        assert self.haproxy.config.read_bytes() == config
        real = self.run(name, **options)
        assert not real.get("failed"), real
        keys = ("changed", "before", "after", "diff", "actions")
        assert {key: predicted[key] for key in keys} == {key: real[key] for key in keys}
        for check in (True, False):
            again = self.run(name, check=check, **options)
            assert again["changed"] is False and again["actions"] == [], again
            assert again["before"] == again["after"] == real["after"]
        return real


@pytest.fixture()
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.haproxy.start()
    try:
        yield made
    finally:
        made.haproxy.kill()
        for app in made.apps.values():
            app.kill()


def test_the_life_of_targets(bench: Bench) -> None:
    one, two = bench.app("one"), bench.app("two")
    made = bench.thrice("lb_target", targets=[one, {**two, "weight": 10}])
    assert made["changed"] and made["before"][0]["targets"] == []
    assert [t["state"] for t in made["after"][0]["targets"]] == ["active", "active"]
    assert {bench.haproxy.get()[1] for _again in range(6)} == {"one", "two"}

    drained = bench.thrice("lb_target", targets=[{**one, "state": "draining"}])
    assert drained["after"][0]["targets"][0]["state"] == "draining"
    assert {bench.haproxy.get()[1] for _again in range(6)} == {"two"}

    bench.thrice("lb_target", targets=[{"name": "one", "state": "maintenance"}])
    bench.thrice("lb_target", targets=[one, {**two, "weight": 20}])
    bench.thrice("lb_target", targets=[{"name": "one", "state": "absent"}])
    info = bench.run("lb_target_info")["load_balancers"][0]
    assert info["driver"] == "haproxy" and info["persisted"] is True
    (left,) = info["targets"]
    assert (left["name"], left["state"], left["health"], left["serving"]) == (
        "two",
        "active",
        "up",
        True,
    )
    assert (left["weight"], left["in_flight"], left["in_flight_quality"]) == (20, 0, "exact")


def test_standby_gets_no_traffic(bench: Bench) -> None:
    one, two = bench.app("one"), bench.app("two")
    bench.thrice("lb_target", targets=[one, {**two, "state": "standby"}])
    assert {bench.haproxy.get()[1] for _again in range(6)} == {"one"}


def test_the_last_target_is_kept_unless_told_otherwise(bench: Bench) -> None:
    bench.run("lb_target", targets=[bench.app("one")])
    gone = [{"name": "one", "state": "absent"}]
    for check in (True, False):
        refused = bench.run("lb_target", targets=gone, check=check)
        assert refused["failed"] and refused["kind"] == "last_target"
        assert "without one no target would serve" in refused["msg"]
        assert bench.run("drain", names=["one"], check=check)["kind"] == "last_target"
    assert bench.haproxy.get() == (200, "one")
    bench.thrice("lb_target", targets=gone, allow_last_target=True)
    assert bench.haproxy.get()[0] == 503


def test_every_error_is_reported_and_what_works_is_done(bench: Bench) -> None:
    good, sick, sicker = (bench.app(name) for name in ("good", "sick", "sicker"))
    bench.apps["sick"].ready(False)
    bench.apps["sicker"].ready(False)
    answer = bench.run("lb_target", targets=[good, sick, sicker], wait={"timeout": 1})
    assert answer["failed"] and answer["kind"] == "partial"
    assert answer["msg"].startswith("2 of 3 failed: ")
    assert [error["kind"] for error in answer["errors"]] == ["not_healthy", "not_healthy"]
    assert "L7STS 503" in answer["msg"]
    assert {bench.haproxy.get()[1] for _again in range(4)} == {"good"}


def test_lb_10_one_unusable_load_balancer_stops_everything(bench: Bench) -> None:
    one = bench.app("one")
    balancers = [bench.balancer(), {**bench.balancer(), "socket": str(bench.dir / "none.sock")}]
    answer = bench.run("lb_target", targets=[one], load_balancers=balancers)
    assert answer["failed"] and "no such socket" in answer["msg"]
    assert bench.haproxy.driver().targets() == ()


def test_lb_02_two_backends_at_once(bench: Bench) -> None:
    """The same name in two backends is two targets."""
    one = bench.app("one")
    both = [bench.balancer("shop"), bench.balancer("other")]
    bench.thrice("lb_target", targets=[one], load_balancers=both)
    only = {"name": "one", "state": "absent"}
    bench.thrice(
        "lb_target",
        targets=[only],
        load_balancers=[bench.balancer("other")],
        allow_last_target=True,
    )
    assert [t.name for t in bench.haproxy.driver("shop").targets()] == ["one"]
    assert bench.haproxy.driver("other").targets() == ()


def test_drain_waits_for_work_and_says_how_it_went(bench: Bench) -> None:
    one, two = bench.app("one"), bench.app("two")
    bench.run("lb_target", targets=[one])
    with bench.haproxy.held(3) as held:
        eventually(lambda: bench.haproxy.driver().in_flight(["one"])["one"].total == 3)
        bench.run("lb_target", targets=[two])
        late = bench.run("drain", names=["one"], wait={"timeout": 1})
        assert late["failed"] and late["kind"] == "drain_timeout" and late["busy"] == {"one": 3}
        assert "one (3 in flight, 0 queued)" in late["msg"]
        held.release()
        done = bench.run("drain", names=["one"], wait={"timeout": int(PATIENCE)})
    assert held.answers == [(200, "one")] * 3
    assert done["changed"] is False
    assert done["drained"][0]["name"] == "one"
    assert bench.run("drain", names=["two"], check=True)["kind"] == "last_target"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": [{"name": "a;b", "address": "127.0.0.1", "port": 1}]}, "targets[0].name"),
        ({"targets": [{"name": "a", "address": "host", "port": 1}]}, "targets[0].address"),
        ({"targets": [{"name": "a", "address": "127.0.0.1", "port": 0}]}, "targets[0].port"),
        ({"targets": [{"name": "a"}]}, "targets[0].address"),
        ({"targets": [{"name": "a", "state": "draining"}]}, "no target a"),
        (
            {"targets": [{"name": "a", "address": "127.0.0.1", "port": 1, "weight": 300}]},
            "targets[0].weight",
        ),
        ({"targets": [{"name": "a", "state": "absent"}] * 2}, "every name must be given once"),
        ({"targets": [], "wait": {"timeout": 0}}, "wait.timeout"),
        ({"targets": [], "load_balancers": []}, "load_balancers"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_input_changes_nothing(
    bench: Bench, options: dict[str, Any], said: str, check: bool
) -> None:
    before = bench.haproxy.config.read_bytes()
    answer = bench.run("lb_target", check=check, **options)
    assert answer["failed"] and said in answer["msg"], answer
    assert bench.haproxy.driver().targets() == ()
    assert bench.haproxy.config.read_bytes() == before
