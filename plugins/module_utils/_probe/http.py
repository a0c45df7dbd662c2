# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bounded HTTP look at a target; private, no stability promised.

Only the target's own address is asked, nothing is followed, and neither a large nor a slow answer
can hold a rollout up: 64 KB of body, and a deadline over the whole exchange that a server sending
one byte a second cannot stretch. An answer that is not complete does not pass, whatever its status
says.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock, SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    ProbeError,
)

MAXIMUM_BODY = 64 * 1024
_MAXIMUM_BYTES = MAXIMUM_BODY + 32 * 1024
"""Body and everything around it."""

_PATH = re.compile(r"/[!-~]{0,2000}", re.ASCII)


@dataclass(frozen=True)
class ProbeResult:
    """What one look saw. C(status) is None when no answer came."""

    ok: bool
    status: int | None
    detail: str


@dataclass(frozen=True)
class HttpProbe:
    """What to ask and what answer passes. Refuses at construction whatever could never work."""

    path: str
    status: tuple[int, ...]
    expect: str
    port: int
    timeout: float = 5.0
    option: str = "readiness"
    """Option path to name in errors."""
    _passes: Callable[[Any], object] | None = field(
        init=False, repr=False, compare=False, default=None
    )

    def __post_init__(self) -> None:
        """Validate, and compile the expression once."""
        object.__setattr__(self, "status", tuple(self.status))
        if not isinstance(self.path, str) or not self.path.startswith("/"):
            raise InvalidInput(f"{self.option}.path", self.path, "probe path must start with /")
        if not _PATH.fullmatch(self.path):
            raise InvalidInput(
                f"{self.option}.path", self.path, "must be a path of printable ASCII"
            )
        if not self.status or not all(_is_status(code) for code in self.status):
            shown: object = list(self.status)
            allowed = f"must be a list of HTTP statuses 100-599, found {shown!r}"
            raise InvalidInput(f"{self.option}.status", shown, allowed)
        if not _is_integer(self.port) or not 1 <= self.port <= 65535:
            raise InvalidInput("port", self.port, "port must be an integer 1-65535")
        if self.expect:
            object.__setattr__(
                self, "_passes", compile_expression(self.expect, f"{self.option}.expect")
            )

    def url(self, address: str) -> str:
        """Name what is asked."""
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{self.port}{self.path}"

    def check(
        self, address: str, *, timeout: float | None = None, clock: Clock | None = None
    ) -> ProbeResult:
        """Look once; never raises for what the target does."""
        _check_address(address, self.url(address))
        seconds = self.timeout if timeout is None else min(timeout, self.timeout)
        wire = Wire(clock or SystemClock(), max(0.001, seconds))
        try:
            status, body = wire.get(address, self.port, self.path)
        except TimeoutError:
            return ProbeResult(False, None, f"no complete answer within {seconds:g} s")
        except ConnectionRefusedError:
            return ProbeResult(False, None, "connection refused")
        except (OSError, http.client.HTTPException) as error:
            words = " ".join(str(error).split())[:200]
            return ProbeResult(False, None, f"{type(error).__name__}: {words}")
        return self._judge(status, body)

    def _judge(self, status: int, body: bytes) -> ProbeResult:
        if status not in self.status:
            return ProbeResult(False, status, f"status {status}: {shown_body(body)}")
        if len(body) > MAXIMUM_BODY:
            return ProbeResult(
                False, status, f"status {status}, but the answer is larger than 64 KB"
            )
        if self._passes is None:
            return ProbeResult(True, status, f"status {status}")
        try:
            found = self._passes(json.loads(body))
        except (ValueError, RecursionError):
            return ProbeResult(
                False, status, f"status {status}, but the body is not JSON: {shown_body(body)}"
            )
        if found is True:
            return ProbeResult(True, status, f"status {status}, {self.expect}")
        return ProbeResult(
            False, status, f"status {status}, but {self.expect} is not true: {shown_body(body)}"
        )


class Wire(io.RawIOBase):
    """A connection whose every read shares one deadline and one byte budget."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._deadline = clock.monotonic() + seconds
        self._budget = _MAXIMUM_BYTES
        self._socket = socket.socket()

    def get(
        self,
        address: str,
        port: int,
        path: str,
        *,
        name: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, bytes]:
        """Send one GET; return the status and at most one byte more than the largest body.

        The host is called by C(name), if it has one; with C(tls) its certificate must be for that name.
        """
        self._socket.close()
        self._socket = socket.create_connection((address, port), self._left())
        called = name or address
        if tls is not None:
            self._socket.settimeout(self._left())
            self._socket = tls.wrap_socket(self._socket, server_hostname=called)
        with self._socket:
            host = f"[{called}]" if ":" in called else called
            self._socket.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
                "Accept: */*\r\nUser-Agent: immutable-cutover-probe\r\n\r\n".encode("ascii")
            )
            response = http.client.HTTPResponse(self, method="GET")  # type: ignore[arg-type]  # it only calls makefile()
            response.begin()
            return response.status, self._body(response)

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        if response.length is not None and response.length > MAXIMUM_BODY:
            return b" " * (MAXIMUM_BODY + 1)  # it says so itself: not worth reading
        parts: list[bytes] = []
        size = 0
        while size <= MAXIMUM_BODY and (part := response.read(MAXIMUM_BODY + 1 - size)):
            parts.append(part)
            size += len(part)
        if response.length:
            raise http.client.IncompleteRead(b"".join(parts), response.length)
        return b"".join(parts)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Be what http.client reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is, within what is left of time and size."""
        if self._budget <= 0:
            raise http.client.HTTPException("the answer is larger than 64 KB")
        self._socket.settimeout(self._left())
        count = self._socket.recv_into(buffer)
        self._budget -= count
        return count

    def _left(self) -> float:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_status(code: object) -> bool:
    return isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599


def _check_address(address: str, url: str) -> None:
    try:
        link_local = ipaddress.ip_address(address).is_link_local
    except ValueError:
        raise ProbeError(f"{url}: the target has no address") from None
    if link_local:
        raise ProbeError(f"{url}: the probe asks only the target's own address")


def shown_body(body: bytes) -> str:
    """Show the beginning of a body in one line, with nothing a terminal would act on."""
    text = " ".join(body[:400].decode(errors="replace").split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    if not printable:
        return "empty body"
    return repr(printable) if len(printable) <= 100 else f"{printable[:97]!r}..."


def compile_expression(expression: str, option: str) -> Callable[[Any], object]:
    """Return the expression as a function; what fails while it runs is 'not true'."""
    try:
        import jmespath
        import jmespath.exceptions
    except ImportError:
        raise CutoverError(
            f"{option}: the Python library jmespath is needed on the host that probes "
            "(Debian: python3-jmespath)"
        ) from None
    if not isinstance(expression, str):
        raise InvalidInput(option, expression, "must be a JMESPath expression")
    try:
        compiled = jmespath.compile(expression)
    except jmespath.exceptions.JMESPathError as error:
        words = " ".join(str(error).split())
        raise InvalidInput(option, expression, f"not a JMESPath expression ({words})") from None
    try:
        compiled.search({})
    except jmespath.exceptions.UnknownFunctionError as error:
        raise InvalidInput(option, expression, f"not a JMESPath expression ({error})") from None
    except jmespath.exceptions.JMESPathError:
        pass  # types that only a real document can have

    def passes(document: Any) -> object:
        try:
            return compiled.search(document)
        except (jmespath.exceptions.JMESPathError, TypeError):  # it compares text with a number
            return False

    return passes
