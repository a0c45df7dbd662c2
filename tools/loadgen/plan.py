# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Which request is to be sent when: fixed by the seed, never by how the server answers."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

KEEPALIVE = "keepalive"
NEW = "new"
POST = "post"
SLOW = "slow"
STREAM = "stream"
WEBSOCKET = "websocket"

DEFAULT_MIX: Mapping[str, float] = {
    KEEPALIVE: 210.0,
    NEW: 60.0,
    POST: 36.0,
    SLOW: 8.0,
    STREAM: 4.0,
    WEBSOCKET: 2.0,
}
"""Requests per second of each kind."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A request to be sent `offset` seconds after the start of the run."""

    id: int
    kind: str
    offset: float


def scale(mix: Mapping[str, float], total: float) -> dict[str, float]:
    """The same mix with another total rate."""
    now = sum(mix.values())
    return {kind: rate * total / now for kind, rate in mix.items()}


def _arrivals(kind: str, rate: float, seed: int) -> Iterator[tuple[float, str]]:
    """Poisson arrivals: independent users, as an open loop has them."""
    source = random.Random(f"{seed}/{kind}")
    offset = source.expovariate(rate)
    while True:
        yield offset, kind
        offset += source.expovariate(rate)


def plan(mix: Mapping[str, float], seed: int) -> Iterator[Planned]:
    """The endless plan of a mix, in order of time."""
    streams = [_arrivals(kind, rate, seed) for kind, rate in sorted(mix.items()) if rate > 0]
    for number, (offset, kind) in enumerate(heapq.merge(*streams)):
        yield Planned(number, kind, offset)
