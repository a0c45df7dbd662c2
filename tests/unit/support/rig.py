# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An executor on reference drivers in memory, with an app that is really asked over HTTP and a clock that runs fast."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import (
    BoundedClock,
    Outcome,
    Resume,
    Run,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    GroupCommit,
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import Executor
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    Image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
    mapping,
)

APP, PROCESS = "shop", "web"


class FastClock:
    """The machine's clock, so many times as fast."""

    def __init__(self, factor: float = 8.0) -> None:
        self._factor = factor
        self._real, self._wall = time.monotonic(), time.time()

    def monotonic(self) -> float:
        return self._real + (time.monotonic() - self._real) * self._factor

    def now(self) -> float:
        return self._wall + (time.monotonic() - self._real) * self._factor

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / self._factor)


class App(http.server.BaseHTTPRequestHandler):
    """Answers 200, or 503 below /never."""

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        body = b'{"status": "ok"}'
        self.send_response(503 if self.path.startswith("/never") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Keep quiet."""


class Rig:
    """One host whose replicas all answer on 127.0.0.1, and the runs on it."""

    def __init__(self, state_dir: Path, balancers: int = 1) -> None:
        self.state_dir = str(state_dir)
        self.clock = FastClock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = int(self._server.server_address[1])
        images = (Image(image, {}, (), "1000", "") for image in (IMAGE_ID, OTHER_IMAGE_ID))
        self.engine = MemoryEngine(*images, address=_here)
        self.drivers = [MemoryLoadBalancer(self.clock, backend=str(n)) for n in range(balancers)]
        self.lease = Lease(self.state_dir, APP, self.clock)

    def close(self) -> None:
        """Stop the app."""
        self._server.shutdown()
        self._server.server_close()

    def release(
        self, version: str = "1", image_id: str = IMAGE_ID, replicas: int = 1, **options: Any
    ) -> Release:
        """Return a release; C(strategy) and the process's own options may be given."""
        process = {
            "port": self.port,
            "replicas": replicas,
            "readiness": {"successes": 1, "timeout": 120},
        }
        strategy = options.pop("strategy", {})
        value = mapping(
            version=version,
            processes={PROCESS: {**process, **options}},
            load_balancers=[{"socket": f"/{n}", "backend": "b"} for n in range(len(self.drivers))],
            strategy=strategy,
        )
        return Release(parse_spec(value), image_id)

    def executor(
        self, release: Release, resume: Resume | None = None, run: str = "one", take_over: int = 0
    ) -> Executor:
        """Return the executor of one call of a run, which gets or keeps the lease."""
        clock = BoundedClock(self.clock)
        balancers = tuple(Balancer(driver, GroupCommit(driver)) for driver in self.drivers)
        site = Site(self.engine, {PROCESS: balancers}, self.state_dir, clock)
        lease = Lease(self.state_dir, APP, self.clock)
        epoch = lease.acquire(Holder(run), 600, take_over).epoch
        self.journal = Journal(self.state_dir, APP)
        return Executor(
            release, site, Run(run, epoch, 600, self.journal, lease), clock, resume or Resume()
        )

    def work(self, release: Release, seconds: float = 600, **options: Any) -> Outcome:
        """Run one call."""
        return self.executor(release, **options).work(seconds)

    def world(self) -> World:
        """Return what is seen now."""
        balancers = tuple(Balancer(driver, GroupCommit(driver)) for driver in self.drivers)
        return observe(Site(self.engine, {PROCESS: balancers}, "", self.clock), APP)

    def phases(self) -> dict[str, str]:
        """Return the phase of every replica."""
        return {replica.name: replica.phase.value for replica in self.world().replicas}

    @staticmethod
    def names(release: Release) -> list[str]:
        """Return the names of a release's replicas."""
        count = release.spec.processes[0].replicas
        return [replica_name(APP, PROCESS, release.id, slot) for slot in range(1, count + 1)]


def _here(_spec: ContainerSpec, _number: int) -> str:
    return "127.0.0.1"
