# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Several hosts for tests: names of this machine, each with its own app, state folder, network and address.

The engine is one, so the apps have different names; what the load balancers' hosts see is as if there were several.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.loadgen import OK, Load
from tools.made import note_run
from tools.sample import PLAYBOOK, ROOT, Sample, environment, free_port, images

REPLICAS = 2
LOCAL = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
}
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


CHECKOUT = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
"""Two checkouts can be tested at a time on one machine."""
OLD, NEW = "1.0.0", "1.1.0"
LOAD = ("--slow", "1-2", "--timeout", "60", "--connect-timeout", "30")


@contextmanager
def two_backends(name: str, **more: Any) -> Iterator[Sample]:
    """Make images, and HAProxy with the backends shop and shop2; C(more): options of both."""
    made = Sample(f"{name}-{CHECKOUT}", ROOT / "build" / name, free_port())
    note_run(made.name)
    ports = {"shop": made.port, "shop2": free_port()}
    backends = [{"name": name, "bind": f"127.0.0.1:{port}", **more} for name, port in ports.items()]
    made.prepare("-e", json.dumps({"load_balancer_backends": backends}))
    # Under tags of its own no other checkout's bake takes the images away in between.
    kept = [f"{made.name}/web:{version}" for version in (OLD, NEW)]
    for version, tag in zip((OLD, NEW), kept, strict=True):
        image = images()[f"shop/web:{version}"]["image_id"]
        subprocess.run(["docker", "tag", image, tag], check=True)
    try:
        yield made
    finally:
        made.prepare("-e", "load_balancer_state=absent")
        subprocess.run(["docker", "network", "rm", made.network], check=False)
        subprocess.run(["docker", "rmi", "--no-prune", *kept], check=False)


class Clients:
    """Load on every backend, from before to after a test's cutovers."""

    def __init__(self, urls: list[str], folder: Path) -> None:
        self._loads = [
            Load(url, rate=40, out=folder / str(number), options=LOAD)
            for number, url in enumerate(urls)
        ]

    def __enter__(self) -> Clients:
        for load in self._loads:
            load.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        for load in self._loads:
            load.__exit__(*failure)

    def lost(self) -> list[str]:
        """Return every request that failed; end the load."""
        found: list[str] = []
        for load in self._loads:
            books = load.stop()
            assert books.planned > 0
            found += [
                f"{row.kind} {row.planned:.3f} {row.outcome} {row.detail}"
                for row in books.rows()
                if row.outcome != OK
            ]
            found += ["unaccounted"] * (books.planned - books.accounted)
        return found


def until(holds: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass(frozen=True)
class Ended:
    """How a playbook ended."""

    code: int
    text: str

    def changed(self, host: str) -> int:
        """Return the number of changed tasks of a host in the recap."""
        found = re.findall(rf"^{host} +: .*changed=(\d+)", self.text, re.MULTILINE)
        return int(found[-1])


class Fleet:
    """Hosts C(b1), C(b2) with replicas, and C(lb1) with the load balancer that C(sample) runs."""

    def __init__(self, sample: Sample, folder: Path, members: Sequence[str] = ("b1", "b2")) -> None:
        self.sample = sample
        self.members = tuple(members)
        self.folder = folder
        self.hosts: dict[str, dict[str, Any]] = {"lb1": dict(LOCAL)}
        self.balancers: list[dict[str, Any]] = [
            {"name": sample.balancer, "backend": "shop", "host": "lb1"}
        ]
        self.common: dict[str, Any] = {}
        for member in members:
            self._network(member)
            self.hosts[member] = {
                **LOCAL,
                "release_app": self.app(member),
                "release_network": self.network(member),
                "release_fleet": {
                    "member": member,
                    "address": self._gateway(member),
                    "ports": self._ports(member),
                },
            }

    def put_behind_another(self) -> Path:
        """Have a second load balancer, on C(lb2): the other backend, by a name for the socket that it returns."""
        other = self.folder / "other.sock"
        other.symlink_to(self.socket)
        self.hosts["lb2"] = dict(LOCAL)
        self.balancers.append({"backend": "shop2", "host": "lb2", "socket": str(other)})
        return other

    def app(self, member: str) -> str:
        """Name the app of a host."""
        return f"{self.sample.name}-{member}"

    def network(self, member: str) -> str:
        """Name the network of a host."""
        return f"{self.sample.name}-{member}-net"

    @property
    def state(self) -> Path:
        """The one state folder: it has files for each app, and those of the load balancer's host beside them."""
        return self.folder / "state"

    def play(self, playbook: str, version: str, *options: str, **more: Any) -> Ended:
        """Run a playbook to its end."""
        process = self.start(playbook, version, *options, **more)
        text, _none = process.communicate(timeout=300)
        return Ended(process.returncode, text)

    def start(
        self, playbook: str, version: str, *options: str, **more: Any
    ) -> subprocess.Popen[str]:
        """Start a playbook on the app's hosts; the load balancer's is reached by delegation alone."""
        inventory = self.folder / "hosts.yml"
        children = {"app": {"hosts": dict.fromkeys(self.members)}}
        text = yaml.safe_dump({"all": {"hosts": self.hosts, "children": children}})
        inventory.write_text(text, encoding="utf-8")
        spec = self.folder / f"{version}-{len(list(self.folder.glob('*.json')))}.json"
        spec.write_text(json.dumps(self._spec(version, more)), encoding="utf-8")
        command = [str(PLAYBOOK), "-i", str(inventory), f"immutable.cutover.{playbook}"]
        return subprocess.Popen(
            [*command, "-e", f"@{spec}", "-e", "cutover_hosts=app", *options],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def socket(self) -> Path:
        """HAProxy's admin socket."""
        return Path("/run/immutable-cutover") / self.sample.balancer / "admin.sock"

    def targets(self, backend: str = "shop") -> dict[str, str]:
        """Return the status of every server that HAProxy has, as a stranger sees it."""
        return {row["svname"]: row["status"] for row in self._stat(backend)}

    def weights(self, backend: str = "shop") -> dict[str, int]:
        """Return the weight of every server that HAProxy has."""
        return {row["svname"]: int(row["weight"]) for row in self._stat(backend)}

    def _stat(self, backend: str) -> list[dict[str, str]]:
        lines = self._ask(f"show stat {backend} 4 -1").strip().splitlines()
        return list(csv.DictReader([lines[0].removeprefix("# "), *lines[1:]]))

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\n".encode())
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks).decode()

    def replicas(self, member: str) -> dict[str, str]:
        """Return the version of every container of a host that runs, by name."""
        label = f"label=immutable.cutover.app={self.app(member)}"
        form = '{{.Names}}\t{{.Label "immutable.cutover.version"}}'
        command = ["docker", "ps", "--filter", label, "--format", form]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return dict(line.split("\t") for line in found.splitlines())

    def converged(self, version: str) -> None:
        """Assert that this version alone runs on every host, and that all of it serves."""
        names: set[str] = set()
        for member in self.members:
            found = self.replicas(member)
            assert sorted(found.values()) == [version] * REPLICAS, found
            names |= set(found)
            lease = json.loads((self.state / "apps" / self.app(member) / "lease.json").read_text())
            assert lease["holder"] is None
        for balancer in self.balancers:
            assert self.targets(balancer["backend"]) == dict.fromkeys(names, "UP")

    def steps(self, member: str, step: str, outcome: str = "ok") -> list[float]:
        """Return when steps of this kind ended so on a host, and at load balancers for it."""
        journal = self.state / "apps" / self.app(member) / "journal.jsonl"
        rows = [json.loads(line) for line in journal.read_text().splitlines()]
        return [row["time"] for row in rows if (row["step"], row["outcome"]) == (step, outcome)]

    def clean(self) -> None:
        """Remove everything of these hosts, and what HAProxy still knows of them."""
        for member in self.members:
            label = f"label=immutable.cutover.app={self.app(member)}"
            command = ["docker", "ps", "-aq", "--filter", label]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if found.split():
                subprocess.run(
                    ["docker", "rm", "-f", *found.split()], check=True, stdout=subprocess.DEVNULL
                )
            subprocess.run(["docker", "network", "rm", self.network(member)], check=False)
        for backend in ("shop", "shop2"):
            for server in self.targets(backend):
                name = f"{backend}/{server}"
                self._ask(f"set server {name} state maint; del server {name}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _network(self, member: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["docker", "network", "create", self.network(member)],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _gateway(self, member: str) -> str:
        """Return an address of this machine that is that host's own."""
        form = "{{(index .IPAM.Config 0).Gateway}}"
        command = ["docker", "network", "inspect", "--format", form, self.network(member)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def _ports(self, member: str) -> str:
        low = 21000 + 100 * self.members.index(member)
        return f"{low}-{low + 99}"

    def _spec(self, version: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """Return what all hosts have in common; extra variables would hide what each has of its own."""
        spec = self.sample.spec(version, replicas=REPLICAS)
        for own in ("release_app", "release_network"):
            del spec[own]
        image_id = images()[f"shop/web:{version}"]["image_id"]
        web = spec["release_processes"]["web"]
        web["readiness"] |= {"interval": 1, "successes": 1, "timeout": 90}
        return {
            **spec,
            "release_image": f"shop/web@{image_id}",
            "release_env": {"STARTUP_DELAY": "0.3", "ACCESS_LOG": "0"},
            "release_load_balancers": self.balancers,
            "release_state_dir": str(self.state),
            "release_retain": 50,
            **self.common,
            **more,
        }
