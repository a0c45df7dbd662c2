# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    InvalidInput,
    ProbeError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import HttpProbe


def reply(status: int, body: bytes = b"ok", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def probe(port: int, expect: str = "", status: tuple[int, ...] = (200,), **more: Any) -> HttpProbe:
    return HttpProbe(path="/readyz", status=status, expect=expect, port=port, **more)


def always(data: bytes) -> Any:
    async def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


@pytest.mark.parametrize(
    ("data", "expect", "ok", "status", "says"),
    [
        (reply(200), "", True, 200, "status 200"),
        (reply(204, b""), "", False, 204, "status 204: empty body"),
        (reply(503, b"starting\n"), "", False, 503, "status 503: 'starting'"),
        (reply(503, b"\x1b[2J\x00bad"), "", False, 503, "?[2J?bad"),
        (reply(200, b'{"status": "ok"}'), "status == 'ok'", True, 200, "status == 'ok'"),
        (reply(200, b'{"status": "no"}'), "status == 'ok'", False, 200, "is not true"),
        (reply(200, b'{"status": "ok"}'), "status", False, 200, "status is not true"),
        (reply(200, b'{"n": 1}'), "length(n) == `1`", False, 200, "is not true"),
        (reply(200, b"<html>"), "status == 'ok'", False, 200, "not JSON"),
        (reply(200, b"[" * 60000), "status == 'ok'", False, 200, "not JSON"),
        (reply(200, b"\xff\xfe"), "status == 'ok'", False, 200, "not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "", False, None, "IncompleteRead"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "",
            False,
            None,
            "IncompleteRead",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "",
            True,
            200,
            "status 200",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "", True, 200, "status 200"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "", False, None, "BadStatusLine"),
        (b"", "", False, None, "RemoteDisconnected"),
    ],
)
def test_what_one_look_makes_of_an_answer(
    serve: Any, data: bytes, expect: str, ok: bool, status: int | None, says: str
) -> None:
    result = probe(serve(always(data)).port, expect).check("127.0.0.1")
    assert (result.ok, result.status) == (ok, status), result
    assert says in result.detail, result


def test_it_asks_the_targets_own_address_and_nothing_else(serve: Any) -> None:
    server = serve(always(reply(200)))
    assert probe(server.port).check("127.0.0.1").ok
    head = server.heads[0].decode()
    assert head.startswith("GET /readyz HTTP/1.1\r\n"), head
    assert f"\r\nHost: 127.0.0.1:{server.port}\r\n" in head
    assert "Connection: close" in head


def test_ro_05_a_redirect_is_an_answer_and_never_followed(serve: Any) -> None:
    elsewhere = serve(always(reply(200)))
    server = serve(always(reply(302, b"", f"Location: http://127.0.0.1:{elsewhere.port}/")))
    result = probe(server.port).check("127.0.0.1")
    assert (result.ok, result.status) == (False, 302), result
    assert elsewhere.heads == []
    assert probe(server.port, status=(302,)).check("127.0.0.1").ok
    assert elsewhere.heads == []


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6400000\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\nX: " + b"\r\nX: ".join([b"y" * 60000] * 20),
    ],
    ids=["says so", "until the end", "one chunk", "endless header line", "many long headers"],
)
def test_ro_05_a_hundred_megabytes_are_not_read(serve: Any, head: bytes) -> None:
    sent = 0

    async def flood(_head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        for _block in range(1600):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    begin = time.monotonic()
    result = probe(serve(flood).port).check("127.0.0.1")
    assert not result.ok, result
    assert time.monotonic() - begin < 3
    assert sent < 32 << 20, f"{sent} bytes were taken off the server"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"])
def test_ro_05_one_byte_a_second_does_not_stretch_the_deadline(serve: Any, head: bytes) -> None:
    async def drip(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for letter in b"HTTP/1.1 200 OK and so on":
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.4)

    begin = time.monotonic()
    result = probe(serve(drip).port, timeout=0.5).check("127.0.0.1")
    took = time.monotonic() - begin
    assert (result.ok, result.status) == (False, None), result
    assert "no complete answer within 0.5 s" in result.detail
    assert 0.4 < took < 5, "the whole answer takes 10 s"


def test_a_closed_port_is_refused_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert probe(port).check("127.0.0.1").detail == "connection refused"


def test_ro_04_an_expectation_tells_a_stranger_on_the_port(serve: Any) -> None:
    stranger = serve(always(reply(200, json.dumps({"version": "0.9.0"}).encode())))
    result = probe(stranger.port, "version == '1.1.0'").check("127.0.0.1")
    assert not result.ok
    assert "version == '1.1.0' is not true" in result.detail


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "readyz"}, "readiness.path: probe path must start with /"),
        ({"path": "file:///etc/passwd"}, "probe path must start with /"),
        ({"path": "http://169.254.169.254/"}, "probe path must start with /"),
        ({"path": None}, "probe path must start with /"),
        ({"path": "/a b"}, "printable ASCII"),
        ({"path": "/a\r\nHost: x"}, "printable ASCII"),
        ({"path": "/\u200b"}, "printable ASCII"),
        ({"path": "/" + "a" * 3000}, "printable ASCII"),
        ({"port": 0}, "port must be an integer 1-65535"),
        ({"port": 65536}, "port must be an integer 1-65535"),
        ({"port": "80a"}, "port must be an integer 1-65535"),
        ({"port": True}, "port must be an integer 1-65535"),
        ({"status": ()}, "must be a list of HTTP statuses 100-599"),
        ({"status": (99,)}, "must be a list of HTTP statuses 100-599"),
        ({"status": (True,)}, "must be a list of HTTP statuses 100-599"),
        ({"expect": "status =="}, "readiness.expect: not a JMESPath expression"),
        ({"expect": "nosuch(a)"}, "readiness.expect: not a JMESPath expression"),
        ({"expect": 5}, "must be a JMESPath expression"),
    ],
)
def test_bad_options_are_refused_when_the_probe_is_made(options: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"path": "/", "status": (200,), "expect": "", "port": 80} | options
    with pytest.raises(InvalidInput) as caught:
        HttpProbe(**given)
    assert says in caught.value.message, caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("address", ["", "localhost", "169.254.169.254", "a.example"])
def test_se_16_only_a_plain_address_of_a_target_is_asked(address: str) -> None:
    with pytest.raises(ProbeError):
        probe(80).check(address)
