# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The load generator counts exactly what a misbehaving server did, and never hides a loss."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.loadgen import OK, Load, Result, outcome
from tools.loadgen.calibration import AFTER_ANSWER, FAULTS, Faulty
from tools.loadgen.load import ROOT

QUICK = ("--slow", "0.1-0.3", "--timeout", "1.5", "--connect-timeout", "0.5")
HTTP_ONLY = {"keepalive": 60.0, "new": 60.0, "post": 40.0, "slow": 10.0, "stream": 5.0}


def books_balance(result: Result) -> None:
    """What must hold for every run, whatever the server did."""
    rows = result.rows()
    assert sorted(row.id for row in rows) == list(range(result.planned))
    assert result.accounted == result.planned == len(rows)
    assert result.failed == sum(1 for row in rows if row.outcome != OK)
    assert result.failed == sum(result.failed_by_outcome.values())
    assert sum(result.summary["requests"]["by_kind"].values()) == result.planned


def load(url: str, out: Path, **more: Any) -> Result:
    result = Load(url, out=out, options=QUICK, **more).start().wait()
    books_balance(result)
    return result


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_each_fault_is_counted_exactly(fault: str, tmp_path: Path) -> None:
    with Faulty({fault: 0.2}) as server:
        result = load(server.url, tmp_path, mix=HTTP_ONLY, duration=1.0)
        assert server.by_fault[fault] > 5
        assert result.failed_by_outcome == dict(server.injected)
        assert result.planned == server.served + server.by_fault[fault]


def test_all_faults_together_are_counted_exactly(tmp_path: Path) -> None:
    shares = dict.fromkeys(FAULTS, 0.02) | {AFTER_ANSWER: 0.1, "bad_digest": 0.1}
    mix = HTTP_ONLY | {"keepalive": 200.0}
    with Faulty(shares, seed=7) as server:
        result = load(server.url, tmp_path, mix=mix, duration=4.0, seed=7)
        assert result.failed_by_outcome == dict(server.injected)
        assert set(server.by_fault) == set(shares)
        assert len(result.summary["failures"]) == 50


def test_the_keep_alive_close_race_is_counted(tmp_path: Path) -> None:
    """The server promised keep-alive and closed while the next request was on its way."""
    with Faulty({AFTER_ANSWER: 0.1}) as server:
        result = load(server.url, tmp_path, mix={"keepalive": 200.0}, duration=2.0)
        lost = server.by_fault[AFTER_ANSWER]
        assert lost > 10
        assert result.failed_by_outcome == {outcome.RESET: lost}


def test_websockets_that_are_cut_are_counted(tmp_path: Path) -> None:
    with Faulty({"cut_websocket": 0.2, "drop": 0.1, "status_503": 0.1}) as server:
        result = load(server.url, tmp_path, mix={"websocket": 40.0}, duration=2.0)
        assert min(server.by_fault.values()) > 1
        assert result.failed_by_outcome == dict(server.injected)


def test_a_healthy_server_loses_nothing(tmp_path: Path) -> None:
    with Faulty({}) as server:
        result = load(server.url, tmp_path, rate=320, duration=2.0)
        assert (result.failed, result.planned) == (0, server.served)
        assert result.planned > 500
        assert {row.kind for row in result.rows()} == set(result.summary["rates"])


def test_refused_connections(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        result = load(url, tmp_path, rate=100, duration=1.0)
    assert result.failed_by_outcome == {outcome.CONNECT_REFUSED: result.planned}
    assert result.planned > 50


@pytest.fixture
def full_listener() -> Iterator[str]:
    """A listener whose queue is full: the kernel ignores further connection attempts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for ignored in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        time.sleep(0.1)
        yield f"http://127.0.0.1:{address[1]}"
        for filler in fillers:
            filler.close()


def test_connections_that_time_out(full_listener: str, tmp_path: Path) -> None:
    result = load(full_listener, tmp_path, mix={"new": 30.0, "websocket": 10.0}, duration=1.0)
    assert result.failed_by_outcome == {outcome.CONNECT_TIMEOUT: result.planned}
    assert all(row.latency_ms >= 450 for row in result.rows())


def test_stop_awaits_everything_that_was_planned(tmp_path: Path) -> None:
    options = ("--slow", "1.0-1.5")
    with Faulty({}) as server:
        running = Load(server.url, mix={"slow": 40.0}, out=tmp_path, options=options).start()
        began = time.monotonic()
        while server.served < 40 and time.monotonic() - began < 60:
            time.sleep(0.05)
        stopped = time.time()
        result = running.stop()
        books_balance(result)
        assert result.failed == 0
        assert result.planned == server.served
    rows = result.rows()
    assert result.planned >= 40
    # It has no other end; a busy machine may need a moment until it hears of this one.
    assert max(row.planned for row in rows) <= stopped + 10
    assert any(row.finished > stopped for row in rows), "nothing was in flight at stop"


def test_latency_counts_from_the_planned_time(tmp_path: Path) -> None:
    """A client that waits for its turn would see 0.2 s each; an open loop keeps its rate."""
    options = ("--slow", "0.2-0.2")
    with Faulty({}) as server:
        run = Load(server.url, mix={"slow": 100.0}, out=tmp_path, options=options, duration=1.0)
        result = run.start().wait()
    books_balance(result)
    assert result.planned > 60
    for row in result.rows():
        assert row.latency_ms >= 199.0 + row.lag_ms * 0.99, row


def test_the_plan_depends_on_the_seed_only(tmp_path: Path) -> None:
    with Faulty({"drop": 0.5}, seed=2) as bad, Faulty({}) as good:
        runs = [
            load(server.url, tmp_path / str(index), rate=150, duration=1.0, seed=5)
            for index, server in enumerate((bad, good))
        ]
    plans = [
        [(row.kind, round(row.planned - run.summary["started"], 3)) for row in sorted_rows(run)]
        for run in runs
    ]
    assert [kind for kind, ignored in plans[0]] == [kind for kind, ignored in plans[1]]
    pairs = zip(plans[0], plans[1], strict=True)
    assert all(abs(one[1] - two[1]) <= 0.002 for one, two in pairs)


def sorted_rows(result: Result) -> list[outcome.Row]:
    return sorted(result.rows(), key=lambda row: row.id)


class Naive:
    """What common clients do: retry a GET once on a connection that turned out to be dead."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=5)
        self.outcomes: Counter[str] = Counter()
        self.retries = 0

    def get(self) -> None:
        for attempt in (1, 2):
            try:
                self._connection.request("GET", "/")
                answer = self._connection.getresponse()
                answer.read()
                self.outcomes[OK if answer.status == 200 else "failed"] += 1
                return
            except (http.client.RemoteDisconnected, ConnectionError):
                self._connection.close()
                self.retries += 1
                if attempt == 2:
                    self.outcomes["failed"] += 1


def test_positive_control_a_retrying_client_hides_what_we_count(tmp_path: Path) -> None:
    """Same server, same faults: the naive client says 0 failed, the generator says how many."""
    with Faulty({AFTER_ANSWER: 0.1}) as server:
        naive = Naive(server.url)
        for _number in range(300):
            naive.get()
        assert naive.outcomes == {OK: 300}
        assert naive.retries == server.by_fault[AFTER_ANSWER] > 10
    with Faulty({AFTER_ANSWER: 0.1}) as server:
        result = load(server.url, tmp_path, mix={"keepalive": 150.0}, duration=2.0)
        assert result.failed == server.by_fault[AFTER_ANSWER] > 10


def test_a_killed_owner_leaves_no_load_behind(tmp_path: Path) -> None:
    """The generator ends by itself, with balanced books, when its owner is killed."""
    owner = (
        "import sys, time; from tools.loadgen import Load; "
        "Load(sys.argv[1], rate=50, out=sys.argv[2], options=('--slow', '0.1-0.2')).start(); "
        "print('up', flush=True); time.sleep(60)"
    )
    with Faulty({}) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", owner, server.url, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.kill()
        process.wait()
        process.stdout.close()
        summary = tmp_path / "summary.json"
        deadline = time.monotonic() + 60
        while not summary.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        books_balance(Result(tmp_path, json.loads(summary.read_text(encoding="utf-8"))))
