# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers get the requests that ask for the new release; private, no stability promised.

A rule of the backend looks up a random slot in a map, and sends the request to the server it finds there, whatever its
weight, in drain too. With an empty map, or a server that is down or in maintenance, it is balanced as any other.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_file import (
    ConfigFile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_socket import (
    RuntimeSocket,
)

SLOTS = 60
"""Divisible by 1 to 6: so many servers get equal shares."""
# With leastconn HAProxy 2.6 takes a server that such a request has come to for one that may be used, drained or not,
# and dies when it is then made ready.
_BALANCES = frozenset({"roundrobin", "random", "first"})
_VERSION = re.compile(r"New version created: (\d+)")


def map_name(backend: str) -> str:
    """Return the name of the map's file, beside haproxy.cfg."""
    return f"preview-{backend}.map"


class PreviewMap:
    """The map of one backend, in HAProxy and in its file."""

    def __init__(
        self,
        socket: RuntimeSocket,
        backend: str,
        file: ConfigFile | None,
        balance: Callable[[], str],
        fail: Callable[[Kind, str, str], NoReturn],
    ) -> None:
        self._socket = socket
        self._name = map_name(backend)
        self._file = file
        self._balance = balance
        self._fail = fail
        self._known: str | None = None
        self._lock = threading.RLock()

    @property
    def known_as(self) -> str:
        """Return what HAProxy calls the map; empty if the backend has none."""
        if self._known is None:
            found = re.search(rf"\((\S*/{re.escape(self._name)})\)", self._socket.ask("show map"))
            self._known = found.group(1) if found else ""
        return self._known

    @property
    def usable(self) -> bool:
        """Whether the backend has the map, and balances in a way with which it works."""
        return bool(self.known_as) and self._balance().partition("(")[0] in _BALANCES

    def names(self) -> tuple[str, ...]:
        """Return the servers that HAProxy has in it."""
        rows = self._socket.ask(f"show map {self.known_as}").splitlines()
        return tuple(sorted({words[2] for row in rows if len(words := row.split()) == 3}))

    def change(self, change: Callable[[tuple[str, ...]], Iterable[str]]) -> bool:
        """Have in it what C(change) makes of its servers, all at once, and in its file; return whether it is new."""
        if not self.usable:
            self._fail(Kind.UNSUPPORTED, "has no preview, or balances by leastconn", "")
        with self._lock, self._alone():
            shown = self.names()
            wanted = tuple(sorted(set(change(shown))))
            if shown != wanted:
                answer = self._set(wanted)
                if self.names() != wanted:
                    self._fail(Kind.UNSUPPORTED, "refused to set what can be previewed", answer)
            self.write()
        return shown != wanted

    def _alone(self) -> contextlib.AbstractContextManager[object]:
        """Keep runs of other hosts out: HAProxy replaces the whole map, so of two changes at once one would be lost."""
        if self._file is None:
            return contextlib.nullcontext()
        return self._file.beside(f"{self._name}.change").locked()

    def _set(self, names: Sequence[str]) -> str:
        answer = self._socket.ask(f"prepare map {self.known_as}")
        version = _VERSION.search(answer)
        if version is None:
            return answer.strip() or "no answer"
        number, path = version.group(1), self.known_as
        commands = [f"add map @{number} {path} {row}" for row in _rows(names)]
        return self._socket.ask("; ".join([*commands, f"commit map @{number} {path}"])).strip()

    def write(self) -> bool:
        """Have the file, which HAProxy reads when it starts, in step; return whether bytes changed."""
        with self._lock:
            if self.written() or self._file is None:
                return False
            # Under the file's lock, so that nothing older than the last writer saw is written.
            return self._file.update(lambda _text: _text_of(self.names()))

    def written(self) -> bool:
        """Whether the file is in step; true where there is nothing to keep in step."""
        if self._file is None or not self.known_as:
            return True
        try:
            return self._file.read() == _text_of(self.names())
        except LoadBalancerError:
            return False


def _rows(names: Sequence[str]) -> list[str]:
    return [f"{slot} {names[slot % len(names)]}" for slot in range(SLOTS)] if names else []


def _text_of(names: Sequence[str]) -> str:
    return "".join(f"{row}\n" for row in _rows(names))
