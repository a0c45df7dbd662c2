# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole rollouts on a real engine and a real HAProxy, called as the modules call them, without Ansible around it."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import front, targets
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.recovery import UNDO
from ansible_collections.immutable.cutover.plugins.module_utils._apply.replicas import start_replica
from ansible_collections.immutable.cutover.plugins.module_utils._argspec import APPLY_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World
from tests.integration.pytest.haproxy_rig import CLOCK, Haproxy
from tools.loadgen import Load
from tools.sample import rows

# What a client asks of the demo's app, from a web server that only has files and one script.
# Its server queues nine connections, which a busy machine fills: a connection is tried again, at the same replica only,
# so that one that is gone stays a loss.
PATHS = r"""retries 5
    timeout connect 20s
    http-request set-path /cgi-bin/slow if { path /slow }
    http-request set-path /tag if { path / }"""
TURN: Mapping[str, Mapping[str, Any]] = APPLY_SPEC["turn"]["options"]
BOOTS_SLOWLY = ["/bin/sh", "-c", "sleep 2; exec httpd -f -p $PORT -h /www"]
MIX = {"keepalive": 12.0, "new": 8.0}


class Rollouts:
    """One app, its HAProxy, and what happened to it."""

    def __init__(self, app: str, image: str, network: str, state: Path, haproxy: Haproxy) -> None:
        self.app = app
        self.image = image
        self.network = network
        self.state = state
        self.haproxy = haproxy
        self._runs = 0

    @property
    def journal(self) -> list[dict[str, Any]]:
        """What has been journalled, by all runs."""
        return list(rows(self.state / "apps" / self.app / "journal.jsonl"))

    def steps(self, outcome: str = "ok") -> list[str]:
        """Return the steps that ended so, in order."""
        return [row["step"] for row in self.journal if row["outcome"] == outcome]

    def balancer(self, haproxy: Haproxy | None = None) -> dict[str, Any]:
        """Return the options of a load balancer."""
        found = haproxy or self.haproxy
        return {
            "socket": str(found.socket),
            "master_socket": str(found.master),
            "config": str(found.config),
            "backend": "shop",
        }

    def spec(
        self, mark: str, replicas: int = 2, *, strategy: Mapping[str, int] | None = None, **web: Any
    ) -> dict[str, Any]:
        """Return a spec that differs from others by its mark."""
        process = {
            "replicas": replicas,
            "port": 8080,
            "readiness": {"path": "/readyz", "interval": 1, "successes": 1, "timeout": 90},
            "drain": {"timeout": 60},
            "stop": {"grace_period": 2},
            "resources": {"memory": "32m", "cpus": 1, "pids": 64},
        }
        return {
            "app": self.app,
            "image": f"app@{self.image}",
            "version": mark,
            "env": {"MARK": mark},
            "network": self.network,
            "processes": {"web": {**process, **web}},
            "load_balancers": [self.balancer()],
            "strategy": dict(strategy or {"max_surge": 2}),
        }

    def call(self, spec: Mapping[str, Any], *, to: str = "", **turn: Any) -> dict[str, Any]:
        """Make one call of release_apply."""
        defaults = {key: option.get("default") for key, option in TURN.items()}
        holder = {"run": f"run-{self._runs}", "user": "test"}
        defaults |= {"holder": holder, "ttl": 60, "seconds": 20}
        return front.apply_release(
            {
                "spec": spec,
                "to": to,
                "state_dir": str(self.state),
                "engine": {},
                "turn": {**defaults, **turn},
            }
        )

    def run(self, spec: Mapping[str, Any], *, undo: bool = False, **turn: Any) -> dict[str, Any]:
        """Call until it is done or has failed, and undo what failed if that is wanted; as the action plugin does."""
        self._runs += 1
        answer = self.call(spec, undo_follows=undo, **turn)
        while answer["status"] == "more":
            answer = self.call(
                spec, undo_follows=undo, epoch=answer["epoch"], resume=answer["resume"]
            )
        if undo and answer["status"] == "failed" and answer["worth_undoing"]:
            undone = self.call(spec, to=UNDO, epoch=answer["epoch"])
            while undone["status"] == "more":
                undone = self.call(spec, to=UNDO, epoch=undone["epoch"], resume=undone["resume"])
            assert undone["status"] == "done", undone
        return answer

    def deploy(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Run it, and expect it to work."""
        answer = self.run(spec)
        assert answer["status"] == "done", answer
        return answer

    def seen(self, spec: Mapping[str, Any]) -> World:
        """Return what engine and load balancers show."""
        return observe(self._deployment(spec).site, self.app)

    def versions(self, spec: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return version and phase of each replica."""
        found = self.seen(spec).replicas
        return sorted((item.version, item.phase.value) for item in found)

    def _deployment(self, spec: Mapping[str, Any]) -> front.Deployment:
        return front._deployment(
            {"spec": spec, "to": "", "state_dir": str(self.state), "engine": {}}
        )

    def add(self, spec: Mapping[str, Any]) -> None:
        """Bring replicas of a release into rotation beside what is there, as a run leaves them that ended too early."""
        deployment = self._deployment(spec)
        release, driver = deployment.release, deployment.site.drivers("web")[0]
        (process,) = release.spec.processes
        for slot in range(1, process.replicas + 1):
            wanted = release.container(process, slot, str(self.state))
            started = start_replica(deployment.site.engine, wanted)
            targets.register_standby(driver, started.name, started.address, process.port)
            targets.await_healthy(driver, started.name, 60, CLOCK)
            targets.activate(driver, started.name)
        driver.persist()

    def load(self, out: Path, *, slow: float = 2.0) -> Load:
        """Return the load of these tests, not yet started."""
        options = ("--slow", "0.5-1", "--timeout", "60", "--connect-timeout", "60")
        mix = {**MIX, "slow": slow}
        url = f"http://127.0.0.1:{self.haproxy.port}"
        return Load(url, mix=mix, out=out, options=options)

    def up(self) -> int:
        """Return how many servers HAProxy sends new requests to, in its own words."""
        return sum(row["status"].startswith("UP") for row in self._servers())

    def busy(self) -> int:
        """Return how many requests its servers work on."""
        return sum(int(row["scur"] or 0) for row in self._servers())

    def _servers(self) -> list[dict[str, str]]:
        lines = self.haproxy.ask("show stat -1 4 -1").strip().splitlines()
        table = csv.DictReader([lines[0].removeprefix("# "), *lines[1:]])
        return [row for row in table if row["pxname"] == "shop" and row["svname"] != "BACKEND"]


class Capacity(threading.Thread):
    """Looks again and again how many replicas HAProxy has up."""

    def __init__(self, rollouts: Rollouts) -> None:
        super().__init__()
        self._rollouts = rollouts
        self._over = threading.Event()
        self.samples: list[int] = []

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.samples.append(self._rollouts.up())

    def __enter__(self) -> Capacity:
        self.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._over.set()
        self.join()

    @property
    def lowest(self) -> int:
        """The least that was seen."""
        assert len(self.samples) > 10
        return min(self.samples)


def beside(work: Callable[[], dict[str, Any]]) -> Future[dict[str, Any]]:
    """Start a rollout beside the test."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(work)
    finally:
        pool.shutdown(wait=False)


def journalled(rollouts: Rollouts, step: str, outcome: str, count: int = 1) -> Callable[[], bool]:
    """The moment when the journal shows this."""
    before = [(row["step"], row["outcome"]) for row in rollouts.journal].count((step, outcome))

    def came() -> bool:
        found = [(row["step"], row["outcome"]) for row in rollouts.journal]
        return found.count((step, outcome)) >= before + count

    return came
