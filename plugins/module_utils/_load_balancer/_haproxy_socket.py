# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's Runtime API and master CLI over a unix socket; private, no stability promised.

One connection per command line, one total deadline per answer: a peer that sends a byte per second
does not keep us, and an answer cut short is an error, never a short list.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import NoReturn

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)

DENIED = "Permission denied"
_UNSENT = (ConnectionRefusedError, BlockingIOError)
"""What connecting raises when nothing listens, or too many wait: nothing was sent."""
_RELOADING = 2.5
_PAUSE = 0.02
_LARGEST_ANSWER = 64 * 1024 * 1024


class RuntimeSocket:
    """Ask one HAProxy socket. Holds no connection, so that any number of threads may use it."""

    def __init__(
        self, path: str, clock: Clock, *, timeout: float = 5.0, option: str = "socket"
    ) -> None:
        self.path = path
        self._clock = clock
        self._timeout = timeout
        self._option = option

    def ask(self, command: str) -> str:
        """Send one line and return the whole answer, raising for what keeps it from coming.

        While HAProxy reloads, a socket is refused or closed for a moment. What was not sent, or only
        reads, is then tried again.
        """
        if "\n" in command or "\r" in command:
            raise ValueError("a command is one line")
        reads = command.startswith(("show ", "@!"))
        begun = self._clock.monotonic()
        patient_until = begun + min(_RELOADING, self._timeout / 2)
        while True:
            try:
                answer = self._exchange(command.encode() + b"\n", begun + self._timeout)
            except (ConnectionError, BlockingIOError) as failure:
                if not (reads or isinstance(failure, _UNSENT)) or self._past(patient_until):
                    self._explain(failure, command)
            except OSError as failure:
                self._explain(failure, command)
            else:
                if answer.endswith(b"\n"):
                    return self._permitted(answer.decode("utf-8", "replace"), command)
                if not reads or self._past(patient_until):
                    raise self._unreachable(
                        "the connection was closed before the answer was complete"
                    )
            self._clock.sleep(_PAUSE)

    def _past(self, moment: float) -> bool:
        return self._clock.monotonic() >= moment

    def _permitted(self, text: str, command: str) -> str:
        if text.strip() == DENIED or f"\n{DENIED}" in text:
            raise LoadBalancerError(
                Kind.PERMISSION_DENIED,
                f"haproxy {self.path}: the socket allows less than level admin"
                f" (asked: {command.split(';')[0].strip()})",
                DENIED,
                socket=self.path,
            )
        return text

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self._left(deadline))
            connection.connect(self.path)
            connection.sendall(request)
            # The master CLI closes only when it knows that no second command follows.
            connection.shutdown(socket.SHUT_WR)
            chunks: list[bytes] = []
            size = 0
            while True:
                connection.settimeout(self._left(deadline))
                chunk = connection.recv(65536)
                if not chunk:
                    return b"".join(chunks)
                chunks.append(chunk)
                size += len(chunk)
                if size > _LARGEST_ANSWER:
                    raise self._unreachable("the answer does not end")

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _unreachable(self, why: str) -> LoadBalancerError:
        return LoadBalancerError(
            Kind.UNREACHABLE, f"haproxy {self._option} {self.path}: {why}", socket=self.path
        )

    def _explain(self, failure: OSError, command: str) -> NoReturn:
        """Turn what the kernel says into what a person can act on."""
        if isinstance(failure, TimeoutError):
            verb = " ".join(command.split(";")[0].split()[:2])
            raise self._unreachable(
                f"no answer to '{verb}' within {self._timeout:g} s"
            ) from failure
        if isinstance(failure, PermissionError):
            raise LoadBalancerError(
                Kind.PERMISSION_DENIED,
                f"haproxy {self._option} {self.path}: user {os.geteuid()} may not use it",
                failure.strerror or "",
                socket=self.path,
            ) from failure
        raise self._unreachable(self._reason(failure)) from failure

    def _reason(self, failure: OSError) -> str:
        try:
            mode = os.stat(self.path).st_mode
        except FileNotFoundError:
            return "no such socket; is HAProxy running, and is this its stats socket?"
        except OSError as unreadable:
            return str(unreadable.strerror)
        if stat.S_ISDIR(mode):
            return "not a socket but a directory"
        if not stat.S_ISSOCK(mode):
            return "not a socket"
        if failure.errno == errno.ECONNREFUSED:
            return "refused: no process listens on it"
        return str(failure.strerror or failure)
