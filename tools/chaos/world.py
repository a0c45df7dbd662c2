# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The site that is disturbed: a load balancer, an app of two replicas, and what is known of its releases."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tools.chaos import check
from tools.chaos.engine import NoEngine, OwnEngine, own_engine
from tools.chaos.faults import await_balancer
from tools.chaos.remote import NoCable, Remote, remote
from tools.chaos.rig import Release, Site
from tools.made import checkout
from tools.sample import ROOT, Sample, bake, free_port, images

LANE = os.environ.get("CHAOS_LANE", "")
"""Several can run at a time in a checkout, each in a lane with a name of its own."""
SUFFIX = f"-{LANE}" if LANE else ""
NAME = f"chaos-{checkout()}{SUFFIX}"
FOLDER = ROOT / "build" / f"chaos{SUFFIX}"
STATE = Path(f"/var/lib/immutable-cutover-test-{NAME}")
IMAGES = ("shop/web:1.0.0", "shop/web:1.1.0", "cutover/haproxy")
SECRET = "postgresql://shop:correct-horse-chaos@db.internal/shop"


class Broken(Exception):
    """The site cannot be brought back to a state to begin from."""


class World:
    """A site on which one release runs, and the releases that were deployed there."""

    def __init__(self, site: Site, engine: OwnEngine | None, remote: Remote | None) -> None:
        self.site = site
        self.engine = engine
        self.remote = remote
        self._releases: dict[str, Release] = {}
        site.secret.write_text(SECRET, encoding="utf-8")
        self.deploy(surge=2)
        self.current = self.deploy(surge=2)

    def release(self, **more: object) -> Release:
        """Make a release that was never deployed."""
        made = self.site.release(**more)  # type: ignore[arg-type]  # options by name
        self._releases[made.mark] = made
        return made

    def deploy(self, **more: object) -> Release:
        """Deploy a new one."""
        return self.site.deploy(self.release(**more))

    def older(self) -> Release:
        """Return the release to which a rollback of the current one leads."""
        folder = self.site.app_folder / "releases"
        completed = json.loads((folder / "index.json").read_text(encoding="utf-8"))["completed"]
        marks = [self._mark(folder / f"{name}.json") for name in completed]
        return next(self._releases[mark] for mark in reversed(marks) if mark != self.current.mark)

    @staticmethod
    def _mark(record: Path) -> str:
        """Read which release that is; an environment is a mapping or a list of pairs."""
        env = json.loads(record.read_text(encoding="utf-8"))["spec"]["env"]
        return str(dict(env)["GREETING"])

    def settle(self) -> None:
        """Bring the site back after a case that failed."""
        self.site.tidy()
        if self.engine is not None:
            self.engine.resume()
        if self.remote is not None:
            self.remote.cable.plug()
        await_balancer(self.site)
        if self._try_to_deploy():
            return
        self.site.remove_containers()
        shutil.rmtree(self.site.app_folder, ignore_errors=True)
        self._try_to_deploy()  # a rollback needs one before
        if not self._try_to_deploy():
            raise Broken("after a failed case nothing could be deployed any more")

    def _try_to_deploy(self) -> bool:
        release = self.release(surge=2)
        if self.site.play("replace", release).code != 0:
            return False
        self.current = release
        problems = check.amiss(self.site, release, ())
        return not problems


@contextlib.contextmanager
def world(
    *, with_engine: bool = True, with_ssh: bool = True, needs_it: bool = True
) -> Iterator[World]:
    """Set everything up, and take it away at the end; one at a time in a lane.

    Without an engine of its own the site is on the machine's, without a controller that is apart there are no runs over
    ssh. Raises NoEngine or NoCable when it cannot be had and C(needs_it).
    """
    bake()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context((FOLDER / "lock").open("w", encoding="utf-8"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.callback(shutil.rmtree, STATE, ignore_errors=True)
        engine = _engine(stack, needs_it) if with_engine else None
        sample = Sample(NAME, FOLDER, free_port(), engine.url if engine else "")
        site = stack.enter_context(_site(sample))
        yield World(site, engine, _remote(stack, needs_it) if with_ssh else None)


def _engine(stack: contextlib.ExitStack, needed: bool) -> OwnEngine | None:
    try:
        engine = stack.enter_context(own_engine(STATE / "engine"))
    except NoEngine:
        if needed:
            raise
        return None
    known = images()
    engine.load([known[name]["image_id"] for name in IMAGES])  # a tag may be another checkout's
    return engine


def _remote(stack: contextlib.ExitStack, needed: bool) -> Remote | None:
    try:
        return stack.enter_context(remote(NAME, STATE / "ssh"))
    except NoCable:
        if needed:
            raise
        return None


@contextlib.contextmanager
def _site(sample: Sample) -> Iterator[Site]:
    for path in STATE.glob("*"):
        if path.name != "engine":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Before the site is there: whatever an earlier run left in haproxy.cfg goes with it.
    sample.prepare("-e", "load_balancer_state=absent")
    # A canary needs shares by weight.
    backend = {"name": "shop", "bind": f"127.0.0.1:{sample.port}", "balance": "roundrobin"}
    sample.prepare("-e", json.dumps({"load_balancer_backends": [backend]}))
    site = Site(sample, STATE)
    try:
        if not sample.engine:
            _keep_images(sample)
        yield site
    finally:
        site.tidy()
        with contextlib.suppress(subprocess.CalledProcessError):
            site.remove_containers()
        sample.prepare("-e", "load_balancer_state=absent")
        with contextlib.suppress(subprocess.CalledProcessError):
            site.docker("network", "rm", sample.network)
        if not sample.engine:
            subprocess.run(["docker", "rmi", "--no-prune", *_tags(sample)], check=False)


def _tags(sample: Sample) -> list[str]:
    return [f"{sample.name}/{name}" for name in IMAGES if name.startswith("shop")]


def _keep_images(sample: Sample) -> None:
    """Give the images names of our own, so that another checkout's bake does not take them away."""
    known = images()
    for name, tag in zip(IMAGES, _tags(sample), strict=False):
        subprocess.run(["docker", "tag", known[name]["image_id"], tag], check=True)
