# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on one replica's container; private, no stability promised.

Each may be run again after it was cut off at any point, and none ever changes a container that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock, SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Engine,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
    ProbeError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import HttpProbe
from ansible_collections.immutable.cutover.plugins.module_utils._probe.ready import (
    Attempt,
    History,
    await_ready,
    summarise,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release import names

LOG_LINES = 20
KILLED = 137

_STARTING = 3.0
"""Seconds that a container may stay C(created) before it counts as left over from a start that died."""

_SOON, _LOOK = 0.02, 0.1

_MEANING = {
    125: "the engine could not run it",
    126: "its command cannot be executed",
    127: "its command was not found in the image",
    KILLED: "it was killed: it did not end within its grace period after the stop signal, or ran out of memory",
    139: "it crashed (SIGSEGV)",
    143: "it was ended by SIGTERM",
}


def start_replica(engine: Engine, spec: ContainerSpec, clock: Clock | None = None) -> Container:
    """Return the running container of this spec: the one that is there, or a new one.

    What a killed run left over under the name is removed first; anything else under the name is refused.
    """
    clock = clock or SystemClock()
    deadline = clock.monotonic() + _STARTING
    while True:
        found = _settled(engine, spec.name, clock)
        if found is not None:
            if already_runs(found, spec):
                return found
            if found.state == "restarting":
                engine.stop(found.id, spec.stop_signal, 0)
            engine.remove(found.id)
        try:
            return engine.start(spec)
        except EngineError as error:
            # The engine gives a name away before it shows the container that has it.
            if error.details.get("kind") != "name_conflict" or clock.monotonic() >= deadline:
                raise
            clock.sleep(_LOOK)


def already_runs(found: Container, spec: ContainerSpec) -> bool:
    """Whether the container that has the name is the one wanted; False: a left-over that may be removed.

    Raises when it is not ours, or runs as something else.
    """
    refuse_foreign(found, spec.labels)
    if found.running:
        _refuse_different(found, spec)
    return found.running


def await_replica_ready(
    engine: Engine,
    container_id: str,
    probe: HttpProbe,
    *,
    successes: int,
    interval: float,
    timeout: float,
    clock: Clock,
    whole: float = 0,
) -> History:
    """Return what was seen once the replica is ready; ends at once when its process does, or begins anew."""
    first = engine.inspect(container_id)
    ended = _ended(first, "")
    if first is None or ended is not None:
        raise ProbeError(f"not ready: {ended}")

    def still_running() -> str | None:
        return _ended(engine.inspect(container_id), first.started_at)

    return await_ready(
        probe,
        first.address,
        successes=successes,
        interval=interval,
        timeout=timeout,
        still_running=still_running,
        clock=clock,
        whole=whole,
    )


def await_end(engine: Engine, container_id: str, left: Callable[[], float], clock: Clock) -> None:
    """Wait until a replica that was asked to stop has ended, or nothing is C(left) of its grace period."""
    pause = _SOON
    while (seconds := left()) > 0:
        found = engine.inspect(container_id)
        if found is None or not found.running:
            return
        clock.sleep(min(pause, seconds))
        pause = min(_LOOK, pause * 1.5)


def stop_replica(
    engine: Engine, container_id: str, *, signal: str, grace_period: int, waited: int = 0
) -> Mapping[str, object]:
    """Stop gracefully and remove; say how it ended. What is gone already is no failure.

    C(waited): how long it was given already since it was asked to.
    """
    try:
        exit_code = engine.stop(container_id, signal, grace_period)
    except EngineError as error:
        if error.details.get("kind") != "not_found":
            raise
        return {"gone": True}
    ended = engine.inspect(container_id)
    engine.remove(container_id)
    killed = exit_code == KILLED
    info: dict[str, object] = {"exit_code": exit_code, "killed": killed}
    if killed:
        info["cause"] = (ended.error if ended else "") or (
            f"killed: it did not end within {waited + grace_period} s after {signal}; let it handle {signal}, or "
            "raise stop.grace_period"
        )
    return info


def failure_report(
    engine: Engine, container_id: str, history: Sequence[Attempt] = ()
) -> dict[str, object]:
    """Return what a person needs to see why a replica failed: state, exit code and cause, last log lines."""
    report: dict[str, object] = {}
    try:
        container = engine.inspect(container_id)
        if container is not None:
            report.update(_end_of(container))
            report["log"] = engine.logs(container_id, LOG_LINES).splitlines()[-LOG_LINES:]
    except EngineError as error:
        report["log"] = [f"(no log: {error.message})"]
    if history:
        report["probe_history"] = summarise(history)
    return report


def explain_exit(exit_code: int | None, error: str = "") -> str:
    """Say in words what an exit code means."""
    if error:
        return error
    if exit_code is None:
        return ""
    return _MEANING.get(exit_code, "")


def _end_of(container: Container) -> dict[str, object]:
    end: dict[str, object] = {"state": container.state, "exit_code": container.exit_code}
    cause = explain_exit(container.exit_code, container.error)
    if cause:
        end["cause"] = cause
    return end


def _settled(engine: Engine, name: str, clock: Clock) -> Container | None:
    """Return who has the name, giving one that another process is just starting the time to run."""
    deadline = clock.monotonic() + _STARTING
    while True:
        found = engine.inspect(name)
        if found is None or found.name != name:  # the engine also finds an ID that begins so
            return None
        if found.state != "created" or clock.monotonic() >= deadline:
            return found
        clock.sleep(_LOOK)


def refuse_foreign(found: Container, labels: Mapping[str, str]) -> None:
    """Raise unless a container is of the app and process that these labels name."""
    identity = {key: labels.get(key) for key in (names.APP, names.PROCESS)}
    if names.APP not in found.labels or identity != {
        key: found.labels.get(key) for key in identity
    }:
        raise CutoverError(
            f"{found.name}: a container of this name exists that is not a replica of this app; it is not touched",
            container=found.id[:12],
        )


def _refuse_different(found: Container, spec: ContainerSpec) -> None:
    differs = sorted(key for key, value in spec.labels.items() if found.labels.get(key) != value)
    if found.image_id != spec.image_id:
        differs.insert(0, "image")
    if differs:
        raise CutoverError(
            f"{spec.name}: runs with another {', '.join(differs)}; a replica is never changed in place: "
            "take it away first, or give the new one another name",
            container=found.id[:12],
        )


def _ended(container: Container | None, started_at: str) -> str | None:
    """Say why a container will not become ready, or None."""
    if container is None:
        return "its container is gone"
    if container.running:
        return (
            "its process ended and was started anew"
            if started_at not in ("", container.started_at)
            else None
        )
    cause = explain_exit(container.exit_code, container.error)
    code = "" if container.exit_code is None else f" with code {container.exit_code}"
    return f"its process ended{code}" + (f" ({cause})" if cause else "")
