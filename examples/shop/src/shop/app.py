# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The ASGI application: routes, and what each of them answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from shop.config import Config
from shop.lifecycle import OK, Lifecycle

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 8 * 1024 * 1024
MAX_SLOW = 60.0
MAX_CHUNKS = 1000


class BadRequest(Exception):
    """The client asked for something outside the documented bounds."""


def _number(scope: Scope, name: str, default: float, upper: float) -> float:
    values = parse_qs(scope["query_string"].decode("latin-1")).get(name)
    if not values:
        return default
    try:
        value = float(values[0])
    except ValueError:
        raise BadRequest(f"{name} must be a number") from None
    if not 0 <= value <= upper:
        raise BadRequest(f"{name} must be between 0 and {upper:g}")
    return value


async def _body(receive: Receive) -> tuple[str, int]:
    """Digest and length of the request body, without keeping it."""
    digest, length, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        chunk = message.get("body", b"")
        digest.update(chunk)
        length += len(chunk)
        more = message.get("more_body", False)
        if length > MAX_BODY:
            raise BadRequest(f"body is larger than {MAX_BODY} bytes")
    return digest.hexdigest(), length


class Shop:
    """The application; one instance per process."""

    def __init__(self, config: Config, life: Lifecycle, log: logging.Logger) -> None:
        self.config = config
        self.life = life
        self.log = log
        self._headers = [
            (b"content-type", b"application/json"),
            (b"x-app-version", config.version.encode("latin-1", "replace")),
            (b"x-app-instance", config.instance.encode("latin-1", "replace")),
        ]
        self._probes = {"/readyz": self._readyz, "/healthz": self._healthz}
        self._routes = {
            ("GET", "/"): self._home,
            ("GET", "/slow"): self._slow,
            ("POST", "/orders"): self._orders,
            ("GET", "/stream"): self._stream,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._counted(self._websocket(scope, receive, send))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        probe = self._probes.get(scope["path"])
        if probe is not None:
            await self._answer(send, *probe())
            return
        began = time.monotonic()
        status = await self._counted(self._work(scope, receive, send))
        if self.config.access_log:
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round((time.monotonic() - began) * 1000, 1),
            }
            self.log.info("request", extra={"fields": fields})

    async def _counted(self, work: Awaitable[int]) -> int:
        self.life.begin()
        try:
            return await work
        finally:
            self.life.end()

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> int:
        if not self.life.serves():
            return await self._answer(send, 503, {"status": self.life.status()})
        if random.random() < self.config.faults.error_rate:
            return await self._answer(send, 500, {"error": "injected fault"})
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        route = self._routes.get((method, scope["path"]))
        if route is None:
            known = any(path == scope["path"] for ignored, path in self._routes)
            status, error = (405, "method not allowed") if known else (404, "not found")
            return await self._answer(send, status, {"error": error})
        try:
            return await route(scope, receive, send)
        except BadRequest as exc:
            return await self._answer(send, 400, {"error": str(exc)}, close=True)

    def _head(self, close: bool = False) -> list[tuple[bytes, bytes]]:
        """While stopping, tell the load balancer not to reuse the connection."""
        if close or self.life.stopping:
            return [*self._headers, (b"connection", b"close")]
        return list(self._headers)

    async def _answer(
        self, send: Send, status: int, content: dict[str, Any], close: bool = False
    ) -> int:
        body = json.dumps(content).encode() + b"\n"
        headers = [*self._head(close), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return status

    def _readyz(self) -> tuple[int, dict[str, Any]]:
        status = self.life.status()
        content = {
            "status": status,
            "version": self.config.version,
            "instance": self.config.instance,
            "in_flight": self.life.in_flight,
        }
        return (200 if status == OK else 503), content

    def _healthz(self) -> tuple[int, dict[str, Any]]:
        return 200, {"alive": True, "version": self.config.version}

    async def _home(self, scope: Scope, receive: Receive, send: Send) -> int:
        content = {
            "greeting": self.config.greeting,
            "version": self.config.version,
            "instance": self.config.instance,
            "database": {"configured": self.config.database_configured},
        }
        return await self._answer(send, 200, content)

    async def _slow(self, scope: Scope, receive: Receive, send: Send) -> int:
        seconds = _number(scope, "s", 2.5, MAX_SLOW)
        await asyncio.sleep(seconds)
        return await self._answer(send, 200, {"slept": seconds, "version": self.config.version})

    async def _orders(self, scope: Scope, receive: Receive, send: Send) -> int:
        digest, length = await _body(receive)
        content = {"sha256": digest, "length": length, "version": self.config.version}
        return await self._answer(send, 201, content)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> int:
        chunks = int(_number(scope, "n", 10, MAX_CHUNKS))
        interval = _number(scope, "interval", 0.1, MAX_SLOW)
        await send({"type": "http.response.start", "status": 200, "headers": self._head()})
        for number in range(chunks):
            line = json.dumps({"chunk": number, "of": chunks}).encode() + b"\n"
            await send({"type": "http.response.body", "body": line, "more_body": True})
            await asyncio.sleep(interval)
        await send({"type": "http.response.body", "body": b""})
        return 200

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Echo every message; the client ends the conversation."""
        await receive()
        if scope["path"] != "/ws" or not self.life.serves():
            await send({"type": "websocket.close", "code": 1013})
            return 403
        await send({"type": "websocket.accept", "headers": self._headers[1:]})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return 101
            echo = {"type": "websocket.send", "text": message.get("text")}
            if message.get("text") is None:
                echo = {"type": "websocket.send", "bytes": message.get("bytes")}
            await send(echo)
