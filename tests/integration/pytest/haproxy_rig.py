# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""A real HAProxy and real HTTP servers for tests; everything on 127.0.0.1, everything ended by its pid."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import LoadBalancerError
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    LoadBalancer,
)
from tools.sample import free_port

CLOCK = SystemClock()
PATIENCE = 60.0
"""Seconds within which what must come comes on the busiest machine; nothing waits for so long that has come."""

BACKEND = """
backend {name}
    balance {balance}
    option httpchk GET /readyz
    {more}
    # BEGIN immutable.cutover targets of {name}
    # END immutable.cutover targets of {name}
"""

CONFIG = """
global
    stats socket {dir}/admin.sock mode 660 level admin expose-fd listeners
    stats socket {dir}/operator.sock mode 660 level operator
    maxconn 500
    hard-stop-after 60s

defaults
    mode http
    timeout connect 20s
    timeout client 120s
    timeout server 120s
    timeout check 20s
    timeout queue 60s
    retries 0
    option idle-close-on-response

# Named like the backend on purpose: HAProxy then finds the frontend by that name, and no server of the backend.
frontend shop
    bind 127.0.0.1:{port}
    http-request set-var(txn.preview) str(1) if {{ req.hdr(X-Preview) -m str 1 }}
    default_backend shop
"""


def eventually(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


class App:
    """One HTTP server process."""

    def __init__(self, directory: Path, name: str, address: str = "127.0.0.1") -> None:
        self.name = name
        self.address = address
        self.port = free_port()
        self._unready = directory / f"{name}.unready"
        script = str(Path(__file__).with_name("haproxy_app.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, name, address, str(self.port), str(self._unready)]
        )
        eventually(self._listens)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.address, self.port), 1).close()
            return True
        return False

    def ready(self, ready: bool) -> None:
        """Make its health check pass or fail."""
        if ready:
            self._unready.unlink(missing_ok=True)
        else:
            self._unready.touch()

    def kill(self) -> None:
        """End it at once, with whatever it works on."""
        self._process.kill()
        self._process.wait()


class Held:
    """Requests that an app keeps for as long as a file is there: no test depends on how long something takes."""

    def __init__(self, file: Path) -> None:
        self.answers: list[tuple[int, str]] = []
        self._file = file
        file.touch()

    def release(self) -> None:
        """Have them answered."""
        self._file.unlink(missing_ok=True)


class Haproxy:
    """One HAProxy, master and worker, whose configuration has managed parts for shop and other."""

    def __init__(self, directory: Path, *, balance: str = "leastconn", more: str = "") -> None:
        self.dir = directory
        self.port = free_port()
        self.config = directory / "haproxy.cfg"
        self.socket = directory / "admin.sock"
        self.master = directory / "master.sock"
        self.headers: dict[str, str] = {}
        self.config.write_text(
            CONFIG.format(dir=directory, port=self.port)
            + BACKEND.format(name="shop", balance=balance, more=f"{more}\n    {self._preview()}")
            + BACKEND.format(name="other", balance="roundrobin", more="")
            + "\nbackend fixed\n    balance source\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def _preview(self) -> str:
        """Return the rule by which requests ask for the new release, as the role writes it."""
        file = self.dir / "preview-shop.map"
        file.touch()
        return f"use-server %[rand(60),map({file})] if {{ var(txn.preview) -m found }}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        binary = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        assert binary, "these tests need the haproxy package on this host"
        with (self.dir / "haproxy.log").open("ab") as log:
            command = [binary, "-W", "-db", "-S", str(self.master), "-f", str(self.config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return "Uptime" in self.ask("show info")
        return False

    def _master_answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.master))
            connection.sendall(b"show proc\n")
            connection.shutdown(socket.SHUT_WR)
            return b"worker" in connection.recv(65536)
        return False

    def kill(self) -> None:
        """End master and worker at once."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=PATIENCE)

    def restart(self) -> None:
        """End it and start it again: what was not persisted is forgotten."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop its worker: it holds its sockets and answers nobody."""
        os.kill(int(self.pid().split()[1]), signal.SIGSTOP)

    def resume(self) -> None:
        """Let stopped workers go on."""
        for pid in self._workers():
            os.kill(pid, signal.SIGCONT)

    def _workers(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def signal_reload(self) -> None:
        """Ask the master to reload, and wait for nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR2)

    def reload(self) -> None:
        """Have the master start a new worker; the old one leaves when its work is done."""
        before = self.pid()
        self.signal_reload()
        eventually(lambda: self._answers() and self.pid() != before)
        eventually(self._master_answers)  # else it may miss the next signal

    def pid(self) -> str:
        """Return the current worker's process id."""
        lines = self.ask("show info").splitlines()
        return next(line for line in lines if line.startswith("Pid:"))

    def ask(self, command: str) -> str:
        """Send a command as a stranger would, not through the driver."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.socket))
            connection.sendall(command.encode() + b"\n")
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks).decode()

    def get(self, path: str = "/", timeout: float = PATIENCE) -> tuple[int, str]:
        """Send one request through it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers=self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def driver(self, backend: str = "shop", **more: object) -> LoadBalancer:
        """Return our driver for it."""
        options = {
            "socket": str(self.socket),
            "backend": backend,
            "master_socket": str(self.master),
            "config": str(self.config),
            **more,
        }
        return factory.connect(options, CLOCK)

    @contextlib.contextmanager
    def held(self, count: int = 1) -> Iterator[Held]:
        """Send requests that last until they are released, or until the body ends; it has their answers afterwards."""
        held = Held(self.dir / "held")
        with self._asked("/held", count, held.answers):
            try:
                yield held
            finally:
                held.release()

    @contextlib.contextmanager
    def slow(self, seconds: float, count: int = 1) -> Iterator[list[tuple[int, str]]]:
        """Send requests that last so long while the body runs; the list has their answers afterwards."""
        answers: list[tuple[int, str]] = []
        with self._asked(f"/slow?s={seconds}", count, answers):
            yield answers

    @contextlib.contextmanager
    def _asked(self, path: str, count: int, answers: list[tuple[int, str]]) -> Iterator[None]:
        def one() -> None:
            try:
                answers.append(self.get(path, 2 * PATIENCE))
            except (OSError, http.client.HTTPException) as lost:
                answers.append((0, repr(lost)))

        threads = [threading.Thread(target=one) for _again in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.join()


class Bench:
    """One HAProxy with apps, and the steps in the order that loses nothing."""

    def __init__(self, directory: Path, *, more: str = "") -> None:
        self.dir = directory
        self.haproxy = Haproxy(directory, more=more)
        self.lb = self.haproxy.driver()
        self.apps: dict[str, App] = {}

    def app(self, name: str, address: str = "127.0.0.1") -> App:
        self.apps[name] = App(self.dir, name, address)
        return self.apps[name]

    def up(self, name: str, address: str = "127.0.0.1") -> App:
        """Start an app and bring it into rotation in the right order."""
        app = self.app(name, address)
        targets.register_standby(self.lb, name, app.address, app.port)
        targets.await_healthy(self.lb, name, PATIENCE, CLOCK)
        targets.activate(self.lb, name)
        self.lb.persist()
        return app

    def down(self, name: str) -> None:
        """Take an app out in the right order, and end it."""
        targets.start_drain(self.lb, name)
        self.lb.persist()
        targets.await_drained(self.lb, [name], PATIENCE, CLOCK)
        targets.deregister(self.lb, name)
        self.lb.persist()
        self.apps[name].kill()

    def work(self, name: str) -> int:
        return self.lb.in_flight([name])[name].total

    def close(self) -> None:
        """End everything."""
        self.haproxy.kill()
        for app in self.apps.values():
            app.kill()


def refusal(call: Callable[[], object]) -> LoadBalancerError:
    with pytest.raises(LoadBalancerError) as refused:
        call()
    return refused.value
