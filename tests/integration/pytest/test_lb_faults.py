# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Faults of docs/faults.md that need a HAProxy of their own: sticky clients, a late or forgetful one, odd servers."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Target,
)
from tests.integration.pytest.haproxy_rig import (
    CLOCK,
    PATIENCE,
    Bench,
    Haproxy,
    eventually,
    refusal,
)

STICKY = "stick-table type ip size 1k\n    stick on src"


@pytest.fixture()
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield from opened(Bench(tmp_path))


@pytest.fixture()
def sticky(tmp_path: Path) -> Iterator[Bench]:
    """HAProxy sends a client back to where it was, also when that drains."""
    yield from opened(Bench(tmp_path, more=STICKY))


def opened(made: Bench) -> Iterator[Bench]:
    made.haproxy.start()
    try:
        yield made
    finally:
        made.close()


class Client(threading.Thread):
    """One client that goes on asking, with a pause or without."""

    def __init__(self, haproxy: Haproxy, path: str = "/", pause: float = 0.25) -> None:
        super().__init__()
        self.answers: list[tuple[int, str]] = []
        self._haproxy, self._path, self._pause = haproxy, path, pause
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._pause):
            try:
                self.answers.append(self._haproxy.get(self._path))
            except (OSError, http.client.HTTPException) as lost:
                self.answers.append((0, repr(lost)))

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._over.set()
        self.join()

    def another(self, count: int = 2) -> tuple[int, str]:
        """Return what it is answered from now on."""
        seen = len(self.answers)
        eventually(lambda: len(self.answers) >= seen + count)
        return self.answers[-1]


# LB-05: a balancer that forgets.


def test_lb_05_a_drain_that_a_restart_forgot_is_noticed_by_who_waits_for_it(bench: Bench) -> None:
    """It was active when the file was last written, so it comes back active, and idle as it is, it is not drained."""
    bench.up("one")
    bench.up("two")
    targets.start_drain(bench.lb, "one")
    bench.haproxy.restart()
    eventually(lambda: targets.find(bench.lb, "one").serving)
    assert bench.work("one") == 0  # what an order without VIEW would take for drained
    stale = refusal(lambda: targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK))
    assert stale.kind is Kind.STALE and "the balancer forgot" in stale.message
    eventually(lambda: bench.haproxy.get()[1] == "one")


def test_lb_05_a_server_that_a_restart_lost_is_registered_anew(bench: Bench) -> None:
    bench.up("one")
    app = bench.app("two")
    targets.register_standby(bench.lb, "two", app.address, app.port)  # and not persisted
    bench.haproxy.restart()
    assert refusal(lambda: targets.activate(bench.lb, "two")).kind is Kind.TARGET_NOT_FOUND
    assert targets.register_standby(bench.lb, "two", app.address, app.port).changed
    targets.await_healthy(bench.lb, "two", PATIENCE, CLOCK)
    assert targets.activate(bench.lb, "two").changed


NAP = """
local asked = io.open("{dir}/nap")
if asked then
    asked:close()
    os.execute("touch {dir}/napping; n=0; while [ -e {dir}/asleep -a $n -lt 1200 ]; do sleep 0.1; n=$((n+1)); done")
end
"""


def test_lb_05_a_cutover_during_a_reload_ends_nothing_that_the_new_worker_routes_to(
    bench: Bench,
) -> None:
    """It waits for the master, finds the new worker sending requests there, and refuses; the next try works."""
    with Client(bench.haproxy, pause=0.005) as client:
        with a_reload_under_way(bench):
            seen = len(client.answers)
            # It wakes up when the old worker drains, and not before.
            wake = threading.Thread(target=wake_when, args=(bench, "DRAIN"))
            wake.start()
            refused = refusal(lambda: bench.down("one"))
            wake.join()
        assert refused.kind in (Kind.STALE, Kind.UNREACHABLE), refused
        client.another(20)
        bench.down("one")
        client.another(5)
    assert set(client.answers[seen:]) == {(200, "one"), (200, "two")}
    assert client.answers[-1] == (200, "two")


def test_lb_05_who_asks_only_the_old_worker_ends_what_the_new_one_routes_to(bench: Bench) -> None:
    """The naive order: drained, idle and deregistered where nobody looks any more."""
    with a_reload_under_way(bench):
        bench.lb = bench.haproxy.driver(master_socket="")
        bench.down("one")
    # Requests are lost from now until its health check fails.
    assert targets.find(bench.haproxy.driver(), "one").admin is Admin.ACTIVE


def wake_when(bench: Bench, status: str) -> None:
    """Let the new worker begin when the old one has a server in that status."""
    with contextlib.suppress(OSError):
        eventually(lambda: f",{status}," in bench.haproxy.ask("show stat shop 4 -1"))
    (bench.dir / "asleep").unlink()


@contextlib.contextmanager
def a_reload_under_way(bench: Bench) -> Iterator[None]:
    """Two servers; while the body runs, a new worker has read the file and does not work yet."""
    script = bench.dir / "nap.lua"
    script.write_text(NAP.format(dir=bench.dir))
    with bench.haproxy.config.open("a") as config:  # read after the targets
        config.write(f"\nglobal\n    lua-load {script}\n")
    bench.haproxy.restart()
    bench.up("one")
    bench.up("two")
    for name in ("nap", "asleep"):
        (bench.dir / name).touch()
    before = bench.haproxy.pid()
    bench.haproxy.signal_reload()
    eventually((bench.dir / "napping").exists)
    (bench.dir / "nap").unlink()
    try:
        yield
    finally:
        (bench.dir / "asleep").unlink(missing_ok=True)
    eventually(lambda: bench.haproxy.pid() != before)


# LB-07: sticky clients.


def test_lb_07_a_sticky_client_of_a_draining_server_moves_without_loss(sticky: Bench) -> None:
    sticky.up("one")
    with Client(sticky.haproxy) as client:
        assert client.another() == (200, "one")
        sticky.up("two")
        targets.start_drain(sticky.lb, "one")
        assert client.another() == (200, "one")  # draining stops new clients only
        sticky.down("one")
        assert client.another() == (200, "two")
    assert {status for status, _name in client.answers} == {200}


def test_lb_07_without_maintenance_a_sticky_client_is_lost(sticky: Bench) -> None:
    """The naive order: idle in three samples, and ended. It is still sent there."""
    sticky.up("one")
    with Client(sticky.haproxy) as client:
        assert client.another() == (200, "one")
        sticky.up("two")
        targets.start_drain(sticky.lb, "one")
        targets.await_drained(sticky.lb, ["one"], PATIENCE, CLOCK)
        sticky.apps["one"].kill()
        client.another(3)
    assert {status for status, _name in client.answers} != {200}


def test_lb_07_a_sticky_client_that_never_pauses_is_waited_for_a_bounded_time(
    sticky: Bench,
) -> None:
    sticky.up("one")
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Client(sticky.haproxy, "/slow?s=0.6", 0.01)) for _again in range(5)
        ]
        eventually(lambda: sticky.work("one") >= 2)
        sticky.up("two")
        targets.start_drain(sticky.lb, "one")
        late = refusal(lambda: targets.await_drained(sticky.lb, ["one"], 1.5, CLOCK))
        assert late.kind is Kind.DRAIN_TIMEOUT and "one (" in late.message
        assert late.details["busy"] != {"one": 0}
        sticky.lb.set_state("one", Admin.MAINTENANCE)  # what drain.on_timeout force does first
        targets.await_drained(sticky.lb, ["one"], PATIENCE, CLOCK)
        assert sticky.lb.deregister("one").changed
        assert {client.another()[1] for client in clients} == {"two"}
    assert {status for client in clients for status, _name in client.answers} == {200}


# LB-11: a balancer that does later what it was told.


@contextlib.contextmanager
def late(haproxy: Haproxy, seconds: float) -> Iterator[Path]:
    """A socket in front of HAProxy's: it accepts a change of state at once, and passes it on later."""
    path = haproxy.dir / "late.sock"
    timers: list[threading.Timer] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            command = connection.recv(65536).decode().strip()
            if command.startswith("set server"):
                timers.append(threading.Timer(seconds, haproxy.ask, (command,)))
                timers[-1].start()
                connection.sendall(b"\n")
            else:
                connection.sendall(haproxy.ask(command).encode())

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    serve(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for timer in timers:
                timer.cancel()


def test_lb_11_a_change_counts_when_the_balancer_shows_it(bench: Bench) -> None:
    bench.up("one")
    bench.up("two")
    with late(bench.haproxy, 3) as path:
        lb = bench.haproxy.driver(socket=str(path))
        assert targets.find(lb, "one").serving
        change = targets.start_drain(lb, "one")
        assert change.after is not None and change.after.admin is not Admin.ACTIVE
        assert targets.find(bench.lb, "one").admin in (Admin.DRAINING, Admin.STANDBY)
        targets.await_drained(lb, ["one"], PATIENCE, CLOCK)
        assert lb.deregister("one").changed
    assert [target.name for target in bench.lb.targets()] == ["two"]


def test_lb_11_ten_seconds_late_is_in_time(bench: Bench) -> None:
    bench.up("one")
    bench.up("two")
    with late(bench.haproxy, 10) as path:
        assert targets.start_drain(bench.haproxy.driver(socket=str(path)), "one").changed
        assert targets.find(bench.lb, "one").admin is not Admin.ACTIVE


def test_lb_11_without_waiting_for_its_view_a_request_is_lost(bench: Bench) -> None:
    """The naive order: told to drain, nothing in flight, ended. It is still routed to."""
    bench.up("one")
    bench.up("two")
    with late(bench.haproxy, 600) as path:
        with socket.socket(socket.AF_UNIX) as naive:
            naive.connect(str(path))
            naive.sendall(b"set server shop/one state drain\n")
            assert naive.recv(100) == b"\n"
        assert bench.work("one") == 0
        bench.haproxy.ask("disable health shop/one")  # as between two checks
        bench.apps["one"].kill()
        assert {bench.haproxy.get()[0] for _again in range(4)} == {200, 503}


# LB-17: what a server may be.


@pytest.mark.parametrize("weight", [0, 1, 256])
def test_lb_17_the_bounds_of_a_weight(bench: Bench, weight: int) -> None:
    bench.up("one")
    bench.up("two")
    assert bench.lb.set_weight("one", weight).changed == (weight != 1)
    found = targets.find(bench.lb, "one")
    assert (found.weight, found.serving) == (weight, weight > 0)
    bench.haproxy.get()
    answers = {bench.haproxy.get()[1] for _again in range(8)}
    assert ("one" in answers) == (weight > 0)


def test_lb_17_an_ipv6_target_serves_and_comes_back(bench: Bench) -> None:
    app = bench.up("six", "::1")
    assert bench.haproxy.get() == (200, "six")
    bench.haproxy.restart()
    found = targets.find(bench.lb, "six")
    assert (found.address, found.port, found.admin) == ("::1", app.port, Admin.ACTIVE)
    assert not bench.lb.register("six", "0:0:0:0:0:0:0:1", app.port).changed
    bench.down("six")
    assert bench.lb.targets() == ()


@pytest.mark.parametrize("address", ["localhost", "app.example", "unix@/run/app.sock", "/run/x"])
def test_lb_17_a_name_or_a_socket_is_no_target_of_ours(bench: Bench, address: str) -> None:
    with pytest.raises(InvalidInput, match="an IPv4 or IPv6 address"):
        bench.lb.register("one", address, 80)
    assert bench.lb.targets() == ()


def test_lb_17_servers_of_the_owner_may_be_names_and_sockets(bench: Bench) -> None:
    """They are read, told apart from ours, and left alone."""
    named = bench.app("named")
    text = bench.haproxy.config.read_text().replace(
        "    # BEGIN immutable.cutover targets of shop",
        f"    server named localhost:{named.port} check inter 200ms\n"
        f"    server file unix@{bench.dir}/nobody.sock disabled\n"
        "    # BEGIN immutable.cutover targets of shop",
    )
    bench.haproxy.config.write_text(text)
    bench.haproxy.reload()
    bench.up("ours")

    def found() -> dict[str, Target]:
        return {target.name: target for target in bench.lb.targets()}

    assert set(found()) == {"named", "file", "ours"}
    assert found()["file"].admin is Admin.MAINTENANCE
    bench.down("ours")
    assert set(found()) == {"named", "file"}
    lines = bench.haproxy.config.read_text().splitlines()
    assert sum(line.strip().startswith("server ") for line in lines) == 2
