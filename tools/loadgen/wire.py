# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""An incremental parser of HTTP/1.1 answers that knows whether an answer is complete."""

from __future__ import annotations

from enum import Enum

MAX_HEAD = 64 * 1024


class Malformed(Exception):
    """The bytes are not an HTTP/1.1 answer."""


class _State(Enum):
    HEAD = "head"
    LENGTH = "length"
    CHUNK_SIZE = "chunk size"
    CHUNK_DATA = "chunk data"
    TRAILER = "trailer"
    UNTIL_CLOSE = "until close"
    DONE = "done"


class ResponseParser:
    """Feed it bytes as they come; it never guesses that an unfinished answer is fine."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.keep_alive = False
        self.started = False
        self._state = _State.HEAD
        self._buffer = bytearray()
        self._body = bytearray()
        self._left = 0
        self._steps = {
            _State.HEAD: self._head,
            _State.LENGTH: self._length,
            _State.CHUNK_SIZE: self._chunk_size,
            _State.CHUNK_DATA: self._chunk_data,
            _State.TRAILER: self._trailer,
            _State.UNTIL_CLOSE: self._until_close,
        }

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    @property
    def done(self) -> bool:
        return self._state is _State.DONE

    @property
    def surplus(self) -> bool:
        """Bytes after the end of the answer: the connection must not be used again."""
        return self.done and bool(self._buffer)

    def feed(self, data: bytes) -> bool:
        """Take bytes; true once the answer is complete."""
        self.started = True
        self._buffer += data
        while not self.done and self._steps[self._state]():
            pass
        return self.done

    def eof(self) -> bool:
        """The peer closed: true if that completes the answer."""
        if self._state is _State.UNTIL_CLOSE:
            self._state = _State.DONE
        return self.done

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise Malformed("a line without an end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise Malformed("a head without an end")
            if not b"HTTP/1.".startswith(self._buffer[:7]):
                raise Malformed(f"not HTTP: {bytes(self._buffer[:20])!r}")
            return False
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        self._status_line(lines[0])
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon:
                raise Malformed(f"not a header: {line[:40]!r}")
            self.headers[name.strip().lower()] = value.strip()
        self._choose_body(http_1_0=lines[0].startswith(b"HTTP/1.0"))
        return True

    def _status_line(self, line: bytes) -> None:
        words = line.split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise Malformed(f"not a status line: {line[:40]!r}")
        self.status = int(words[1])

    def _choose_body(self, http_1_0: bool) -> None:
        connection = self.headers.get(b"connection", b"").lower()
        self.keep_alive = b"close" not in connection
        if http_1_0:
            self.keep_alive = b"keep-alive" in connection
        if 100 <= self.status < 200 and self.status != 101:
            self._state = _State.HEAD
        elif self.status in (101, 204, 304):
            self._state = _State.DONE
        elif b"chunked" in self.headers.get(b"transfer-encoding", b"").lower():
            self._state = _State.CHUNK_SIZE
        elif b"content-length" in self.headers:
            length = self.headers[b"content-length"]
            if not length.isdigit():
                raise Malformed(f"content-length {length[:20]!r}")
            self._left = int(length)
            self._state = _State.LENGTH
        else:
            self.keep_alive = False
            self._state = _State.UNTIL_CLOSE

    def _take(self) -> bool:
        """Move announced bytes to the body; true when all of them are there."""
        part = self._buffer[: self._left]
        self._body += part
        del self._buffer[: len(part)]
        self._left -= len(part)
        return self._left == 0

    def _length(self) -> bool:
        if self._take():
            self._state = _State.DONE
            return True
        return False

    def _chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        try:
            self._left = int(line.partition(b";")[0], 16)
        except ValueError:
            raise Malformed(f"chunk size {line[:20]!r}") from None
        self._state = _State.CHUNK_DATA if self._left else _State.TRAILER
        return True

    def _chunk_data(self) -> bool:
        if not self._take() or len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise Malformed("chunk without an end")
        del self._buffer[:2]
        self._state = _State.CHUNK_SIZE
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if not line:
            self._state = _State.DONE
        return True

    def _until_close(self) -> bool:
        self._body += self._buffer
        self._buffer.clear()
        return False
