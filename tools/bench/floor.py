# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The floor: a raw script that replaces containers with the Docker API and HAProxy's socket, and nothing else.

Usage: floor.py JOB.json. It takes the same safe order as the collection, because an order that loses requests is no
floor: readiness, standby, the balancer's own health check, active; then drain, three zeros in a row, delete, stop,
remove. What it leaves out is what the collection adds: no plan, no validation, no lease, no fencing, no journal,
nothing persisted, nothing taken up again after a crash.
"""

from __future__ import annotations

import csv
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from docker import APIClient

CHECK = "check inter 1s fastinter 100ms downinter 100ms rise 1 fall 3"
POLL = 0.05
SAMPLES, SAMPLE_INTERVAL = 3, 0.1


class FloorFailed(Exception):
    """The engine or the balancer did not do what it was told."""


@dataclass(frozen=True)
class Job:
    """What is replaced by what: pairs of an old name and the new name and body that takes its place."""

    socket: str
    backend: str
    port: int
    ready_path: str
    grace: int
    surge: int
    pairs: tuple[tuple[str, str, dict[str, Any]], ...]


class Floor:
    """One run of the script."""

    check = CHECK
    serving = "UP"
    """How HAProxy shows a server that has traffic."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._local = threading.local()
        self._one_at_a_time = threading.Lock()  # HAProxy's socket has a short queue

    def run(self) -> None:
        """Bring up as many at once as may be, and retire an old one as soon as a new one serves."""
        with ThreadPoolExecutor(32) as retirers, ThreadPoolExecutor(self._job.surge) as starters:

            def one(old: str, name: str, body: dict[str, Any]) -> Future[None]:
                self._bring_up(name, body)
                return retirers.submit(self._retire, old)

            ups = [starters.submit(one, *pair) for pair in self._job.pairs]
            for up in ups:
                up.result().result()

    def _bring_up(self, name: str, body: dict[str, Any]) -> None:
        client = self._client()
        identity = client.create_container_from_config(body, name)["Id"]
        client.start(identity)
        networks = client.inspect_container(identity)["NetworkSettings"]["Networks"]
        address = next(iter(networks.values()))["IPAddress"]
        self._await_ready(address, name)
        path = f"{self._job.backend}/{name}"
        self._ask(f"add server {path} {address}:{self._job.port} {self.check}")
        self._ask(f"enable health {path}")
        self._ask(f"set server {path} state drain")
        self._await_healthy(name)
        self._ask(f"set server {path} state ready")
        _wait(lambda: self._stat(name)["status"] == self.serving, f"{name} active")

    def _await_ready(self, address: str, name: str) -> None:
        _wait(lambda: self._is_ready(address), f"{name} ready")

    def _await_healthy(self, name: str) -> None:
        _wait(lambda: self._stat(name)["check_status"] in ("L7OK", "L4OK"), f"{name} healthy")

    def _retire(self, name: str) -> None:
        path = f"{self._job.backend}/{name}"
        self._ask(f"set server {path} state drain")
        _wait(lambda: self._stat(name)["status"].startswith("DRAIN"), f"{name} draining")
        zeros = 0
        while zeros < SAMPLES:
            row = self._stat(name)
            zeros = zeros + 1 if int(row["scur"]) + int(row["qcur"]) == 0 else 0
            if zeros < SAMPLES:
                time.sleep(SAMPLE_INTERVAL)
        self._forget(name)
        client = self._client()
        client.stop(name, timeout=self._job.grace)
        client.remove_container(name, v=True)

    def _forget(self, name: str) -> None:
        path = f"{self._job.backend}/{name}"
        self._ask(f"set server {path} state maint")
        answer = ""

        def deleted() -> bool:
            nonlocal answer
            answer = self._ask(f"del server {path}")
            return "deleted" in answer

        try:
            _wait(deleted, f"{name} deleted", 5.0)
        except FloorFailed as failure:
            raise FloorFailed(f"{failure}: {answer}") from None

    def _is_ready(self, address: str) -> bool:
        connection = http.client.HTTPConnection(address, self._job.port, timeout=2)
        try:
            connection.request("GET", self._job.ready_path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _client(self) -> APIClient:
        if not hasattr(self._local, "client"):
            self._local.client = APIClient(version="1.41")
        return self._local.client

    def _stat(self, name: str) -> dict[str, str]:
        text = self._ask(f"show stat {self._job.backend} 4 -1").removeprefix("# ")
        for row in csv.DictReader(text.splitlines()):
            if row["svname"] == name:
                return row
        raise FloorFailed(f"{name} is not in the balancer")

    def _ask(self, command: str) -> str:
        with self._one_at_a_time, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(self._job.socket)
            connection.sendall(command.encode() + b"\n")
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks).decode()


def _wait(holds: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise FloorFailed(f"not within {timeout:g} s: {what}")
        time.sleep(POLL)


def main() -> int:
    """Replace what the job file names."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        data = json.load(stream)
    Floor(Job(**{**data, "pairs": tuple(tuple(pair) for pair in data["pairs"])})).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
