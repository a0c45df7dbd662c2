# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The kinds of requests: what is sent, and which answer counts as right."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tools.loadgen import outcome, plan
from tools.loadgen.connection import Limits, Pool
from tools.loadgen.outcome import ExchangeFailed, Seen
from tools.loadgen.plan import Planned
from tools.loadgen.websocket import Conversation, Talk, unexpected
from tools.loadgen.wire import ResponseParser


@dataclass(frozen=True)
class Shape:
    """How big and how slow the requests are: ranges from which each request draws."""

    slow: tuple[float, float] = (2.0, 3.0)
    body: tuple[int, int] = (64, 32 * 1024)
    chunks: tuple[int, int] = (3, 12)
    chunk_interval: float = 0.1
    messages: tuple[int, int] = (4, 12)
    message_interval: float = 0.25


@dataclass(frozen=True)
class Target:
    """Where the requests go."""

    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Target:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http:// URL: {url}")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/"))


@dataclass
class Client:
    """Sends one request of any kind; a wrong or missing answer raises ExchangeFailed."""

    target: Target
    seed: int
    shape: Shape = field(default_factory=Shape)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._pool = Pool(self.target.host, self.target.port, self.limits)
        self._noise = random.Random(self.seed).randbytes(self.shape.body[1])
        self._kinds: dict[str, Callable[[random.Random], Awaitable[Seen]]] = {
            plan.KEEPALIVE: self._keepalive,
            plan.NEW: self._new,
            plan.POST: self._post,
            plan.SLOW: self._slow,
            plan.STREAM: self._stream,
            plan.WEBSOCKET: self._websocket,
        }

    async def send(self, planned: Planned) -> Seen:
        return await self._kinds[planned.kind](random.Random(self.seed * 1_000_003 + planned.id))

    def close(self) -> None:
        self._pool.close()

    def _request(self, method: str, path: str, extra: str = "") -> bytes:
        host = f"{self.target.host}:{self.target.port}"
        head = f"{method} {self.target.prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n"
        return head.encode()

    async def _keepalive(self, source: random.Random) -> Seen:
        return self._expect(await self._pool.kept(self._request("GET", "/")), 200)

    async def _new(self, source: random.Random) -> Seen:
        request = self._request("GET", "/", "Connection: close\r\n")
        return self._expect(await self._pool.once(request), 200)

    async def _slow(self, source: random.Random) -> Seen:
        path = f"/slow?s={source.uniform(*self.shape.slow):.3f}"
        return self._expect(await self._pool.kept(self._request("GET", path)), 200)

    async def _post(self, source: random.Random) -> Seen:
        body = self._noise[: source.randint(*self.shape.body)]
        extra = f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
        answer = await self._pool.kept(self._request("POST", "/orders", extra) + body)
        seen = self._expect(answer, 201)
        try:
            content = json.loads(answer.body)
            echoed = (content["sha256"], content["length"])
        except (ValueError, KeyError, TypeError) as exc:
            raise ExchangeFailed(outcome.BAD_BODY, "not the expected JSON", 201) from exc
        if echoed != (hashlib.sha256(body).hexdigest(), len(body)):
            raise ExchangeFailed(outcome.BAD_BODY, f"sent {len(body)} bytes, echo {echoed}", 201)
        return seen

    async def _stream(self, source: random.Random) -> Seen:
        chunks = source.randint(*self.shape.chunks)
        path = f"/stream?n={chunks}&interval={self.shape.chunk_interval}"
        answer = await self._pool.kept(self._request("GET", path))
        seen = self._expect(answer, 200)
        lines = answer.body.count(b"\n")
        if lines != chunks:
            raise ExchangeFailed(outcome.BAD_BODY, f"{lines} of {chunks} chunks", 200)
        return seen

    async def _websocket(self, source: random.Random) -> Seen:
        talk = Talk(
            host=self.target.host,
            port=self.target.port,
            path=self.target.prefix + "/ws",
            messages=source.randint(*self.shape.messages),
            interval=self.shape.message_interval,
            limits=self.limits,
        )
        return await Conversation(talk).run()

    def _expect(self, answer: ResponseParser, status: int) -> Seen:
        if answer.status != status:
            raise unexpected(answer.status)
        return Seen(
            status=status,
            version=answer.headers.get(b"x-app-version", b"").decode("latin-1"),
            instance=answer.headers.get(b"x-app-instance", b"").decode("latin-1"),
        )
