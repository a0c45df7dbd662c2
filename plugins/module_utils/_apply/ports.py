# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of the host for replicas whose load balancers are elsewhere; private, no stability promised.

A port belongs to a container for as long as it exists, also while it is restarted: its label says which.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.plugins.module_utils._release.fleet import Fleet
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    file_lock,
    private_folder,
)


@contextlib.contextmanager
def port_for(
    engine: Engine, fleet: Fleet, name: str, state_dir: str, clock: Clock
) -> Iterator[int]:
    """Give the replica of that name a port of the host, and keep others from it meanwhile; 0: it needs none."""
    if not fleet.address:
        yield 0
        return
    lock = os.path.join(private_folder(state_dir), "ports.lock")
    with file_lock(lock, shared=False, clock=clock):
        yield _choose(engine, fleet, name)


def _choose(engine: Engine, fleet: Fleet, name: str) -> int:
    taken: dict[int, str] = {}
    for container in engine.containers({names.PUBLISHED: ""}):
        port = int(container.labels[names.PUBLISHED].rpartition(":")[2])
        taken[port] = container.name
        if container.name == name:
            return port
    low, high = fleet.ports
    for port in range(low, high + 1):
        if port not in taken and _free(fleet.address, port):
            return port
    raise EngineError(
        f"{name}: no free port left in {low}-{high} of {fleet.address} (fleet.ports)",
        kind="no_port",
    )


def _free(address: str, port: int) -> bool:
    """Ask the kernel; an address that is not this host's is told apart from a port in use."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise EngineError(
                    f"fleet.address: {address} is not an address of this host", kind="no_address"
                ) from error
            return False
    return True
