# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import replicas
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Image,
    Resources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
    ProbeError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import HttpProbe

IMAGE = Image(id="sha256:a", labels={}, tags=(), user="10001", architecture="amd64")
OTHER = replace(IMAGE, id="sha256:b")
SPEC = ContainerSpec(
    name="web-1",
    image_id=IMAGE.id,
    network="cutover",
    labels={"immutable.cutover.app": "shop", "immutable.cutover.process": "web"},
    env={},
    resources=Resources(1 << 26, 1, 64),
)
PROBE = HttpProbe("/readyz", (200,), "", 1)


class Ticking:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(seconds, 0.001)


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine(IMAGE, OTHER, address=lambda spec, number: "127.0.0.1")


def starts(engine: MemoryEngine) -> int:
    return engine.calls.count(("start", SPEC.name))


def test_starting_twice_starts_once(engine: MemoryEngine) -> None:
    first = replicas.start_replica(engine, SPEC)
    assert replicas.start_replica(engine, SPEC) == first
    assert starts(engine) == 1


def test_what_exited_is_replaced(engine: MemoryEngine) -> None:
    first = replicas.start_replica(engine, SPEC)
    engine.crash(SPEC.name)
    second = replicas.start_replica(engine, SPEC)
    assert second.running and second.id != first.id
    assert engine.inspect(first.id) is None


def test_what_was_created_and_never_started_is_replaced_after_a_while(engine: MemoryEngine) -> None:
    left = engine.add(SPEC, state="created")
    clock = Ticking()
    started = replicas.start_replica(engine, SPEC, clock)
    assert started.running and started.id != left.id
    assert 2.9 < clock.time < 4, "another process may just be starting it"


def test_cr_10_the_loser_of_a_race_takes_the_winners(engine: MemoryEngine) -> None:
    real = engine.start

    def somebody_was_quicker(spec: ContainerSpec) -> Container:
        engine.add(spec)
        return real(spec)

    engine.start = somebody_was_quicker  # type: ignore[method-assign]  # one call is replaced
    assert replicas.start_replica(engine, SPEC).running
    assert len(engine.containers({})) == 1


def test_cr_10_the_winner_may_show_only_after_its_name_was_given_away(engine: MemoryEngine) -> None:
    clock = Ticking()
    real = engine.inspect

    def shown_late(container_id: str) -> Container | None:
        return real(container_id) if clock.time > 1 else None

    engine.add(SPEC)
    engine.inspect = shown_late  # type: ignore[method-assign]  # one call is replaced
    assert replicas.start_replica(engine, SPEC, clock).running
    assert len(engine.containers({})) == 1


def test_a_name_that_nobody_shows_for_is_told(engine: MemoryEngine) -> None:
    clock = Ticking()
    engine.add(SPEC)
    engine.inspect = lambda container_id: None  # type: ignore[method-assign]  # one call is replaced
    with pytest.raises(EngineError, match="the name is in use"):
        replicas.start_replica(engine, SPEC, clock)
    assert clock.time < 4


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ({"labels": {}}, "is not a replica of this app; it is not touched"),
        (
            {"labels": {**SPEC.labels, "immutable.cutover.app": "other"}},
            "is not a replica of this app",
        ),
        (
            {"labels": {**SPEC.labels, "immutable.cutover.process": "worker"}},
            "is not a replica of this app",
        ),
        ({"labels": {"immutable.cutover.recipe-hash": "x"}}, "is not a replica of this app"),
        ({"image_id": OTHER.id}, "runs with another image; a replica is never changed in place"),
    ],
)
@pytest.mark.parametrize("state", ["running", "exited"])
def test_what_is_not_this_replica_is_refused(
    engine: MemoryEngine, there: dict[str, object], says: str, state: str
) -> None:
    found = engine.add(replace(SPEC, **there), state=state)  # type: ignore[arg-type]  # fields by name
    if state == "exited" and "image_id" in there:
        assert replicas.start_replica(engine, SPEC).image_id == IMAGE.id, (
            "a left-over of ours may go"
        )
        return
    with pytest.raises(CutoverError, match=says):
        replicas.start_replica(engine, SPEC)
    assert engine.inspect(found.id) == found
    assert engine.calls == []


def test_a_failed_start_is_the_engines_own_word(engine: MemoryEngine) -> None:
    engine.fail(
        "start", SPEC.name, error=EngineError("the disk of the engine is full", kind="no_space")
    )
    with pytest.raises(EngineError, match="disk"):
        replicas.start_replica(engine, SPEC)


def test_stopping_removes_and_tells(engine: MemoryEngine) -> None:
    started = replicas.start_replica(engine, SPEC)
    told = replicas.stop_replica(engine, started.id, signal="SIGTERM", grace_period=5)
    assert told == {"exit_code": 143, "killed": False}
    assert engine.containers({}) == ()
    assert replicas.stop_replica(engine, started.id, signal="SIGTERM", grace_period=5) == {
        "gone": True
    }


def test_ro_15_a_kill_is_explained(engine: MemoryEngine) -> None:
    started = replicas.start_replica(engine, SPEC)
    engine.exit_code_on_stop = 137
    told = replicas.stop_replica(engine, started.id, signal="SIGINT", grace_period=5)
    assert told["killed"] is True
    assert "did not end within 5 s after SIGINT" in str(told["cause"])


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (
            lambda engine: engine.crash(SPEC.name, 127),
            "its process ended with code 127 (its command was not found",
        ),
        (lambda engine: engine.restart(SPEC.name), "its process ended and was started anew"),
    ],
)
def test_ro_01_waiting_for_what_ended_fails_at_once(
    engine: MemoryEngine, end: object, says: str
) -> None:
    assert callable(end)
    started = replicas.start_replica(engine, SPEC)
    clock = Ticking()
    real = clock.sleep

    def end_it(seconds: float) -> None:
        end(engine)
        real(seconds)

    clock.sleep = end_it  # type: ignore[method-assign]  # one call is replaced
    with pytest.raises(ProbeError) as caught:
        replicas.await_replica_ready(
            engine, started.id, PROBE, successes=1, interval=1, timeout=60, clock=clock
        )
    assert says in caught.value.message, caught.value.message
    assert clock.time < 1


def test_what_ended_before_the_wait_is_not_probed(engine: MemoryEngine) -> None:
    started = replicas.start_replica(engine, SPEC)
    engine.crash(SPEC.name, 1)
    with pytest.raises(ProbeError, match="its process ended with code 1"):
        replicas.await_replica_ready(
            engine, started.id, PROBE, successes=1, interval=1, timeout=60, clock=Ticking()
        )


def test_a_report_has_the_end_and_the_last_lines(engine: MemoryEngine) -> None:
    started = replicas.start_replica(engine, SPEC)
    engine.crash(SPEC.name, 137, *[f"line {number}" for number in range(50)])
    report = replicas.failure_report(engine, started.id)
    assert report["exit_code"] == 137
    assert "was killed" in str(report["cause"])
    assert report["log"] == [f"line {number}" for number in range(30, 50)]
    assert replicas.failure_report(engine, "gone") == {}
