# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""A conversation is judged by its messages, whatever else the server sends in between."""

from __future__ import annotations

import asyncio
from typing import Any

from tools.loadgen.websocket import CLOSE, PING, PONG, TEXT, Conversation


class Writer:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.frames.append(data)


def told(*frames: tuple[int, bytes]) -> tuple[tuple[int, bytes], list[int]]:
    """Return the next frame that counts, and the opcodes of what was answered meanwhile."""

    async def ask() -> Any:
        reader, writer = asyncio.StreamReader(), Writer()
        for opcode, payload in frames:
            reader.feed_data(bytes([0x80 | opcode, len(payload)]) + payload)
        conversation = object.__new__(Conversation)
        return await conversation._answer(reader, writer), writer.frames  # type: ignore[arg-type]  # a fake writer

    found, written = asyncio.run(ask())
    return found, [frame[0] & 0x0F for frame in written]


def test_a_ping_is_answered_and_is_no_message() -> None:
    """A server sends some when a conversation takes long; it was counted as a wrong answer."""
    assert told((PING, b"abcd"), (PING, b""), (TEXT, b"m")) == ((TEXT, b"m"), [PONG, PONG])


def test_what_is_no_ping_is_handed_on() -> None:
    assert told((CLOSE, b"")) == ((CLOSE, b""), [])
