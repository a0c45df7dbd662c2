# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy works on, one session at a time; private, no stability promised.

Only for drains that treat long-lived connections apart: the listing is long, and counting needs none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_socket as runtime,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_state as state,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Session

_HEAD = re.compile(r"^(0x[0-9a-f]+): .* id=(\d+) ", re.MULTILINE)
_PLACE = re.compile(r"^  backend=(\S+) \(.*\n  server=(\S+) \(", re.MULTILINE)
_AGE = re.compile(r" age=(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNITS = (86400, 3600, 60, 1)


def parse_sessions(answer: str, backend: str, server: str) -> tuple[Session, ...]:
    """Read C(show sess all): the sessions that one server works on."""
    heads = list(_HEAD.finditer(answer))
    ends = [*(head.start() for head in heads), len(answer)][1:]
    found = []
    for head, end in zip(heads, ends, strict=False):
        block = answer[head.start() : end]
        place = _PLACE.search(block)
        if place is not None and place.groups() == (backend, server):
            tunnel = "rsp.st=MSG_TUNNEL" in block
            found.append(Session(f"{head.group(1)}#{head.group(2)}", _seconds(block), tunnel))
    return tuple(found)


def _seconds(block: str) -> int:
    age = _AGE.search(block)
    parts = age.groups(default="0") if age else ("0",) * len(_UNITS)
    return sum(int(part) * unit for part, unit in zip(parts, _UNITS, strict=True))


class SessionTable:
    """The sessions of one backend, over the current worker and those that leave."""

    def __init__(
        self, socket: runtime.RuntimeSocket, master: runtime.RuntimeSocket | None, backend: str
    ) -> None:
        self._socket = socket
        self._master = master
        self._backend = backend

    def of(self, server: str) -> tuple[Session, ...]:
        """Return every session of a server, the oldest first."""
        found = [session for _ask, session in self._all(server)]
        return tuple(sorted(found, key=lambda session: -session.seconds))

    def close(self, server: str, wanted: Session) -> bool:
        """Close a session if it is still there; the number keeps it from being taken for another at its address."""
        for ask, session in self._all(server):
            if session.id == wanted.id:
                pointer = session.id.rpartition(" ")[2].partition("#")[0]
                ask.write(f"shutdown session {pointer}")
                return True
        return False

    def _all(self, server: str) -> Iterator[tuple[_Worker, Session]]:
        for worker in self._workers():
            for session in parse_sessions(worker.read("show sess all"), self._backend, server):
                yield worker, Session(worker.prefix + session.id, session.seconds, session.tunnel)

    def _workers(self) -> list[_Worker]:
        workers = [_Worker(self._socket, "")]
        if self._master is not None:
            pids = state.parse_processes(self._master.ask("show proc")).leaving
            workers += [_Worker(self._master, f"@!{pid} ") for pid in pids]
        return workers


class _Worker:
    """One worker process, asked by its own socket or through the master."""

    def __init__(self, socket: runtime.RuntimeSocket, prefix: str) -> None:
        self._socket = socket
        self.prefix = prefix

    def read(self, command: str) -> str:
        return self._socket.ask(self.prefix + command)

    def write(self, command: str) -> None:
        self._socket.ask(self.prefix + command)
