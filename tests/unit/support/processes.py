# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process to name, that ends when it is told to."""

from __future__ import annotations

import os
from types import TracebackType

from ansible_collections.immutable.cutover.plugins.module_utils._process import identity


class Child:
    """A process that lives until C(end), and is a zombie until C(collect)."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._write)
            os.read(read, 1)
            os._exit(0)
        os.close(read)
        self.name = identity(self.pid)

    def end(self) -> None:
        """Let it end; nobody has collected it yet."""
        os.write(self._write, b"x")
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def collect(self) -> None:
        """Take it away."""
        os.waitpid(self.pid, 0)
        os.close(self._write)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        self.collect()


def ended_process() -> str:
    """Return the name of a process that has ended."""
    with Child() as child:
        return child.name
