# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    Image,
    Resources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

IMAGE = Image(id="sha256:a", labels={"v": "1"}, tags=("app:1",), user="10001", architecture="amd64")
SPEC = ContainerSpec(
    name="web-1",
    image_id=IMAGE.id,
    network="cutover",
    labels={"immutable.cutover.app": "shop"},
    env={},
    resources=Resources(1 << 26, 1, 64),
)


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine(IMAGE)


def test_a_life(engine: MemoryEngine) -> None:
    started = engine.start(SPEC)
    assert started.running and started.address
    assert engine.inspect(started.id) == engine.inspect("web-1") == started
    assert engine.containers({"immutable.cutover.app": ""}) == (started,)
    assert engine.containers({"immutable.cutover.app": "other"}) == ()
    with pytest.raises(EngineError, match="it is running"):
        engine.remove(started.id)
    assert engine.stop(started.id, "SIGTERM", 1) == 143
    assert engine.remove(started.id) is True
    assert engine.remove(started.id) is False
    assert [operation for operation, _name in engine.calls] == ["start", "remove", "stop", "remove"]


def test_a_restart_keeps_the_address_and_shows(engine: MemoryEngine) -> None:
    before = engine.start(SPEC)
    engine.restart("web-1")
    after = engine.inspect(before.id)
    assert after is not None
    assert after.address == before.address and after.started_at != before.started_at


def test_a_crash(engine: MemoryEngine) -> None:
    started = engine.start(SPEC)
    engine.crash("web-1", 7, "a", "b", "c")
    ended = engine.inspect(started.id)
    assert ended is not None
    assert (ended.state, ended.exit_code, ended.address) == ("exited", 7, "")
    assert engine.logs(started.id, 2) == "b\nc"


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (replace(SPEC, image_id="sha256:b"), "image_missing"),
        (replace(SPEC, network="none"), "network_missing"),
    ],
)
def test_a_failed_start_leaves_nothing(
    engine: MemoryEngine, spec: ContainerSpec, kind: str
) -> None:
    with pytest.raises(EngineError) as caught:
        engine.start(spec)
    assert caught.value.details["kind"] == kind
    assert engine.containers({}) == ()


def test_injected_faults_come_before_or_after_the_effect(engine: MemoryEngine) -> None:
    engine.fail("start", "web-1")
    engine.fail("start", "web-1", after=True)
    for there in (0, 1):
        with pytest.raises(EngineError, match="injected"):
            engine.start(SPEC)
        assert len(engine.containers({})) == there
    with pytest.raises(EngineError) as caught:
        engine.start(SPEC)
    assert caught.value.details["kind"] == "name_conflict"


def test_an_image_in_use_stays(engine: MemoryEngine) -> None:
    engine.start(SPEC)
    with pytest.raises(EngineError, match="used by web-1"):
        engine.remove_image(IMAGE.id)
    assert engine.image("app:1") == IMAGE
