# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import ProbeError
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import (
    HttpProbe,
    ProbeResult,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.ready import (
    Attempt,
    History,
    await_ready,
    summarise,
)
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock


def scripted(script: Callable[[int, float], int]) -> Any:
    """Answer the n-th request, so long after the first, with the status the script says."""
    asked: list[float] = []

    async def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(time.monotonic())
        status = script(len(asked), asked[-1] - asked[0])
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())

    return answer


def wait(
    port: int,
    *,
    successes: int = 2,
    interval: float = 0.1,
    timeout: float = 3,
    still_running: Callable[[], str | None] = lambda: None,
) -> History:
    return await_ready(
        HttpProbe(path="/readyz", status=(200,), expect="", port=port),
        "127.0.0.1",
        successes=successes,
        interval=interval,
        timeout=timeout,
        still_running=still_running,
        clock=SystemClock(),
    )


def oks(history: History) -> list[bool]:
    return [attempt.result.ok for attempt in history]


def test_passes_in_a_row_are_spaced_by_the_interval(serve: Any) -> None:
    history = wait(serve(scripted(lambda n, at: 200)).port, successes=3, interval=0.2)
    assert oks(history) == [True] * 3
    assert 0.35 < history[-1].at - history[0].at < 0.8


def test_ro_03_flapping_is_not_ready_until_the_passes_come_in_a_row(serve: Any) -> None:
    script = {1: 200, 2: 500, 3: 200, 4: 503}
    server = serve(scripted(lambda n, at: script.get(n, 200)))
    history = wait(server.port, successes=3, interval=0.05)
    assert oks(history) == [True, False, True, False, True, True, True]


def test_ro_03_what_flaps_for_ever_is_never_ready(serve: Any) -> None:
    server = serve(scripted(lambda n, at: 200 if n % 2 else 500))
    with pytest.raises(ProbeError, match="not ready within 1 s"):
        wait(server.port, successes=2, interval=0.05, timeout=1)
    assert len(server.heads) > 4


def test_ro_02_never_ready_names_url_last_status_and_history(serve: Any) -> None:
    server = serve(scripted(lambda n, at: 503))
    begin = time.monotonic()
    with pytest.raises(ProbeError) as caught:
        wait(server.port, timeout=0.6)
    assert 0.5 < time.monotonic() - begin < 1.2
    message = caught.value.message
    assert f"http://127.0.0.1:{server.port}/readyz: not ready within 0.6 s" in message, message
    assert "status 503" in message
    history = caught.value.details["probe_history"]
    assert isinstance(history, list)
    assert len(history) == 1
    assert "times)" in history[0]


def test_ro_02_ready_then_unready_is_not_ready(serve: Any) -> None:
    with pytest.raises(ProbeError, match="last answer: status 503"):
        wait(serve(scripted(lambda n, at: 200 if n == 1 else 503)).port, timeout=0.6)


def test_ro_01_waiting_ends_as_soon_as_the_container_did(serve: Any) -> None:
    server = serve(scripted(lambda n, at: 503))
    begin = time.monotonic()
    answers = iter([None, None, "it exited with code 1"])
    with pytest.raises(ProbeError) as caught:
        wait(server.port, timeout=30, still_running=lambda: next(answers))
    assert time.monotonic() - begin < 1
    assert "it exited with code 1; last answer: status 503" in caught.value.message


def test_what_restarted_between_two_passes_is_not_ready(serve: Any) -> None:
    server = serve(scripted(lambda n, at: 200))
    with pytest.raises(ProbeError, match="it restarted"):
        wait(server.port, still_running=lambda: "it restarted")
    assert len(server.heads) == 2


def test_ro_06_just_under_the_deadline_passes_just_over_fails(serve: Any) -> None:
    boots = scripted(lambda n, at: 200 if at > 0.7 else 503)
    assert wait(serve(boots).port, successes=1, timeout=1.2)[-1].result.ok
    boots = scripted(lambda n, at: 200 if at > 0.7 else 503)
    with pytest.raises(ProbeError, match="not ready within 0.5 s"):
        wait(serve(boots).port, successes=1, timeout=0.5)


@pytest.mark.parametrize("boot", [0.3, 1.0])
def test_readiness_is_noticed_at_most_a_tenth_late(serve: Any, boot: float) -> None:
    server = serve(scripted(lambda n, at: 200 if at >= boot else 503))
    history = wait(server.port, successes=1, interval=1, timeout=5)
    assert history[-1].at < boot * 1.1 + 0.2
    assert len(history) < 30, "it asks far too often"


def test_equal_looks_in_a_row_are_told_once() -> None:
    refused = ProbeResult(False, None, "connection refused")
    passed = ProbeResult(True, 200, "status 200")
    history = [
        Attempt(0.0, refused),
        Attempt(0.1, refused),
        Attempt(0.2, passed),
        Attempt(0.3, refused),
    ]
    assert summarise(history) == [
        "0.0 s: connection refused (2 times)",
        "0.2 s: status 200",
        "0.3 s: connection refused",
    ]
    assert summarise(history, last=1) == ["0.3 s: connection refused"]


class Slow:
    """An app that answers 503, after longer than the last look has left."""

    def url(self, address: str) -> str:
        return f"http://{address}/"

    def check(self, _address: str, *, timeout: float, clock: FakeClock) -> ProbeResult:
        clock.sleep(min(0.4, timeout))
        return (
            ProbeResult(False, 503, "status 503")
            if timeout >= 0.4
            else ProbeResult(False, None, f"no complete answer within {timeout:g} s")
        )


def test_a_look_that_was_cut_off_is_not_the_last_answer() -> None:
    probe: Any = Slow()
    with pytest.raises(ProbeError, match="not ready within 1 s; last answer: status 503"):
        await_ready(
            probe,
            "127.0.0.1",
            successes=1,
            interval=0.1,
            timeout=1,
            still_running=lambda: None,
            clock=FakeClock(),
        )
