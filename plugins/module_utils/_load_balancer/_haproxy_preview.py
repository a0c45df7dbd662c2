# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers get the requests that ask for the new release; private, no stability promised.

A rule of the backend looks up a random slot in a map, and sends the request to the server it finds there, whatever its
weight, in drain too. With an empty map, or a server that is down or in maintenance, it is balanced as any other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_socket import (
    RuntimeSocket,
)

SLOTS = 60
"""Divisible by 1 to 6: so many servers get equal shares."""
_VERSION = re.compile(r"New version created: (\d+)")


def map_name(backend: str) -> str:
    """Return the name of the map's file, beside haproxy.cfg."""
    return f"preview-{backend}.map"


class PreviewMap:
    """The map of one backend, in HAProxy and in its file."""

    def __init__(self, socket: RuntimeSocket, backend: str, folder: Path | None) -> None:
        self._socket = socket
        self._name = map_name(backend)
        self._file = folder / self._name if folder else None
        self._known: str | None = None

    @property
    def known_as(self) -> str:
        """Return what HAProxy calls the map; empty if the backend has none."""
        if self._known is None:
            found = re.search(rf"\((\S*/{re.escape(self._name)})\)", self._socket.ask("show map"))
            self._known = found.group(1) if found else ""
        return self._known

    def names(self) -> tuple[str, ...]:
        """Return the servers that HAProxy has in it."""
        rows = self._socket.ask(f"show map {self.known_as}").splitlines()
        return tuple(sorted({words[2] for row in rows if len(words := row.split()) == 3}))

    def set(self, names: Sequence[str]) -> str:
        """Have these servers in it, all at once; return what HAProxy says if it refuses."""
        answer = self._socket.ask(f"prepare map {self.known_as}")
        version = _VERSION.search(answer)
        if version is None:
            return answer.strip() or "no answer"
        number, path = version.group(1), self.known_as
        commands = [f"add map @{number} {path} {row}" for row in _rows(names)]
        return self._socket.ask("; ".join([*commands, f"commit map @{number} {path}"])).strip()

    def write(self) -> bool:
        """Have the file, which HAProxy reads when it starts, in step; return whether bytes changed."""
        if self.written() or self._file is None:
            return False
        draft = self._file.with_name(f".{self._name}.new")
        like = self._file.stat()
        draft.write_text(_text(self.names()), encoding="utf-8")
        os.chmod(draft, like.st_mode & 0o777)
        os.chown(draft, like.st_uid, like.st_gid)
        os.replace(draft, self._file)
        return True

    def written(self) -> bool:
        """Whether the file is in step; true where there is nothing to keep in step."""
        if self._file is None or not self.known_as:
            return True
        return self._file.read_text(encoding="utf-8") == _text(self.names())


def _rows(names: Sequence[str]) -> list[str]:
    return [f"{slot} {names[slot % len(names)]}" for slot in range(SLOTS)] if names else []


def _text(names: Sequence[str]) -> str:
    return "".join(f"{row}\n" for row in _rows(names))
