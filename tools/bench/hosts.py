# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`hosts_50`: does a replace of 50 hosts cost five times what one of 10 hosts costs?

The hosts are names of this machine in an inventory of their own, each with its app, its state folder and its backend;
they share the machine, its engine and one HAProxy. The same playbook goes over 10, 25 and 50 of them by `--limit`, in
batches of 5, from one version to the other and back, 10 before and after the others, and the figure is the wall time
per host at 50 over that at 10. On a machine that has something else to do, the same ratio of processor time tells more.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from docker import APIClient

from tools.bench.process import CommandFailed, Measured, measure
from tools.bench.site import FOLDER, NAME, NEW, OLD, ROOT, settle
from tools.loadgen import Load
from tools.made import note_run
from tools.sample import COLLECTION, PLAYBOOK, Sample, environment, images

COUNTS = (10, 25, 50, 10)
BATCH = 5
TARGET = 1.2
RATE = 40.0
"""Requests per second, on the first of the hosts: those are replaced in every run."""


class Hosts:
    """Many hosts of one site, and a run of the playbook over some of them."""

    def __init__(self, site: Sample, count: int) -> None:
        self._site = site
        self._folder = FOLDER / "hosts"
        self._inventory = self._folder / "hosts.yml"
        self._docker = APIClient(version="1.41")
        self._names = [f"h{number:02}" for number in range(1, count + 1)]

    @property
    def url(self) -> str:
        """Where clients reach the app of the first host."""
        return f"http://127.0.0.1:{self._port(0)}"

    def prepare(self) -> None:
        """Give each host a backend and deploy the old version on all of them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        note_run(f"{NAME}-hosts")
        backends = [
            {"name": name, "bind": f"127.0.0.1:{self._port(index)}"}
            for index, name in enumerate(self._names)
        ]
        self._site.prepare("-e", json.dumps({"load_balancer_backends": backends}))
        hosts = {name: self._host(name) for name in self._names}
        self._inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
        self.replace(OLD, len(self._names))

    def replace(self, version: str, count: int) -> Measured:
        """Replace what runs on the first C(count) hosts."""
        command: Sequence[str] = (
            *(str(PLAYBOOK), "-i", str(self._inventory), f"{COLLECTION}.replace"),
            *("-e", f"@{self._spec(version)}", "-e", f"cutover_serial={BATCH}"),
            *("--limit", ":".join(self._names[:count])),
        )
        return measure(command, cwd=ROOT, environment=environment())

    def running(self, version: str) -> int:
        """Return how many hosts run this version and nothing else."""
        found: dict[str, set[str]] = {}
        for row in self._replicas():
            labels = row["Labels"]
            found.setdefault(labels[f"{COLLECTION}.app"], set()).add(
                labels[f"{COLLECTION}.version"]
            )
        return sum(versions == {version} for versions in found.values())

    def remove(self) -> None:
        """Remove every replica and what was remembered of it."""
        for row in self._replicas():
            self._docker.remove_container(row["Id"], v=True, force=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _port(self, index: int) -> int:
        return self._site.port + index

    def _replicas(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._docker.containers(
            all=True, filters={"label": f"{COLLECTION}.app"}
        )
        apps = {f"{NAME}-hosts-{name}" for name in self._names}
        return [row for row in rows if row["Labels"][f"{COLLECTION}.app"] in apps]

    def _host(self, name: str) -> Mapping[str, object]:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "release_app": f"{NAME}-hosts-{name}",
            "release_state_dir": str(self._folder / name),
            "release_load_balancers": [{"name": self._site.balancer, "backend": name}],
        }

    def _spec(self, version: str) -> Path:
        """Write what all hosts have in common; extra variables would hide what each has of its own."""
        spec = self._site.spec(version, replicas=1)
        for own in ("release_app", "release_load_balancers"):
            del spec[own]
        # By image ID: the records that know manifest digests are in the default state folder.
        image = images()[f"shop/web:{version}"]
        spec["release_image"] = f"shop/web@{image['image_id']}"
        spec["release_processes"]["web"]["readiness"] |= {"interval": 1, "successes": 1}
        path = self._folder / f"{version}.yml"
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        return path


def measure_hosts(site: Sample) -> dict[str, float | int]:
    """Measure every count; a lost request fails."""
    hosts = Hosts(site, max(COUNTS))
    runs: list[tuple[int, Measured]] = []
    try:
        hosts.prepare()
        with Load(hosts.url, rate=RATE, out=FOLDER / "load") as load:
            for count, version in zip(COUNTS, (NEW, OLD, NEW, OLD), strict=True):
                print(f"hosts: {count}", file=sys.stderr, flush=True)
                settle()
                runs.append((count, hosts.replace(version, count)))
                if hosts.running(version) < count:
                    raise CommandFailed(f"not all {count} hosts run {version}")
            settle()
            books = load.stop()
    finally:
        hosts.remove()
    return summarise(runs) | {
        "hosts_50_requests": books.planned,
        "hosts_50_failed_requests": books.failed + books.planned - books.accounted,
    }


def summarise(runs: Sequence[tuple[int, Measured]]) -> dict[str, float | int]:
    """Return the figures, and print them."""
    few, many = min(count for count, _run in runs), max(count for count, _run in runs)
    wall = {count: _per_host(runs, count, "seconds") for count, _run in runs}
    used = {count: _per_host(runs, count, "processor") for count, _run in runs}
    result: dict[str, float | int] = {
        "hosts_50": round(wall[many] / wall[few], 2),
        "hosts_50_processor": round(used[many] / used[few], 2),
        "hosts_50_load_average": round(os.getloadavg()[0], 1),
    }
    print(
        f"hosts_50: {result['hosts_50']:.2f} (target: at most {TARGET:g}; 1 is linear); "
        f"of processor time {result['hosts_50_processor']:.2f}"
    )
    for count in wall:
        result[f"hosts_{count}_seconds_per_host"] = round(wall[count], 2)
        print(
            f"  {count} hosts: {wall[count]:.2f} s per host, {used[count]:.2f} s of processor time",
            flush=True,
        )
    return result


def _per_host(runs: Sequence[tuple[int, Measured]], count: int, what: str) -> float:
    """Return the mean over the runs of that many hosts."""
    found = [float(getattr(run, what)) for number, run in runs if number == count]
    return statistics.mean(found) / count
