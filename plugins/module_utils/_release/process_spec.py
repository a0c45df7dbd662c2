# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One process type of the app spec: what a user writes, validated; pure, private, no stability promised."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import (
    check_name,
    check_name_pair,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.quantities import (
    parse_memory,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.strategy import (
    MAX_REPLICAS,
    bounds,
)

SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")


@dataclass(frozen=True)
class Readiness:
    """When a replica counts as ready: HTTP GET path, wanted status, JMESPath on the JSON body."""

    path: str = "/readyz"
    status: tuple[int, ...] = (200,)
    expect: str = ""
    interval: int = 1
    successes: int = 2
    timeout: int = 60


@dataclass(frozen=True)
class WarmUp:
    """What a new replica is asked before it gets traffic; a ratio of 0 compares its p95 with nothing."""

    requests: tuple[str, ...] = ()
    max_p95_ratio: float = 0.0


@dataclass(frozen=True)
class LongLived:
    """Connections that are no part of a drain: seconds they may go on, and seconds in which they are then closed."""

    timeout: int = 300
    close_over: int = 30
    older_than: int = 0
    """Seconds after which a request is one, too; 0: only what was upgraded, such as a WebSocket."""


@dataclass(frozen=True)
class Drain:
    """How long work in flight may go on, and what then: C(fail) leaves it draining, C(force) cuts it."""

    timeout: int = 60
    on_timeout: str = "fail"
    long_lived: LongLived | None = None


@dataclass(frozen=True)
class Stop:
    """How a drained replica is ended."""

    signal: str = "SIGTERM"
    grace_period: int = 30


@dataclass(frozen=True)
class Limits:
    """Resource limits: bytes, cores, processes."""

    memory: int = 256 * 1024 * 1024
    cpus: float = 1.0
    pids: int = 128


@dataclass(frozen=True)
class ProcessSpec:
    """One process type of the app."""

    name: str
    replicas: int
    port: int
    command: tuple[str, ...]
    readiness: Readiness
    warm_up: WarmUp
    drain: Drain
    stop: Stop
    limits: Limits
    max_surge: int
    max_unavailable: int


def parse_process(app: str, name: str, fields: Fields, strategy: Fields) -> ProcessSpec:
    check_name(name, f"processes.{name}")
    check_name_pair(app, name)
    replicas = fields.integer("replicas", 1, MAX_REPLICAS, 1)
    surge, unavailable = bounds(strategy, replicas)
    process = ProcessSpec(
        name=name,
        replicas=replicas,
        port=fields.integer("port", 1, 65535),
        command=fields.strings("command"),
        readiness=_readiness(fields.fields("readiness")),
        warm_up=_warm_up(fields.fields("warm_up")),
        drain=_drain(fields.fields("drain")),
        stop=_stop(fields.fields("stop")),
        limits=parse_limits(fields.fields("resources")),
        max_surge=surge,
        max_unavailable=unavailable,
    )
    fields.finish()
    return process


def _readiness(fields: Fields) -> Readiness:
    status = fields.items("status") or (200,)
    for index, code in enumerate(status):
        if isinstance(code, bool) or not isinstance(code, int) or not 100 <= code <= 599:
            raise InvalidInput(
                f"{fields.path('status')}[{index}]", code, "must be an HTTP status 100-599"
            )
    readiness = Readiness(
        path=_http_path(fields, "path", "/readyz"),
        status=tuple(code for code in status if isinstance(code, int)),
        expect=fields.text("expect", ""),
        interval=fields.seconds("interval", 1),
        successes=fields.integer("successes", 1, 100, 2),
        timeout=fields.seconds("timeout", 60),
    )
    fields.finish()
    return readiness


def _http_path(fields: Fields, key: str, default: str) -> str:
    return fields.text(key, default, r"/[!-~]*", "must start with / and have no spaces")


def _warm_up(fields: Fields) -> WarmUp:
    requests = fields.strings("requests")
    for index, path in enumerate(requests):
        if not re.fullmatch(r"/[!-~]*", path):
            raise InvalidInput(
                f"{fields.path('requests')}[{index}]", path, "must start with / and have no spaces"
            )
    compares = fields.has("max_p95_ratio")
    ratio = fields.number("max_p95_ratio", 1, 100, 1)
    if compares and not requests:
        raise InvalidInput(
            fields.path("requests"), [], "needs a path, because max_p95_ratio is set"
        )
    fields.finish()
    return WarmUp(requests, ratio if compares else 0.0)


def _drain(fields: Fields) -> Drain:
    drain = Drain(
        timeout=fields.seconds("timeout", 60),
        on_timeout=fields.choice("on_timeout", ("fail", "force"), "fail"),
        long_lived=_long_lived(fields.fields("long_lived")) if fields.has("long_lived") else None,
    )
    fields.raw("long_lived")
    longest = fields.seconds("longest_request", 1)
    if drain.timeout < longest:
        raise InvalidInput(
            fields.path("timeout"), drain.timeout, f"must not be below longest_request {longest}"
        )
    fields.finish()
    return drain


def _long_lived(fields: Fields) -> LongLived:
    rule = LongLived(
        timeout=fields.seconds("timeout", 300, 0),
        close_over=fields.seconds("close_over", 30, 0),
        older_than=fields.seconds("older_than", 0, 0),
    )
    fields.finish()
    return rule


def _stop(fields: Fields) -> Stop:
    signal = fields.text("signal", "SIGTERM")
    full = signal if signal.startswith("SIG") else f"SIG{signal}"
    if full not in SIGNALS:
        raise InvalidInput(
            fields.path("signal"), signal, f"unknown signal; known: {', '.join(SIGNALS)}"
        )
    stop = Stop(signal=full, grace_period=fields.seconds("grace_period", 30))
    shutdown = fields.seconds("shutdown_time", 1)
    if stop.grace_period < shutdown:
        raise InvalidInput(
            fields.path("grace_period"),
            stop.grace_period,
            f"must not be below shutdown_time {shutdown}: the engine would kill it before it has ended",
        )
    fields.finish()
    return stop


def parse_limits(fields: Fields) -> Limits:
    """Read the option C(resources) of a process or a task."""
    limits = Limits(
        memory=parse_memory(fields.raw("memory", "256m"), fields.path("memory")),
        cpus=fields.number("cpus", 0.01, 1024, 1.0),
        pids=fields.integer("pids", 8, 1_000_000, 128),
    )
    fields.finish()
    return limits


def check_cpus(limits: Limits, path: str, available: int) -> None:
    """Refuse more cores than the host has; C(path) is the option with the limits."""
    if limits.cpus > available:
        raise InvalidInput(f"{path}.cpus", limits.cpus, f"must not be above the host's {available}")


def process_mapping(process: ProcessSpec) -> dict[str, object]:
    return {
        "replicas": process.replicas,
        "port": process.port,
        "command": list(process.command),
        "readiness": {**asdict(process.readiness), "status": list(process.readiness.status)},
        "warm_up": {
            "requests": list(process.warm_up.requests),
            "max_p95_ratio": process.warm_up.max_p95_ratio or None,
        },
        "drain": asdict(process.drain),
        "stop": asdict(process.stop),
        "resources": asdict(process.limits),
    }
