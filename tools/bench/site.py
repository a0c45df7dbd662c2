# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The site the bench works on: one app behind one load balancer, replaced by either contestant in turn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docker import APIClient

from tools.bench.process import CommandFailed, Measured, measure
from tools.sample import COLLECTION, PLAYBOOK, PLAYS, ROOT, Sample, environment, rows

NAME = "cutover-bench"
FOLDER = ROOT / "build" / "bench"
OLD, NEW = "1.0.0", "1.1.0"
INVENTORY = ROOT / "inventories" / "local"
BALANCER_PICKS_UP = 1.0
BACKEND, PORT, READY_PATH, GRACE = "shop", 8080, "/readyz", 10


class Site:
    """An app, load balancer, network and folder of their own."""

    def __init__(self, port: int, name: str = NAME, folder: Path = FOLDER) -> None:
        self.sample = Sample(name, folder, port)
        self._docker = APIClient(version="1.41")
        self._bodies: dict[tuple[str, int], tuple[str, dict[str, Any]]] = {}

    def scale(self, replicas: int, strategy: Mapping[str, object]) -> None:
        """Write the specs, deploy both versions once, and note what a replica of each is made of."""
        self.write_specs(replicas, strategy)
        for version in (OLD, NEW):
            self.replace(version)
            self._note_bodies(version, replicas)

    def write_specs(self, replicas: int, strategy: Mapping[str, object]) -> None:
        """Write the specs of both versions."""
        for version in (OLD, NEW):
            spec = self.sample.spec(version, replicas=replicas, release_strategy=dict(strategy))
            spec["release_processes"]["web"]["readiness"] |= {"interval": 1, "successes": 1}
            self.sample.write(self._spec(version).name, spec)

    def replace(self, version: str) -> Measured:
        """Replace by a version with the collection."""
        spec = f"@{self._spec(version)}"
        return self._ansible(f"{COLLECTION}.replace", "-e", spec)

    def switch(self, version: str) -> None:
        """Switch to a version, and leave as soon as only what was replaced is left to be taken away later."""
        command = (str(PLAYBOOK), "-i", str(INVENTORY), f"{COLLECTION}.replace")
        with subprocess.Popen(
            (*command, "-e", f"@{self._spec(version)}"),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "is kept for" in line:
                    process.kill()
                    return
        raise CommandFailed("the switch did not come about:\n" + "".join(said))

    def rollback(self, version: str) -> Measured:
        """Go back from a version with the collection."""
        return self._ansible(f"{COLLECTION}.rollback", "-e", f"@{self._spec(version)}")

    def flip(self, version: str) -> tuple[Measured, float]:
        """Go back, and say after how many seconds no request went to that version any more."""
        began = time.time()
        run = self.rollback(version)
        drained = [
            row["time"]
            for row in rows(self.sample.journal)
            if (row["step"], row["outcome"]) == ("drain", "ok") and row["time"] > began
        ]
        if not drained:
            raise CommandFailed(f"nothing was drained:\n{run.output}")
        return run, max(drained) - began

    def bare(self) -> Measured:
        """Run the smallest playbook there is."""
        return self._ansible(str(PLAYS / "bare.yml"))

    def floor(
        self,
        old: str,
        new: str,
        replicas: int,
        surge: int,
        script: Sequence[str] = ("tools.bench.floor",),
    ) -> Measured:
        """Replace a version by another with the raw script, or with a naive one of its kind."""
        slots = range(1, replicas + 1)
        job = {
            "socket": f"/run/immutable-cutover/{self.sample.balancer}/admin.sock",
            "backend": BACKEND,
            "port": PORT,
            "ready_path": READY_PATH,
            "grace": GRACE,
            "surge": surge,
            "pairs": [[self._bodies[old, slot][0], *self._bodies[new, slot]] for slot in slots],
        }
        path = self.sample.folder / "floor-job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = (sys.executable, "-m", *script, str(path))
        return measure(command, cwd=ROOT, environment=environment())

    def running(self) -> set[str]:
        """Return the versions that run."""
        found = self._replicas(all=False)
        return {row["Labels"][f"{COLLECTION}.version"] for row in found}

    def clear(self) -> None:
        """Remove the app's replicas and what the host remembers of it; the images stay."""
        for row in self._replicas(all=True):
            self._docker.remove_container(row["Id"], v=True, force=True)
        shutil.rmtree(self.sample.state / "apps" / self.sample.name, ignore_errors=True)

    def remove(self) -> None:
        """Remove the load balancer and the network, too."""
        self.clear()
        absent = {
            "cutover_hosts": "local",
            "load_balancer_name": self.sample.balancer,
            "load_balancer_state": "absent",
        }
        self._ansible(f"{COLLECTION}.load_balancer", "-e", json.dumps(absent))
        for row in self._docker.networks(filters={"name": f"^{self.sample.network}$"}):
            self._docker.remove_network(row["Id"])

    def _replicas(self, *, all: bool) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._docker.containers(
            all=all, filters={"label": f"{COLLECTION}.app={self.sample.name}"}
        )
        return rows

    def _spec(self, version: str) -> Path:
        return self.sample.folder / f"bench-{version}.yml"

    def _note_bodies(self, version: str, replicas: int) -> None:
        """Read off the collection's own replicas how to create one, so that both create the same."""
        rows = [
            row
            for row in self._replicas(all=False)
            if row["Labels"][f"{COLLECTION}.version"] == version
        ]
        assert len(rows) == replicas, f"{len(rows)} of {replicas} replicas of {version} run"
        for row in rows:
            found = self._docker.inspect_container(row["Id"])
            slot = int(row["Labels"][f"{COLLECTION}.replica"])
            self._bodies[version, slot] = (found["Name"].lstrip("/"), _body(found))

    def _ansible(self, playbook: str, *options: str) -> Measured:
        command: Sequence[str] = (str(PLAYBOOK), "-i", str(INVENTORY), playbook, *options)
        return measure(command, cwd=ROOT, environment=environment())


def _body(found: Mapping[str, Any]) -> dict[str, Any]:
    """Turn an inspected container into what another one is created from; the engine chooses its address."""
    config = found["Config"]
    kept = {key: config[key] for key in ("Hostname", "Env", "Labels", "StopSignal", "Cmd")}
    networks: dict[str, dict[str, Any]] = {
        name: {} for name in found["NetworkSettings"]["Networks"]
    }
    return {
        **kept,
        "Image": found["Image"],
        "HostConfig": found["HostConfig"],
        "NetworkingConfig": {"EndpointsConfig": networks},
    }


def settle() -> None:
    """Leave the load a moment before and after what is measured."""
    time.sleep(BALANCER_PICKS_UP)
