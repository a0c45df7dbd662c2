# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bounded look at a JSON source of figures; private, no stability promised.

As with every probe: nothing is followed, 64 KB of body, one deadline over the whole exchange. The name is resolved once
and what it resolves to is checked, so that it cannot become an address that must not be asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import (
    MAXIMUM_BODY,
    Wire,
    compile_expression,
    shown_body,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.source_url import (
    SourceUrl,
    parse_source_url,
    refused,
)

TIMEOUT = 5.0


@dataclass(frozen=True)
class Answer:
    """What a source said. C(passed) and C(failed) both false: it does not tell."""

    passed: bool
    failed: bool
    detail: str


@dataclass(frozen=True)
class JsonSource:
    """What to ask and what its answer means. Refuses at construction whatever could never work."""

    url: str
    success: str
    failure: str
    option: str = "analysis"
    _where: SourceUrl = field(init=False, repr=False, compare=False)
    _success: Callable[[Any], object] | None = field(
        init=False, repr=False, compare=False, default=None
    )
    _failure: Callable[[Any], object] | None = field(
        init=False, repr=False, compare=False, default=None
    )

    def __post_init__(self) -> None:
        """Validate, and compile the expressions once."""
        object.__setattr__(self, "_where", parse_source_url(self.url, f"{self.option}.url"))
        for name, text in (("success", self.success), ("failure", self.failure)):
            if text:
                compiled = compile_expression(text, f"{self.option}.{name}_condition")
                object.__setattr__(self, f"_{name}", compiled)

    def ask(self, clock: Clock) -> Answer:
        """Look once; never raises for what the source does. No answer is no verdict.

        In a thread of its own: nothing bounds how long a name takes to be resolved.
        """
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(self._ask(clock)), daemon=True)
        thread.start()
        thread.join(TIMEOUT + 0.5)
        return answers[0] if answers else self._none(f"no answer within {TIMEOUT:g} s")

    def _ask(self, clock: Clock) -> Answer:
        try:
            status, body = self._get(clock)
        except TimeoutError:
            return self._none(f"no complete answer within {TIMEOUT:g} s")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return self._none(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        if status != 200:
            return self._none(f"status {status}: {shown_body(body)}")
        if len(body) > MAXIMUM_BODY:
            return self._none("the answer is larger than 64 KB")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return self._none(f"the body is not JSON: {shown_body(body)}")
        return self._judge(document, shown_body(body))

    def _get(self, clock: Clock) -> tuple[int, bytes]:
        where = self._where
        addresses = [
            str(found[4][0])
            for found in socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        ]
        for address in addresses:
            if refused(ipaddress.ip_address(address.partition("%")[0])):
                raise ValueError(f"{where.host} is {address}, which is not asked")
        wire = Wire(clock, TIMEOUT)
        tls = ssl.create_default_context() if where.tls else None
        return wire.get(addresses[0], where.port, where.path, name=where.host, tls=tls)

    def _judge(self, document: Any, body: str) -> Answer:
        if self._failure is not None and self._failure(document) is True:
            return Answer(False, True, f"{self._where}: {self.failure} is true: {body}")
        if self._success is None:
            return Answer(True, False, f"{self._where}: {self.failure} is not true")
        if self._success(document) is True:
            return Answer(True, False, f"{self._where}: {self.success}")
        # Without a failure condition whatever is no success is a failure.
        told = f"{self._where}: {self.success} is not true: {body}"
        return Answer(False, self._failure is None, told)

    def _none(self, why: str) -> Answer:
        return Answer(False, False, f"{self._where}: {why}")
