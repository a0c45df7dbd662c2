# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What a real HAProxy shows of connections that do not end, and what a drain does about them."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import long_lived, targets
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import LoadBalancerError
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    LongLived,
)
from tests.integration.pytest.haproxy_rig import PATIENCE, App, Haproxy, eventually

CLOCK = SystemClock()
UPGRADE = b"Connection: Upgrade\r\nUpgrade: test\r\n"


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    made, app = Haproxy(tmp_path), App(tmp_path, "one")
    made.start()
    driver = made.driver()
    targets.register_standby(driver, "one", app.address, app.port)
    targets.await_healthy(driver, "one", PATIENCE, CLOCK)
    targets.activate(driver, "one")
    yield made
    app.kill()
    made.kill()


class Client:
    """A connection that stays open."""

    def __init__(self, haproxy: Haproxy, path: str, headers: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", haproxy.port), PATIENCE)
        self._socket.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path.encode(), headers))
        assert self._socket.recv(4096).startswith(b"HTTP/1.1 ")

    def cut(self, seconds: float) -> bool:
        """Whether it is closed within that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                try:
                    if not self._socket.recv(4096):
                        return True
                except ConnectionResetError:
                    return True
        return False

    def close(self) -> None:
        self._socket.close()


def drain(haproxy: Haproxy, rule: LongLived, timeout: float = PATIENCE) -> int:
    """Drain as the step does; return how many connections were closed."""
    driver, closed, began = haproxy.driver(), [], CLOCK.monotonic()
    targets.start_drain(driver, "one")
    targets.await_drained(
        driver,
        ["one"],
        timeout,
        CLOCK,
        apart=lambda name: len(long_lived.long_lived(driver, name, rule)),
    )
    long_lived.close_paced(
        driver,
        "one",
        rule,
        left=lambda seconds: max(0.0, seconds - (CLOCK.monotonic() - began)),
        guard=contextlib.nullcontext,
        closed=lambda: closed.append(1),
        note=lambda _text: None,
        clock=CLOCK,
    )
    targets.await_drained(driver, ["one"], PATIENCE, CLOCK)
    targets.deregister(driver, "one")
    return len(closed)


def test_upgraded_connections_are_closed_and_only_they(haproxy: Haproxy) -> None:
    upgraded = [Client(haproxy, "/upgrade", UPGRADE) for _client in range(5)]
    with haproxy.held() as held:
        eventually(lambda: len(haproxy.driver().sessions("one")) == 6)
        assert sum(item.tunnel for item in haproxy.driver().sessions("one")) == 5
        held.release()
        assert drain(haproxy, LongLived(timeout=0, close_over=1)) == 5
    assert [status for status, _body in held.answers] == [200], (
        "a request is no long-lived connection"
    )
    assert all(client.cut(PATIENCE) for client in upgraded)
    assert haproxy.driver().targets() == ()


def test_without_a_rule_a_drain_waits_for_them_and_cuts_nothing(haproxy: Haproxy) -> None:
    client = Client(haproxy, "/upgrade", UPGRADE)
    targets.start_drain(haproxy.driver(), "one")
    with pytest.raises(LoadBalancerError, match="1 in flight"):
        targets.await_drained(haproxy.driver(), ["one"], 1, CLOCK)
    assert not client.cut(0.5)
    client.close()


def test_a_stream_is_one_only_when_it_is_older(haproxy: Haproxy) -> None:
    stream = Client(haproxy, "/stream")
    with pytest.raises(LoadBalancerError, match="1 in flight"):
        drain(haproxy, LongLived(timeout=0, close_over=0), timeout=1)
    assert not stream.cut(0.5)
    eventually(lambda: haproxy.driver().sessions("one")[0].seconds >= 2)
    assert drain(haproxy, LongLived(timeout=0, close_over=0, older_than=2)) == 1
    assert stream.cut(PATIENCE)


def test_one_that_ends_in_its_time_is_not_closed(haproxy: Haproxy) -> None:
    client = Client(haproxy, "/upgrade", UPGRADE)
    eventually(lambda: haproxy.driver().sessions("one"))
    client.close()
    assert drain(haproxy, LongLived(timeout=20, close_over=0)) == 0


def test_lb_06_those_of_a_leaving_worker_are_closed_too(haproxy: Haproxy) -> None:
    client = Client(haproxy, "/upgrade", UPGRADE)
    eventually(lambda: haproxy.driver().sessions("one"))
    haproxy.driver().persist()
    haproxy.reload()
    eventually(lambda: haproxy.driver().sessions("one"))
    assert drain(haproxy, LongLived(timeout=0, close_over=0)) == 1
    assert client.cut(PATIENCE)


def test_what_has_ended_is_not_closed_in_the_place_of_another(haproxy: Haproxy) -> None:
    driver = haproxy.driver()
    first = Client(haproxy, "/upgrade", UPGRADE)
    eventually(lambda: driver.sessions("one"))
    ended = driver.sessions("one")[0]
    first.close()
    eventually(lambda: not driver.sessions("one"))
    second = Client(haproxy, "/upgrade", UPGRADE)  # often at the same address
    eventually(lambda: driver.sessions("one"))
    assert driver.close("one", ended) is False
    assert not second.cut(0.5)
    second.close()
