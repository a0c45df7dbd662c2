# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Client connections without any retry: every exchange ends in an answer or a named failure."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast

from tools.loadgen import outcome
from tools.loadgen.outcome import ExchangeFailed
from tools.loadgen.wire import Malformed, ResponseParser


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client waits, in seconds."""

    connect: float = 5.0
    answer: float = 15.0


def lost(error: BaseException | None, started: bool) -> ExchangeFailed:
    """The failure of an exchange whose connection went away."""
    detail = str(error) if error else "closed by the peer"
    if started:
        return ExchangeFailed(outcome.TRUNCATED, detail)
    if isinstance(error, OSError):
        return ExchangeFailed(outcome.RESET, detail)
    return ExchangeFailed(outcome.CLOSED, detail)


def not_connected(error: OSError) -> ExchangeFailed:
    """The failure of an exchange that got no connection."""
    if isinstance(error, ConnectionRefusedError):
        return ExchangeFailed(outcome.CONNECT_REFUSED, str(error))
    if isinstance(error, TimeoutError):
        return ExchangeFailed(outcome.CONNECT_TIMEOUT, str(error))
    if isinstance(error, ConnectionResetError):
        return ExchangeFailed(outcome.RESET, str(error))
    return ExchangeFailed(outcome.CONNECT_ERROR, str(error))


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = ResponseParser()
        self._answer: asyncio.Future[ResponseParser] | None = None
        self._error: ExchangeFailed | None = None
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()
            return
        try:
            complete = self._parser.feed(data)
        except Malformed as exc:
            self._fail(ExchangeFailed(outcome.MALFORMED, str(exc), self._parser.status))
            return
        if complete:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._answer is None or self._answer.done():
            return
        if exc is None and self._parser.eof():
            self._finish()
        else:
            self._fail(lost(exc, self._parser.started))

    def _finish(self) -> None:
        self.usable = self.usable and self._parser.keep_alive and not self._parser.surplus
        if self._answer is not None:
            self._answer.set_result(self._parser)

    def _fail(self, failure: ExchangeFailed) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure)
        if self._transport is not None:
            self._transport.abort()

    def _late(self) -> None:
        self._fail(ExchangeFailed(outcome.TIMEOUT, self._progress(), self._parser.status))

    def _progress(self) -> str:
        if not self._parser.started:
            return "no byte of an answer"
        return f"status {self._parser.status}, {len(self._parser.body)} bytes of the body"

    async def exchange(self, request: bytes, seconds: float) -> ResponseParser:
        """Send a request and return its complete answer."""
        loop = asyncio.get_running_loop()
        self._parser = ResponseParser()
        self._answer = loop.create_future()
        if self._transport is None or self._transport.is_closing():
            raise ExchangeFailed(outcome.CLOSED, "closed by the peer")
        timer = loop.call_later(seconds, self._late)
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()


class Pool:
    """Connects, and keeps idle connections; the one idle longest is used first: the hardest."""

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        self._host = host
        self._port = port
        self._limits = limits
        self._idle: deque[Connection] = deque()

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect):
                made = await loop.create_connection(Connection, self._host, self._port)
        except OSError as exc:
            raise not_connected(exc) from exc
        return made[1]

    async def once(self, request: bytes) -> ResponseParser:
        """An exchange on a connection of its own."""
        connection = await self.connect()
        try:
            return await connection.exchange(request, self._limits.answer)
        finally:
            connection.close()

    async def kept(self, request: bytes) -> ResponseParser:
        """An exchange on a kept connection, or a new one if none is idle."""
        connection = self._take() or await self.connect()
        answer = await connection.exchange(request, self._limits.answer)
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _take(self) -> Connection | None:
        """An idle connection that was not seen closed yet; if it is closed, that is a failure."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.usable:
                return connection
        return None

    def close(self) -> None:
        while self._idle:
            self._idle.popleft().close()
