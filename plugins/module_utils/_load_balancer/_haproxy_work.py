# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting what HAProxy's processes work on; private, no stability promised.

After a reload the new worker does not show what the leaving one still does. The master does.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_socket as runtime,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_state as state,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    InFlight,
    Quality,
)
from ansible_collections.immutable.cutover.plugins.module_utils._shared_read import SharedRead

_GONE = "Can't find the target PID"
_IDLE = state.Load(0, 0)


class WorkCounter:
    """In-flight figures of one backend, over the current worker and those that leave."""

    def __init__(
        self, socket: runtime.RuntimeSocket, master: runtime.RuntimeSocket | None, backend: str
    ) -> None:
        self._socket = socket
        self._master = master
        self._backend = backend
        self._guard = threading.Lock()
        self._shared = SharedRead(self._processes)
        self._pid = 0

    def count(self, names: Sequence[str]) -> Mapping[str, InFlight]:
        """Return what each named server works on now; in a process that lacks it, nothing."""
        processes = self._shared.get()
        return {name: _sum(name, processes) for name in names}

    def _processes(self) -> Sequence[tuple[int, Mapping[str, state.Load]]]:
        # The current worker first: with a reload between the looks, work is seen twice, never missed.
        processes = [self._current()]
        if self._master is not None:
            processes += self._leaving(self._master, processes[0][0])
        return processes

    def _current(self) -> tuple[int, Mapping[str, state.Load]]:
        answer = self._socket.ask(f"show info;{state.servers_stat()}")
        info, _sep, rest = answer.partition("# pxname,")
        loads = self._loads("# pxname," + rest, answer)
        pid = int(state.parse_info(info).get("Pid", "0"))
        if self._master is None:
            self._refuse_reload(pid)
        return pid, loads

    def _refuse_reload(self, pid: int) -> None:
        with self._guard:
            known, self._pid = self._pid or pid, self._pid or pid
        if known != pid:
            raise LoadBalancerError(
                Kind.STALE,
                f"haproxy {self._socket.path} backend {self._backend}: worker {known} was replaced by"
                f" {pid} (reload or restart); what a leaving worker still does is seen only through the"
                " master socket, and none is configured (master_socket)",
            )

    def _leaving(
        self, master: runtime.RuntimeSocket, current: int
    ) -> list[tuple[int, Mapping[str, state.Load]]]:
        listed = state.parse_processes(master.ask("show proc"))
        if not listed.pids:
            raise LoadBalancerError(
                Kind.UNREACHABLE, f"haproxy master socket {master.path}: it lists no worker"
            )
        # One that is neither the one asked nor leaving is the successor after a reload just now.
        others = [pid for pid in listed.pids if pid != current]
        found = []
        for pid in others:
            answer = master.ask(f"@!{pid} {state.servers_stat()}")
            if not answer.startswith(_GONE) and answer.strip():
                found.append((pid, self._loads(answer, answer)))
            elif pid in state.parse_processes(master.ask("show proc")).pids:
                raise LoadBalancerError(
                    Kind.UNREACHABLE,
                    f"haproxy master socket {master.path}: worker {pid} does not answer",
                )
        return found

    def _loads(self, stat: str, answer: str) -> Mapping[str, state.Load]:
        if answer.startswith("No such proxy") or "\nNo such proxy" in answer:
            return {}
        try:
            return state.parse_load(stat, self._backend)
        except (ValueError, KeyError) as unreadable:
            raise LoadBalancerError(
                Kind.UNREACHABLE,
                f"haproxy {self._socket.path}: cannot understand the answer ({unreadable})",
                answer[:200],
            ) from unreadable


def _sum(name: str, processes: Sequence[tuple[int, Mapping[str, state.Load]]]) -> InFlight:
    loads = [(pid, loads.get(name, _IDLE)) for pid, loads in processes]
    return InFlight(
        count=sum(load.current for _pid, load in loads),
        queued=sum(load.queued for _pid, load in loads),
        quality=Quality.EXACT,
        parts=tuple((f"worker {pid}", load.current + load.queued) for pid, load in loads),
    )
