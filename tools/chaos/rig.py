# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Real ansible-playbook processes that are killed at a chosen moment, and a site for them to work on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.chaos.process import Process, eventually, tree
from tools.chaos.remote import Door, Remote
from tools.made import checkout
from tools.sample import BYTECODE, PLAYBOOK, ROOT, Sample, environment, free_port, images

MODULE_DEPTH = 2
"""ansible-playbook is 0, its workers are 1; whatever runs below those works on the target."""
REPLICAS = 2
VERSIONS = ("1.0.0", "1.1.0")


class NotReached(AssertionError):
    """The moment of a run that was waited for did not come."""


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Tail:
    """The rows that were added to a journal since this was made; each look reads only what is new."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._offset = journal.stat().st_size if journal.exists() else 0
        self._rows: list[dict[str, Any]] = []

    def rows(self) -> list[dict[str, Any]]:
        """Return them, without a torn last line."""
        if self._journal.exists():
            with self._journal.open("rb") as stream:
                stream.seek(self._offset)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    with contextlib.suppress(ValueError):
                        self._rows.append(json.loads(line))
        return list(self._rows)


@dataclass(frozen=True)
class Release:
    """A release of the sample app that tells itself by its greeting."""

    mark: str
    version: str
    spec: Path


@dataclass(frozen=True)
class Ended:
    """How a playbook ended."""

    code: int
    text: str

    @property
    def changed(self) -> int:
        """The number of changed tasks in the recap."""
        return int(re.findall(r"changed=(\d+)", self.text)[-1])


class Playing:
    """An ansible-playbook process, and the orphans that it leaves when it is killed."""

    def __init__(
        self,
        site: Site,
        playbook: str,
        release: Release,
        options: tuple[str, ...],
        remote: Remote | None = None,
    ) -> None:
        self.site = site
        self.before = site.lease()["epoch"]
        self.log = site.folder / f"{time.monotonic_ns()}.log"
        self.last_words: list[Process] = []
        self._tail = Tail(site.journal)
        inventory, enter = ROOT / "inventories" / "local", []
        self._door: Door | None = None
        if remote is not None:
            self._door = remote.door(site.on_host())
            inventory, enter = self._door.inventory(inventory), remote.cable.enter()
        command = [*enter, str(PLAYBOOK), "-i", str(inventory)]
        command += [f"immutable.cutover.{playbook}", "-e", f"@{release.spec}", *options]
        # Each task is named when it begins, not only when it has a result.
        variables = environment(site.sample.engine) | {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=variables | site.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own, as a terminal gives it; whoever started us may ignore SIGINT.
                start_new_session=True,
                preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no thread of ours holds a lock here
            )

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def rows(self) -> list[dict[str, Any]]:
        """Return what it has journalled."""
        return [row for row in self._tail.rows() if row["epoch"] > self.before]

    @property
    def pid(self) -> int:
        """The controller, which leads its process group."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the controller has ended."""
        return self._process.poll() is not None

    def tree(self) -> list[Process]:
        """Return its processes, those on the target last."""
        return [*tree(self._process.pid), *(self._door.tree() if self._door else [])]

    def module(self) -> Process | None:
        """Return the process that works on the target, if one does now."""
        working = self.working()
        return working[-1] if working else None

    def working(self) -> list[Process]:
        """Return what works on the target now, nearest first."""
        if self._door is not None:
            return self._door.working()
        return [process for process in self.tree() if process.depth >= MODULE_DEPTH]

    def sessions(self) -> list[Process]:
        """Return what holds its connections on the target; nothing where it needs none."""
        return self._door.sessions() if self._door else []

    def until(self, holds: Callable[[Playing], object], seconds: float = 240.0) -> None:
        """Wait for a moment of this run; it must not end before."""
        deadline = time.monotonic() + seconds
        while not holds(self):
            ended = self._process.poll()
            if ended is not None and holds(self):
                return
            if ended is not None:
                raise NotReached(f"ended with {ended} before the moment came:\n{self.said}")
            if time.monotonic() >= deadline:
                raise NotReached(f"the moment did not come within {seconds:g} s:\n{self.said}")
            time.sleep(0.002)

    def kill(self, deepest: int) -> None:
        """SIGKILL the controller and, down to that depth, what is below it."""
        self.last_words = self.tree()
        for process in self.last_words:
            if process.depth <= deepest:
                process.send(signal.SIGKILL)
        self._process.wait()

    def kill_module(self) -> None:
        """SIGKILL only what works on the target."""
        module = self.module()
        if module is None:
            raise NotReached(f"no module runs:\n{self.said}")
        module.send(signal.SIGKILL)

    def pause(self) -> list[Process]:
        """SIGSTOP everything, controller and module, outside of any step."""
        with self.site.between_steps():
            return self.stop_all()

    def stop_all(self) -> list[Process]:
        """SIGSTOP everything, wherever it is."""
        stopped = self.tree()
        for process in stopped:
            process.stop()
        return stopped

    def orphans_end(self, seconds: float = 30.0) -> None:
        """Wait until nothing of it is left: what a dead run started must not live on."""
        eventually(lambda: not any(process.alive for process in self.last_words), seconds)

    def end(self, seconds: float = 240.0) -> Ended:
        """Wait for its end."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not over within {seconds:g} s:\n{self.said}") from None
        return Ended(code, self.said)

    def stop(self) -> None:
        """Leave no process behind, whatever the test did."""
        for process in [*self.last_words, *(self.tree() if self._process.poll() is None else [])]:
            process.send(signal.SIGKILL)
        self._process.wait()
        if self._door is not None:
            self._door.close()


class Site:
    """HAProxy, state folder and app of these tests, under names of their own."""

    def __init__(self, sample: Sample, state: Path) -> None:
        self.sample = sample
        self.app = sample.name
        self.state = state
        self.environment: dict[str, str] = {}
        """What the playbooks find in their environment besides the usual."""
        self.folder = state / "logs"
        self._count = 0
        self._playing: list[Playing] = []
        self.folder.mkdir(parents=True)
        state.chmod(0o700)
        self.secret = state / "secret"
        self.secret.write_text("postgresql://shop:correct-horse@db.internal/shop")

    @property
    def journal(self) -> Path:
        """The app's journal."""
        return self.app_folder / "journal.jsonl"

    @property
    def app_folder(self) -> Path:
        """The app's own folder on the host."""
        return self.state / "apps" / self.app

    @property
    def config(self) -> Path:
        """The file that HAProxy reads when it starts."""
        return Path("/etc/immutable-cutover") / self.sample.balancer / "haproxy.cfg"

    @property
    def socket(self) -> Path:
        """HAProxy's admin socket."""
        return Path("/run/immutable-cutover") / self.sample.balancer / "admin.sock"

    def lease(self) -> dict[str, Any]:
        """Return the lease file."""
        try:
            found: dict[str, Any] = json.loads((self.app_folder / "lease.json").read_text())
        except FileNotFoundError:
            return {"epoch": 0, "holder": None}
        return found

    def release(
        self, *, surge: int = 1, secret: bool = False, delay: float = 0.3, **more: Any
    ) -> Release:
        """Make a release that was never deployed: another greeting, the other image."""
        self._count += 1
        mark, version = f"release-{self._count}", VERSIONS[self._count % 2]
        variables = self.sample.spec(version, replicas=REPLICAS, release_state_dir=str(self.state))
        # By image ID: the records that know manifest digests are in the default state folder.
        image_id = images()[f"shop/web:{version}"]["image_id"]
        variables["release_image"] = f"shop/web@{image_id}"
        web = variables["release_processes"]["web"]
        web["readiness"] |= {"interval": 1, "successes": 1, "timeout": 60}
        env = {"STARTUP_DELAY": str(delay), "ACCESS_LOG": "0", "GREETING": mark}
        if secret:
            env["DATABASE_URL_FILE"] = "/run/secrets/DATABASE_URL"
            variables["release_secrets"] = {"DATABASE_URL": {"file": str(self.secret)}}
        variables |= {"release_env": env, "release_strategy": {"max_surge": surge}}
        # Enough are kept that no image is pruned.
        variables |= {"release_retain": 50, **more}
        path = self.folder / f"{mark}.yml"
        path.write_text(json.dumps(variables))
        return Release(mark, version, path)

    def start(
        self, playbook: str, release: Release, *options: str, remote: Remote | None = None
    ) -> Playing:
        """Start a playbook, on this machine or on a controller that reaches it by ssh alone."""
        self._playing.append(Playing(self, playbook, release, options, remote))
        return self._playing[-1]

    def on_host(self) -> dict[str, str]:
        """Return what a module finds in its environment on the host, whoever the controller is."""
        engine = {"DOCKER_HOST": self.sample.engine} if self.sample.engine else {}
        usual = {name: environment()[name] for name in (BYTECODE, "PYTHONDONTWRITEBYTECODE")}
        return {**usual, **engine, **self.environment}

    def play(self, playbook: str, release: Release, *options: str) -> Ended:
        """Run a playbook to its end."""
        return self.start(playbook, release, *options).end()

    def docker(self, *words: str) -> str:
        """Run a docker command on the engine of this site."""
        return subprocess.run(
            ["docker", *words],
            env=environment(self.sample.engine),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def deploy(self, release: Release) -> Release:
        """Deploy, and expect it to work."""
        ended = self.play("replace", release)
        assert ended.code == 0, ended.text
        return release

    def tidy(self) -> None:
        """End what a failed test left running."""
        for playing in self._playing:
            playing.stop()
        self._playing.clear()

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """Hold the lock that every step holds while it changes something."""
        with held(self.app_folder / "lock"):
            yield

    @contextlib.contextmanager
    def no_persisting(self) -> Iterator[None]:
        """Hold the lock under which haproxy.cfg is rewritten."""
        with held(self.config.with_name(f".{self.config.name}.lock")):
            yield

    def clean(self) -> None:
        """Remove everything under these names."""
        self.tidy()
        self.remove_containers()
        shutil.rmtree(self.state, ignore_errors=True)

    def remove_containers(self) -> None:
        """Take away every container of the app, as nobody should."""
        found = self.docker("ps", "-aq", "--filter", f"label=immutable.cutover.app={self.app}")
        if found.split():
            self.docker("rm", "-f", *found.split())


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file, as another process of the collection would."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def own_site(name: str, **backend: object) -> Iterator[Site]:
    """A site for the tests of one file, under names of this checkout and its own, and nothing left of it afterwards.

    The images are baked and HAProxy is started by the collection's own roles unless they are there. They get tags of
    the site's own: another checkout's bake takes the usual ones.
    """
    sample = Sample(f"{name}-{checkout()}", ROOT / "build" / name, free_port())
    options = {"name": "shop", "bind": f"127.0.0.1:{sample.port}", **backend}
    sample.prepare("-e", json.dumps({"load_balancer_backends": [options]}))
    kept = [f"{sample.name}/web:{version}" for version in VERSIONS]
    for version, tag in zip(VERSIONS, kept, strict=True):
        image = images()[f"shop/web:{version}"]["image_id"]
        subprocess.run(["docker", "tag", image, tag], check=True)
    state = Path(f"/var/lib/immutable-cutover-test-{sample.name}")
    shutil.rmtree(state, ignore_errors=True)
    made = Site(sample, state)
    try:
        yield made
    finally:
        made.clean()
        sample.prepare("-e", "load_balancer_state=absent")
        subprocess.run(["docker", "network", "rm", sample.network], check=False)
        subprocess.run(["docker", "rmi", "--no-prune", *kept], check=False)
