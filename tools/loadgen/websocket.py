# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""One WebSocket conversation: handshake, echoes at a steady pace, close handshake."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from dataclasses import dataclass

from tools.loadgen import outcome
from tools.loadgen.connection import Limits, lost, not_connected
from tools.loadgen.outcome import ExchangeFailed, Seen
from tools.loadgen.wire import Malformed, ResponseParser

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """A masked client frame; payloads here are short."""
    if len(payload) > 125:
        raise ValueError("payload longer than 125 bytes")
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked


@dataclass(frozen=True, slots=True)
class Talk:
    """What to say: so many messages, so many seconds apart."""

    host: str
    port: int
    path: str
    messages: int
    interval: float
    limits: Limits


class Conversation:
    """A client of one conversation."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._started = False

    async def run(self) -> Seen:
        reader, writer = await self._connect()
        budget = self._talk.limits.answer + self._talk.messages * self._talk.interval
        try:
            async with asyncio.timeout(budget):
                return await self._converse(reader, writer)
        except TimeoutError as exc:
            raise ExchangeFailed(outcome.TIMEOUT, "no answer in the conversation") from exc
        except asyncio.IncompleteReadError as exc:
            raise lost(None, self._started or bool(exc.partial)) from exc
        except OSError as exc:
            raise lost(exc, self._started) from exc
        except Malformed as exc:
            raise ExchangeFailed(outcome.MALFORMED, str(exc)) from exc
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self._talk.limits.connect):
                return await asyncio.open_connection(self._talk.host, self._talk.port)
        except OSError as exc:
            raise not_connected(exc) from exc

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen:
        answer = await self._handshake(reader, writer)
        for number in range(self._talk.messages):
            text = f"message {number}".encode()
            writer.write(frame(TEXT, text, os.urandom(4)))
            opcode, payload = await self._told(reader, writer)
            if opcode == CLOSE:
                raise ExchangeFailed(outcome.TRUNCATED, f"closed by the peer: {payload!r}")
            if (opcode, payload) != (TEXT, text):
                raise ExchangeFailed(outcome.BAD_BODY, f"expected {text!r}, got {payload!r}")
            await asyncio.sleep(self._talk.interval)
        writer.write(frame(CLOSE, (1000).to_bytes(2, "big"), os.urandom(4)))
        opcode, payload = await self._told(reader, writer)
        if opcode != CLOSE:
            raise ExchangeFailed(outcome.BAD_BODY, f"expected a close frame, got {payload!r}")
        return Seen(
            status=answer.status,
            version=answer.headers.get(b"x-app-version", b"").decode("latin-1"),
            instance=answer.headers.get(b"x-app-instance", b"").decode("latin-1"),
        )

    async def _handshake(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> ResponseParser:
        key = base64.b64encode(os.urandom(16))
        writer.write(
            b"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
            % (self._talk.path.encode(), self._talk.host.encode(), key)
        )
        answer = ResponseParser()
        try:
            answer.feed(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError as exc:
            raise Malformed("a head without an end") from exc
        self._started = True
        if answer.status != 101:
            raise unexpected(answer.status)
        wanted = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        if answer.headers.get(b"sec-websocket-accept") != wanted:
            raise ExchangeFailed(outcome.BAD_BODY, "wrong Sec-WebSocket-Accept", answer.status)
        return answer

    async def _told(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bytes]:
        """Return the next frame that is no ping; a server sends those when a conversation takes long."""
        while True:
            opcode, payload = await self._frame(reader)
            if opcode != PING:
                return opcode, payload
            writer.write(frame(PONG, payload, os.urandom(4)))

    async def _frame(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readexactly(2)
        opcode, length = head[0] & 0x0F, head[1]
        if not head[0] & 0x80 or length > 125:
            raise Malformed(f"unexpected frame {head!r}")
        return opcode, await reader.readexactly(length)


def unexpected(status: int) -> ExchangeFailed:
    """The failure of an answer with another status than expected."""
    kind = outcome.HTTP_5XX if status >= 500 else outcome.HTTP_OTHER
    return ExchangeFailed(kind, str(status), status)
