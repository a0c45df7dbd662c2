# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The sample site: baked images, a load balancer, and app specs for them, all through the collection itself."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml

ROOT = Path(__file__).resolve().parent.parent
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
PLAYS = ROOT / "tools" / "plays"
BAKED = ROOT / "build" / "sample"
IMAGES = BAKED / "images.json"
COLLECTION = "immutable.cutover"
BYTECODE = "IMMUTABLE_CUTOVER_BYTECODE"
"""Where modules keep their bytecode: inside the repository, so that `make clean` finds it."""
SAMPLE_TAGS = (
    "base/py311:1.0.0",
    "cutover/haproxy:1.0.0",
    "shop/web:1.0.0",
    "shop/web:1.1.0",
)
BAKED_FROM = "immutable.cutover.recipe-hash"
"""The label of every image that the collection has baked."""


class SampleFailed(Exception):
    """A playbook ended red, or there is something in the way that is not ours."""


@dataclass(frozen=True)
class Sample:
    """A sample site by name, everything it writes below C(folder); names on the engine begin with C(name)."""

    name: str
    folder: Path
    port: int
    engine: str = ""
    """Where the site's engine listens (C(unix:///...)); empty: where every engine does."""

    @property
    def url(self) -> str:
        """Where clients reach the app."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        """The state folder the collection uses on this host."""
        return Path("/var/lib/immutable-cutover")

    @property
    def journal(self) -> Path:
        """The app's journal on this host."""
        return self.state / "apps" / self.name / "journal.jsonl"

    @property
    def balancer(self) -> str:
        """The load balancer's container."""
        return f"{self.name}-lb"

    @property
    def network(self) -> str:
        """The network of the load balancer and the replicas."""
        return f"{self.name}-net"

    def prepare(self, *options: str) -> None:
        """Bake the images and run the load balancer; unchanged when it was done before."""
        images = bake()
        self.folder.mkdir(parents=True, exist_ok=True)
        variables = {
            "cutover_hosts": "local",
            "load_balancer_name": self.balancer,
            "load_balancer_network": self.network,
            "load_balancer_image": images["cutover/haproxy"]["image_id"],
            "load_balancer_backends": [{"name": "shop", "bind": f"127.0.0.1:{self.port}"}],
        }
        if self.engine:
            variables["load_balancer_engine"] = {"host": self.engine}
        words = ("-e", json.dumps(variables), *options)
        ansible(f"{COLLECTION}.load_balancer", *words, engine=self.engine)

    def spec(self, version: str, *, replicas: int = 4, **more: Any) -> dict[str, Any]:
        """Return the variables of a release of the sample app; C(more) replaces whole variables."""
        return {
            "release_app": self.name,
            "release_image": images()[f"shop/web:{version}"]["reference"],
            "release_version": version,
            "release_network": self.network,
            "release_env": {"STARTUP_DELAY": "1", "ACCESS_LOG": "0"},
            "release_processes": {
                "web": {
                    "replicas": replicas,
                    "port": 8080,
                    "readiness": {"path": "/readyz", "expect": "status == 'ok'", "timeout": 30},
                    "drain": {"timeout": 30, "longest_request": 5},
                    "stop": {"grace_period": 10},
                    "resources": {"memory": "128m", "cpus": 1, "pids": 64},
                }
            },
            "release_load_balancers": [{"name": self.balancer, "backend": "shop"}],
            **({"release_engine": {"host": self.engine}} if self.engine else {}),
            **more,
        }

    def write(self, name: str, variables: Mapping[str, Any]) -> Path:
        """Leave variables as a file a person can read and run a playbook with."""
        path = self.folder / name
        path.write_text(
            "---\n" + yaml.safe_dump(dict(variables), sort_keys=False), encoding="utf-8"
        )
        return path

    def run(self, playbook: str, spec: Path, *options: str) -> None:
        """Run one of the collection's playbooks with a spec, showing what it prints."""
        ansible(f"{COLLECTION}.{playbook}", "-e", f"@{spec}", *options, engine=self.engine)


def images() -> Mapping[str, Any]:
    """Return what was baked, by name and by name:version."""
    found: Mapping[str, Any] = json.loads(IMAGES.read_text(encoding="utf-8"))
    return found


@functools.cache
def bake() -> Mapping[str, Any]:
    """Bake the sample images once for the demo, the bench and the tests of this checkout; one process looks once.

    With SAMPLE_AS_IS in the environment what was baked before is taken as it is.
    """
    BAKED.mkdir(parents=True, exist_ok=True)
    with open(BAKED / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.environ.get("SAMPLE_AS_IS") and IMAGES.exists():
            return images()
        if not IMAGES.exists():
            with contextlib.closing(docker.APIClient()) as client:
                drop_sample_tags(client)
        variables = {
            "sample_dir": str(BAKED),
            "sample_store": str(ROOT / ".cache" / "store"),
            "sample_context": str(ROOT / "examples" / "shop"),
        }
        ansible(str(PLAYS / "bake_sample.yml"), "-e", json.dumps(variables))
    return images()


def ansible(playbook: str, *options: str, engine: str = "") -> None:
    """Run ansible-playbook on this machine's inventory; raises SampleFailed when it ends red."""
    command = [str(PLAYBOOK), "-i", str(ROOT / "inventories" / "local"), playbook, *options]
    code = subprocess.run(command, cwd=ROOT, env=environment(engine), check=False).returncode
    if code != 0:
        raise SampleFailed(f"{playbook} ended with {code}; its last message above says why")


def environment(engine: str = "") -> dict[str, str]:
    """Return the environment of every ansible command of the tools, also when they are not run by make.

    With C(engine) what takes the engine from its environment finds that one.
    """
    chosen = {"DOCKER_HOST": engine} if engine else {}
    return (
        os.environ
        | chosen
        | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(ROOT / ".ansible" / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "PYTHONDONTWRITEBYTECODE": "1",
            BYTECODE: str(ROOT / ".cache" / "bytecode"),
        }
    )


def drop_sample_tags(client: docker.APIClient) -> None:
    """Take the sample images' tags from another checkout's bake, which may have had other inputs.

    A version never changes, so the bake would refuse them. What runs from them runs by ID and stays. A tag on something
    that the collection has not baked is somebody's, and nothing is removed then.
    """
    found = {
        tag: image.get("Labels") or {}
        for image in client.images()
        for tag in image["RepoTags"] or []
        if tag in SAMPLE_TAGS
    }
    for tag, labels in sorted(found.items()):
        if not labels.get(BAKED_FROM):
            raise SampleFailed(
                f"{tag}: the engine has an image of this name that this collection has not baked, "
                "and the sample is baked under it; give that image another tag"
            )
    for tag in sorted(found):
        client.remove_image(tag, force=True, noprune=True)


def rows(journal: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a journal, without a torn last line."""
    if not journal.exists():
        return
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def ago(when: float) -> str:
    """Say how long ago that was."""
    minutes = (time.time() - when) / 60
    return f"{minutes:.0f} min ago" if minutes < 120 else f"{minutes / 60:.0f} h ago"


def free_port() -> int:
    """Return a port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
