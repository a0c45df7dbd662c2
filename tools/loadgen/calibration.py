# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""A server that loses a known number of requests, to check that the generator counts them all.

It speaks just enough HTTP and WebSocket for the generator, on raw sockets, because a proper server
would not let us misbehave at the exact moment that matters.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType

from tools.loadgen import outcome
from tools.loadgen.websocket import GUID

STALL = 600.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request as read from a connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def answer(status: int, body: bytes, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nX-App-Version: 1.0.0\r\nX-App-Instance: calibration\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"

FAULTS: Mapping[str, tuple[str, bytes, str]] = {
    "status_503": (outcome.HTTP_5XX, answer(503, b"busy"), "keep"),
    "status_500_close": (outcome.HTTP_5XX, answer(500, b"x", "Connection: close\r\n"), "close"),
    "status_404": (outcome.HTTP_OTHER, answer(404, b"none"), "keep"),
    "status_302": (outcome.HTTP_OTHER, answer(302, b""), "keep"),
    "drop": (outcome.CLOSED, b"", "close"),
    "reset": (outcome.RESET, b"", "reset"),
    "short_body": (outcome.TRUNCATED, answer(200, b"x" * 100)[:-40], "close"),
    "short_head": (outcome.TRUNCATED, b"HTTP/1.1 200 X\r\nContent-", "close"),
    "short_chunks": (outcome.TRUNCATED, CHUNKED + b"5\r\nhello\r\n", "close"),
    "short_chunk": (outcome.TRUNCATED, CHUNKED + b"50\r\nhello", "close"),
    "stall": (outcome.TIMEOUT, b"", "stall"),
    "stall_in_body": (outcome.TIMEOUT, answer(200, b"x" * 100)[:-40], "stall"),
    "garbage": (outcome.MALFORMED, b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "close"),
}
"""Fault: (the outcome that the generator must count, what is sent, what then happens)."""

AFTER_ANSWER = "close_when_reused"
"""Answer properly, promise keep-alive, and close while the next request is on its way."""


class Faulty:
    """Serves in a thread of its own; `injected` counts what it did, by outcome."""

    def __init__(self, shares: Mapping[str, float], seed: int = 1) -> None:
        self._shares = dict(shares)
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.injected: Counter[str] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.served = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Faulty:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(5)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    async def _start(self) -> None:
        self._spawn(self._accept())

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            peer = (await self._loop.sock_accept(self._listener))[0]
            peer.setblocking(False)
            self._spawn(self._serve(peer))

    async def _serve(self, peer: socket.socket) -> None:
        """One connection; what a client does to it (closing, resetting) is not of interest."""
        with peer:
            try:
                while (request := await self._read(peer)) is not None:
                    if not await self._respond(peer, request):
                        return
            except ConnectionError:
                return

    async def _read(self, peer: socket.socket) -> Request | None:
        data = b""
        while b"\r\n\r\n" not in data:
            part = await self._loop.sock_recv(peer, 65536)
            if not part:
                return None
            data += part
        head, body = data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, v in (line.split(":", 1) for line in lines[1:])}
        while len(body) < int(headers.get("content-length", "0")):
            body += await self._loop.sock_recv(peer, 65536)
        method, path = lines[0].split(" ")[:2]
        return Request(method, path, headers, body)

    def _choose(self) -> str | None:
        """The fault of this request, by the shares; None is a proper answer."""
        point = self._random.random()
        for fault, share in self._shares.items():
            point -= share
            if point < 0:
                return fault
        return None

    def _count(self, fault: str, result: str) -> None:
        self.by_fault[fault] += 1
        self.injected[result] += 1

    async def _respond(self, peer: socket.socket, request: Request) -> bool:
        """Answer or misbehave; false when the connection is over."""
        fault = self._choose()
        if fault is not None and fault in FAULTS:
            return await self._misbehave(peer, fault)
        if fault == "bad_digest" and request.method == "POST":
            self._count(fault, outcome.BAD_BODY)
            wrong = json.dumps({"sha256": "0" * 64, "length": len(request.body)}).encode()
            await self._loop.sock_sendall(peer, answer(201, wrong))
            return True
        if request.path.endswith("/ws"):
            await self._websocket(peer, request, cut=fault == "cut_websocket")
            return False
        await self._good(peer, request)
        self.served += 1
        if fault == AFTER_ANSWER and request.headers.get("connection") != "close":
            return await self._close_when_reused(peer)
        return request.headers.get("connection") != "close"

    async def _misbehave(self, peer: socket.socket, fault: str) -> bool:
        result, data, then = FAULTS[fault]
        self._count(fault, result)
        if data:
            await self._loop.sock_sendall(peer, data)
        if then == "stall":
            await asyncio.sleep(STALL)
        if then == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return then == "keep"

    async def _close_when_reused(self, peer: socket.socket) -> bool:
        """Wait until the next request has arrived, and close without reading it: the kernel
        answers it with a reset, as it does when a server's idle timeout meets a new request."""
        readable = asyncio.Event()
        self._loop.add_reader(peer, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(peer)
        if peer.recv(1, socket.MSG_PEEK):
            self._count(AFTER_ANSWER, outcome.RESET)
        return False

    async def _good(self, peer: socket.socket, request: Request) -> None:
        path, _unused, query = request.path.partition("?")
        values = dict(pair.split("=") for pair in query.split("&") if pair)
        if path == "/slow":
            await asyncio.sleep(float(values["s"]))
        if path == "/orders":
            digest = hashlib.sha256(request.body).hexdigest()
            content = json.dumps({"sha256": digest, "length": len(request.body)}).encode()
            await self._loop.sock_sendall(peer, answer(201, content))
        elif path == "/stream":
            await self._loop.sock_sendall(peer, CHUNKED)
            for number in range(int(values["n"])):
                line = f"chunk {number}\n".encode()
                await self._loop.sock_sendall(peer, b"%x\r\n%s\r\n" % (len(line), line))
                await asyncio.sleep(float(values["interval"]))
            await self._loop.sock_sendall(peer, b"0\r\n\r\n")
        else:
            await self._loop.sock_sendall(peer, answer(200, b"hello"))

    async def _websocket(self, peer: socket.socket, request: Request, cut: bool) -> None:
        key = request.headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        await self._loop.sock_sendall(
            peer,
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept,
        )
        if cut:
            self._count("cut_websocket", outcome.TRUNCATED)
            return
        self.served += 1
        while frame := await self._loop.sock_recv(peer, 256):
            mask, payload = frame[2:6], frame[6:]
            plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
            await self._loop.sock_sendall(peer, bytes([frame[0], len(plain)]) + plain)
