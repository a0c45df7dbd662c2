# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The bench measures what it says: time and memory of a whole process tree, medians, and a floor that waits."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.bench.__main__ import Bench, Times
from tools.bench.figures import note
from tools.bench.floor import Floor, FloorFailed, Job
from tools.bench.hosts import summarise
from tools.bench.process import CommandFailed, Measured, measure


def python(code: str, cwd: Path) -> Measured:
    return measure([sys.executable, "-c", code], cwd=cwd, environment=os.environ)


def test_memory_of_children_counts(tmp_path: Path) -> None:
    child = "import time; held = bytearray(60 << 20); time.sleep(0.6)"
    found = python(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", tmp_path
    )
    assert found.peak_mib > 60
    assert found.seconds > 0.6


def test_a_command_that_ends_red_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="ended with 3:\nwhy"):
        python("print('why', flush=True); raise SystemExit(3)", tmp_path)


def test_the_ratio_is_of_medians() -> None:
    bench = Bench(site=None, rounds=None)  # type: ignore[arg-type]  # nothing of a site is used
    ours = Times([3.0, 2.8, 30.0], peak_mib=99.0)
    bench._note("noop", ours, Times([1.0, 1.1, 0.9]))
    assert bench.result["noop"] == 3.0
    assert bench.result["noop_best"] == 3.11
    assert bench.result["noop_rounds"] == 3
    assert bench.peak_mib == 99.0


def test_a_run_of_one_case_keeps_the_figures_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    note({"bake_app": 0.2, "replace_n4": 1.5}, path)
    note({"replace_n4": 1.3}, path)
    assert json.loads(path.read_text()) == {"bake_app": 0.2, "replace_n4": 1.3}
    note({"noop": 2.9}, path, whole=True)
    assert json.loads(path.read_text()) == {"noop": 2.9}


def test_the_cost_of_many_hosts_is_held_against_that_of_few() -> None:
    runs = [
        (10, Measured(30, 0, "", 10)),
        (25, Measured(100, 0, "", 25)),
        (50, Measured(300, 0, "", 55)),
        (10, Measured(50, 0, "", 10)),
    ]
    found = summarise(runs)
    assert (found["hosts_50"], found["hosts_50_processor"]) == (1.5, 1.1)
    assert (found["hosts_10_seconds_per_host"], found["hosts_25_seconds_per_host"]) == (4, 4)


HEADER = "# pxname,svname,qcur,scur,status,check_status,\n"


class Balancer:
    """HAProxy's socket, answering C(show stat) from a script and taking every other command."""

    def __init__(self, path: Path, in_flight: list[int]) -> None:
        self.commands: list[str] = []
        self._in_flight = in_flight
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            with connection:
                command = connection.recv(4096).decode().strip()
                self.commands.append(command)
                connection.sendall(self._answer(command).encode())

    def _answer(self, command: str) -> str:
        if command.startswith("del server"):
            return "Server deleted.\n"
        if not command.startswith("show stat"):
            return "\n"
        draining = any(line.endswith("state drain") for line in self.commands)
        status = "DRAIN" if draining else "UP"
        first = sum(line.startswith("show stat") for line in self.commands) == 1
        count = 9 if first or not self._in_flight else self._in_flight.pop(0)
        return f"{HEADER}shop,old,0,{count},{status},L7OK,\n"

    def close(self) -> None:
        self._listener.close()


class Containers:
    """Remembers what was ended."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def stop(self, name: str, timeout: int) -> None:
        self.calls.append(f"stop {name}")

    def remove_container(self, name: str, v: bool) -> None:
        self.calls.append(f"remove {name}")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "admin.sock"


def test_the_floor_ends_nothing_that_is_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    balancer = Balancer(path, [2, 0, 1, 0, 0, 0])
    floor = Floor(Job(str(path), "shop", 8080, "/readyz", 10, 1, ()))
    containers = Containers()
    monkeypatch.setattr(floor, "_client", lambda: containers)
    floor._retire("old")
    balancer.close()
    looks = [line for line in balancer.commands if line.startswith("show stat")]
    assert len(looks) == 7, "one that shows it draining, six until three zeros came in a row"
    assert balancer.commands[0] == "set server shop/old state drain"
    assert balancer.commands[-2:] == ["set server shop/old state maint", "del server shop/old"]
    assert containers.calls == ["stop old", "remove old"]


def test_the_floor_fails_when_the_balancer_lacks_a_server(path: Path) -> None:
    balancer = Balancer(path, [])
    floor = Floor(Job(str(path), "shop", 8080, "/readyz", 10, 1, ()))
    with pytest.raises(FloorFailed, match="other is not in the balancer"):
        floor._retire("other")
    balancer.close()


class FlipSite:
    """Notes what the flip asks of the site."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sample = SimpleNamespace(url="http://127.0.0.1:1")

    def scale(self, replicas: int, strategy: Mapping[str, object]) -> None:
        self.calls.append(f"scale {replicas} {strategy}")

    def write_specs(self, replicas: int, strategy: Mapping[str, object]) -> None:
        self.calls.append(f"write {strategy['scale_down_delay']}")

    def switch(self, version: str) -> None:
        self.calls.append(f"switch {version}")

    def rollback(self, version: str) -> Measured:
        self.calls.append(f"rollback {version}")
        return Measured(6.0, 1.0, "")

    def flip(self, version: str) -> tuple[Measured, float]:
        return self.rollback(version), 4.0

    def bare(self) -> Measured:
        return Measured(1.5, 1.0, "")


def test_a_flip_is_what_a_rollback_takes_beyond_a_bare_playbook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each round switches first, with the old kept for longer than the round takes."""
    site = FlipSite()
    bench = Bench(site=site, rounds=2)  # type: ignore[arg-type]  # nothing of a site is used

    def under_load(times: Times, run: Callable[[], Measured], expected: str) -> None:
        assert expected == "1.0.0"
        times.note(run())

    monkeypatch.setattr(bench, "_under_load", under_load)
    bench.flip()
    assert bench.result["flip_back"] == 2.5
    assert bench.result["flip_back_end"] == 4.5
    assert bench.result["flip_back_rounds"] == 2
    assert site.calls[1:] == [
        "write 3600",
        *["rollback 1.1.0"],
        *["switch 1.1.0", "rollback 1.1.0"] * 2,
    ]
