# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What can go wrong at a real HAProxy, and that the order that loses nothing loses nothing there."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_socket as runtime,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    LoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.haproxy import (
    HaproxyLoadBalancer,
)
from tests.integration.pytest.haproxy_rig import PATIENCE, App, Bench, Haproxy, eventually, refusal
from tools.loadgen import Load

CLOCK = SystemClock()
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture()
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.haproxy.start()
    try:
        yield made
    finally:
        made.haproxy.kill()
        for app in made.apps.values():
            app.kill()


# Targets.


def test_lb_01_a_wrong_name_is_no_success(bench: Bench) -> None:
    bench.up("one")
    assert "No such server" in bench.haproxy.ask("set server shop/oen state drain")
    assert refusal(lambda: bench.lb.set_state("oen", Admin.DRAINING)).kind is Kind.TARGET_NOT_FOUND
    assert targets.find(bench.lb, "one").serving


def test_lb_03_a_name_with_another_address_is_a_conflict(bench: Bench) -> None:
    first, second = bench.up("one"), bench.app("two")
    clash = refusal(lambda: bench.lb.register("one", second.address, second.port))
    assert clash.kind is Kind.CONFLICT
    assert f":{first.port}" in clash.message and f":{second.port}" in clash.message
    assert targets.find(bench.lb, "one").port == first.port


def test_lb_04_a_busy_server_is_not_deleted_and_an_idle_one_at_once(bench: Bench) -> None:
    bench.up("one")
    client = http.client.HTTPConnection("127.0.0.1", bench.haproxy.port)
    client.request("GET", "/")
    client.getresponse().read()  # leaves an idle connection to the server in HAProxy's pool
    with bench.haproxy.held() as held:
        eventually(lambda: bench.work("one") == 1)
        assert refusal(lambda: bench.lb.deregister("one")).kind is Kind.NOT_DRAINED
        held.release()
        targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK)
        began = time.monotonic()
        assert bench.lb.deregister("one").changed
        # 2.6 blocks it for 25 s when it is done in the wrong order.
        assert time.monotonic() - began < 24
    assert held.answers == [(200, "one")]
    client.close()


@pytest.mark.parametrize("disturb", ["reload", "restart"])
def test_lb_05_a_reload_or_restart_after_any_step_keeps_the_targets(
    bench: Bench, disturb: str
) -> None:
    def disturbed() -> dict[str, Admin]:
        bench.lb.persist()
        getattr(bench.haproxy, disturb)()
        return {target.name: target.admin for target in bench.lb.targets()}

    old = bench.up("old")
    assert disturbed() == {"old": Admin.ACTIVE}
    new = bench.app("new")
    bench.lb.register("new", new.address, new.port)
    assert disturbed() == {"old": Admin.ACTIVE, "new": Admin.MAINTENANCE}
    assert bench.haproxy.get() == (200, "old")
    targets.register_standby(bench.lb, "new", new.address, new.port)
    targets.await_healthy(bench.lb, "new", PATIENCE, CLOCK)
    targets.activate(bench.lb, "new")
    assert disturbed() == {"old": Admin.ACTIVE, "new": Admin.ACTIVE}
    assert {bench.haproxy.get()[1] for _again in range(8)} == {"old", "new"}
    targets.start_drain(bench.lb, "old")
    assert disturbed() == {"old": Admin.MAINTENANCE, "new": Admin.ACTIVE}
    assert {bench.haproxy.get()[1] for _again in range(8)} == {"new"}
    targets.await_drained(bench.lb, ["old"], PATIENCE, CLOCK)
    bench.lb.deregister("old")
    assert disturbed() == {"new": Admin.ACTIVE}
    assert old.port != new.port


def test_lb_05_without_persist_a_reload_forgets(bench: Bench) -> None:
    """The positive control: what persist() is for."""
    app = bench.app("one")
    bench.lb.register("one", app.address, app.port)
    bench.haproxy.reload()
    assert bench.lb.targets() == ()


def test_lb_06_the_work_of_a_leaving_worker_counts(bench: Bench) -> None:
    bench.up("one")
    blind = bench.haproxy.driver(master_socket="")
    assert blind.in_flight(["one"])["one"].total == 0
    with bench.haproxy.held() as held:
        eventually(lambda: bench.work("one") == 1)
        targets.start_drain(bench.lb, "one")
        bench.lb.persist()
        bench.haproxy.reload()
        figure = bench.lb.in_flight(["one"])["one"]
        assert figure.total == 1 and sorted(count for _part, count in figure.parts) == [0, 1]
        stale = refusal(lambda: blind.in_flight(["one"]))
        assert stale.kind is Kind.STALE and "master_socket" in stale.message
        assert refusal(lambda: bench.lb.deregister("one")).kind is Kind.NOT_DRAINED

        def seen(_busy: object) -> None:
            held.release()

        done = targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK, seen)
    assert held.answers == [(200, "one")] and done["one"].peak == 1
    assert bench.lb.deregister("one").changed


def test_lb_08_idle_clients_do_not_block_a_drain(bench: Bench) -> None:
    bench.up("one")
    clients = [http.client.HTTPConnection("127.0.0.1", bench.haproxy.port) for _again in range(200)]
    for client in clients:
        client.request("GET", "/")
        assert client.getresponse().read() == b"one"
    targets.start_drain(bench.lb, "one")
    assert targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK)["one"].peak == 0
    assert bench.lb.deregister("one").changed
    for client in clients:
        client.close()


def test_lb_08_what_waits_in_the_queue_is_in_flight(bench: Bench) -> None:
    app = bench.app("one")
    text = bench.haproxy.config.read_text().replace(
        "    # BEGIN immutable.cutover targets of shop",
        "    cookie SRV insert indirect\n"
        f"    server one 127.0.0.1:{app.port} check cookie one maxconn 1\n"
        "    # BEGIN immutable.cutover targets of shop",
    )
    bench.haproxy.config.write_text(text)
    bench.haproxy.reload()
    bench.haproxy.headers = {"Cookie": "SRV=one"}  # else they wait for any server, not for this one
    with bench.haproxy.held(3) as held:
        eventually(lambda: bench.work("one") == 3)
        figure = bench.lb.in_flight(["one"])["one"]
        assert (figure.count, figure.queued) == (1, 2)
        targets.start_drain(bench.lb, "one")
        held.release()
        targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK)
    assert held.answers == [(200, "one")] * 3


def test_lb_12_cleared_counters_do_not_look_like_idleness(bench: Bench) -> None:
    bench.up("one")
    with bench.haproxy.held() as held:
        eventually(lambda: bench.work("one") == 1)
        targets.start_drain(bench.lb, "one")
        bench.haproxy.ask("clear counters all")
        assert bench.work("one") == 1
        assert refusal(lambda: bench.lb.deregister("one")).kind is Kind.NOT_DRAINED
        held.release()
        targets.await_drained(bench.lb, ["one"], PATIENCE, CLOCK)
    assert held.answers == [(200, "one")]


def test_a_half_registered_target_is_brought_to_standby(bench: Bench) -> None:
    """What a run leaves that is killed between its first and second command."""
    app = bench.app("one")
    bench.haproxy.ask(f"add server shop/one {app.address}:{app.port} check inter 1s")
    assert targets.find(bench.lb, "one").admin is Admin.MAINTENANCE
    assert targets.register_standby(bench.lb, "one", app.address, app.port).changed
    targets.await_healthy(bench.lb, "one", PATIENCE, CLOCK)
    assert not targets.register_standby(bench.lb, "one", app.address, app.port).changed


def test_a_slow_start_gives_a_new_target_a_small_share_first(tmp_path: Path) -> None:
    """Measured right after it became active; the whole slow start takes longer than the test."""
    haproxy = Haproxy(tmp_path, balance="roundrobin")
    haproxy.start()
    slow, apps = haproxy.driver(slow_start=600), [App(tmp_path, name) for name in ("old", "new")]
    try:
        for app, driver in zip(apps, (haproxy.driver(), slow), strict=True):
            targets.register_standby(driver, app.name, app.address, app.port)
            targets.await_healthy(driver, app.name, PATIENCE, CLOCK)
            targets.activate(driver, app.name)
        answers = Counter(haproxy.get()[1].split()[0] for _request in range(100))
        assert answers["new"] >= 1 and answers["old"] >= 80, answers
        slow.persist()
        haproxy.restart()  # the file has the new word, and what has been up before does not start slowly again
        eventually(lambda: all(target.serving for target in slow.targets()))
        answers = Counter(haproxy.get()[1].split()[0] for _request in range(100))
        assert answers["new"] >= 40, answers
    finally:
        for app in apps:
            app.kill()
        haproxy.kill()


def test_weight_zero_is_a_drain(bench: Bench) -> None:
    bench.up("one")
    bench.haproxy.get()
    bench.lb.set_weight("one", 0)
    assert targets.find(bench.lb, "one").admin is Admin.DRAINING
    bench.lb.set_state("one", Admin.ACTIVE)
    assert targets.find(bench.lb, "one").serving and targets.find(bench.lb, "one").weight == 1


# The socket.


@contextlib.contextmanager
def fake(path: Path, talk: Callable[[socket.socket], None]) -> Iterator[None]:
    """A peer that misbehaves; only for what a real HAProxy does not do on demand."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _peer = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def driver(path: Path, patience: float = PATIENCE) -> LoadBalancer:
    """A driver that waits so long for an answer."""
    return HaproxyLoadBalancer(
        runtime.RuntimeSocket(str(path), CLOCK, timeout=patience), "shop", CLOCK
    )


def says(answers: dict[str, str]) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        command = connection.recv(4096).decode().strip()
        connection.sendall(answers.get(command, "").encode() + b"\n")

    return talk


def byte_by_byte(connection: socket.socket) -> None:
    connection.recv(4096)
    while True:  # until the other side leaves
        time.sleep(0.1)
        connection.sendall(b"V")


def hang(connection: socket.socket) -> None:
    poll = select.poll()
    poll.register(
        connection, 0
    )  # the other side has closed it whole, not only the half that it writes
    poll.poll()


def cut_short(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"Name: HAP")


def test_lb_09_b58_each_kind_of_bad_socket_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(dead))
    cases = {
        tmp_path / "missing": "no such socket",
        tmp_path: "not a socket but a directory",
        plain: "not a socket",
        dead: "refused: no process listens on it",
    }
    for path, said in cases.items():
        failure = refusal(driver(path).probe)
        assert failure.kind is Kind.UNREACHABLE
        assert said in failure.message and str(path) in failure.message


@pytest.mark.parametrize(
    ("talk", "patience", "said"),
    [
        (hang, 0.4, "no answer to 'show info' within 0.4 s"),
        (byte_by_byte, 0.4, "no answer to 'show info' within 0.4 s"),
        (cut_short, PATIENCE, "closed before the answer was complete"),
    ],
)
def test_lb_09_a_peer_that_does_not_answer_is_left_in_time(
    tmp_path: Path, talk: Callable[[socket.socket], None], patience: float, said: str
) -> None:
    with fake(tmp_path / "s", talk):
        failure = refusal(driver(tmp_path / "s", patience).probe)
    assert failure.kind is Kind.UNREACHABLE and said in failure.message


def test_lb_09_a_socket_one_may_not_open_is_denied(bench: Bench) -> None:
    os.chmod(bench.haproxy.socket, 0o600)
    os.seteuid(65534)
    try:
        failure = refusal(bench.lb.targets)
    finally:
        os.seteuid(0)
    assert failure.kind is Kind.PERMISSION_DENIED and "65534" in failure.message


def test_lb_09_b58_level_operator_is_not_enough(bench: Bench) -> None:
    operator = bench.haproxy.driver(socket=str(bench.dir / "operator.sock"))
    failure = refusal(operator.probe)
    assert failure.kind is Kind.PERMISSION_DENIED and "need level admin" in failure.message
    app = bench.app("one")
    failure = refusal(lambda: operator.register("one", app.address, app.port))
    assert failure.kind is Kind.PERMISSION_DENIED and "Permission denied" in failure.message
    assert bench.lb.targets() == ()


def test_b57_an_unknown_backend_is_answered_with_those_there_are(bench: Bench) -> None:
    for call in (bench.haproxy.driver("ap").probe, bench.haproxy.driver("ap").targets):
        failure = refusal(call)
        assert failure.kind is Kind.BACKEND_NOT_FOUND
        assert "backend 'ap' not found; have fixed, other, shop" in failure.message


def test_b59_an_old_haproxy_is_refused(tmp_path: Path) -> None:
    old = {"show info": "Name: HAProxy\nVersion: 2.4.22-f8e3218"}
    with fake(tmp_path / "s", says(old)):
        failure = refusal(driver(tmp_path / "s").probe)
    assert failure.kind is Kind.UNSUPPORTED
    assert "del server needs HAProxy >= 2.5, found 2.4.22" in failure.message


def test_b60_a_static_algorithm_is_refused(bench: Bench) -> None:
    failure = refusal(bench.haproxy.driver("fixed", config="").probe)
    assert failure.kind is Kind.UNSUPPORTED
    assert "static balance algorithm" in failure.message


# The file.


def test_a_broken_file_is_found_before_it_is_used(bench: Bench) -> None:
    bench.up("one")
    broken = bench.haproxy.config.read_text() + "\nbackend late\n    balance sideways\n"
    bench.haproxy.config.write_text(broken)
    bench.lb.set_weight("one", 7)
    failure = refusal(bench.lb.persist)
    assert failure.kind is Kind.INVALID_CONFIG and "balance only supports" in failure.message
    assert bench.haproxy.config.read_text() == broken
    assert sorted(path.name for path in bench.dir.glob(".haproxy.cfg*")) == [
        ".haproxy.cfg.lock",
        ".haproxy.cfg.valid",
    ]


def test_a_file_without_the_managed_part_is_refused_up_front(bench: Bench) -> None:
    text = bench.haproxy.config.read_text().replace("# BEGIN immutable.cutover targets of shop", "")
    bench.haproxy.config.write_text(text)
    failure = refusal(bench.lb.probe)
    assert failure.kind is Kind.INVALID_CONFIG and "exactly one begin" in failure.message
    missing = bench.haproxy.driver(config=str(bench.dir / "none.cfg"))
    assert refusal(missing.probe).kind is Kind.PERSIST_FAILED


def test_servers_of_the_owner_are_left_to_the_owner(bench: Bench) -> None:
    static = bench.app("static")
    text = bench.haproxy.config.read_text().replace(
        "    # BEGIN immutable.cutover targets of shop",
        f"    server static 127.0.0.1:{static.port} check\n"
        "    server-template slot 2 127.0.0.1:1 disabled\n"
        "    # BEGIN immutable.cutover targets of shop",
    )
    bench.haproxy.config.write_text(text)
    bench.haproxy.reload()
    bench.up("one")
    assert {t.name for t in bench.lb.targets()} == {"static", "slot1", "slot2", "one"}
    after = bench.haproxy.config.read_text()
    assert after.count("server static ") == 1 and "server slot" not in after
    bench.haproxy.restart()
    assert {t.name for t in bench.lb.targets() if t.serving} == {"static", "one"}


WRITER = """
import sys
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
directory, backend = sys.argv[1:]
lb = factory.connect(
    {"socket": f"{directory}/admin.sock", "backend": backend, "config": f"{directory}/haproxy.cfg"},
    SystemClock(),
)
for number in range(15):
    lb.register(f"{backend}-{number}", "127.0.0.1", 9)
    lb.persist()
"""


def test_cr_07_two_processes_write_one_file(bench: Bench) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".ansible" / "collections")}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(bench.dir), backend], env=env)
        for backend in ("shop", "other")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    bench.haproxy.restart()
    for backend in ("shop", "other"):
        found = {target.name for target in bench.haproxy.driver(backend).targets()}
        assert found == {f"{backend}-{number}" for number in range(15)}


def test_writing_the_file_again_is_cheap(bench: Bench) -> None:
    """HAProxy is asked once for each shape of the file, not once for each name."""
    asked: list[Path] = []
    options = {"socket": str(bench.haproxy.socket), "backend": "shop"}
    lb = factory.connect({**options, "config": str(bench.haproxy.config)}, CLOCK)
    config = lb._config  # type: ignore[attr-defined]  # of the driver, not of the seam
    original = config._validate

    def ask(draft: Path) -> None:
        asked.append(draft)
        original(draft)

    config._validate = ask
    for number in range(5):
        lb.register(f"one-{number}", "127.0.0.1", 9)
        assert lb.persist()
    assert len(asked) == 1


# Under load.

MIX = {"keepalive": 60.0, "new": 30.0, "slow": 8.0}
QUICK = ("--slow", "0.5-1.5", "--timeout", "60", "--connect-timeout", "60")
"""On a busy machine an answer may be late; that it is late is no loss."""


def test_a_cutover_under_load_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    for name in ("a1", "a2"):
        bench.up(name)
    load = Load(
        f"http://127.0.0.1:{bench.haproxy.port}", mix=MIX, out=tmp_path / "load", options=QUICK
    ).start()
    time.sleep(1)
    for old, new in (("a1", "b1"), ("a2", "b2"), ("b1", "c1")):
        bench.up(new)
        bench.down(old)
    result = load.stop()
    assert result.planned == result.accounted > 300
    assert result.failed == 0, result.failed_by_outcome
    assert {target.name for target in bench.lb.targets()} == {"b2", "c1"}


def test_a_naive_order_loses(bench: Bench, tmp_path: Path) -> None:
    """The positive control: the same load, and the old one is ended without waiting for its work."""
    for name in ("a1", "a2"):
        bench.up(name)
    load = Load(
        f"http://127.0.0.1:{bench.haproxy.port}", mix=MIX, out=tmp_path / "load", options=QUICK
    ).start()
    time.sleep(2)
    bench.up("b1")
    targets.start_drain(bench.lb, "a1")
    bench.apps["a1"].kill()
    time.sleep(0.5)
    assert load.stop().failed > 0


def test_reloads_are_no_errors_for_who_looks_meanwhile(bench: Bench) -> None:
    """While the master starts anew, its socket is refused for a moment."""
    bench.up("one")
    failures: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.002):
            try:
                bench.lb.in_flight(["one"])
                bench.lb.targets()
            except LoadBalancerError as failure:
                failures.append(failure.message)

    thread = threading.Thread(target=look)
    thread.start()
    for _again in range(5):
        bench.haproxy.reload()
    stop.set()
    thread.join()
    assert failures == []
