# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of seeing without the engine that it has an image."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import loaded as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    write_host_record,
)

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World

HOST = "unix:///var/run/docker.sock"


class Engine:
    """The files an engine keeps, as this test's own engine would."""

    def __init__(self, world: World) -> None:
        self.world, self.state = world, str(world.root / "state")
        self.record = world.base
        folder = world.root / "docker/image/overlay2"
        self.tags = folder / "repositories.json"
        self.content = folder / "imagedb/content/sha256" / self.record.image_id.partition(":")[2]
        self.content.parent.mkdir(parents=True)
        self.content.write_text("{}")
        self.tag(self.record.image_id)
        write_host_record(self.state, self.record)
        self.note()

    def tag(self, image_id: str) -> None:
        """Point the tag to an image."""
        tags = {"Repositories": {self.record.name: {self.record.tag: image_id}}}
        self.tags.write_text(json.dumps(tags))

    def note(self, host: str = HOST, driver: str = "overlay2") -> None:
        """Note what the engine says of itself."""
        info = {"DockerRootDir": str(self.world.root / "docker"), "Driver": driver}
        subject.note_loaded(self.state, self.record, host, info)

    def seen(self, host: str = HOST) -> bool:
        """Tell whether the image is seen."""
        return subject.still_loaded(self.state, self.record, host)


@pytest.fixture
def engine(world: World) -> Engine:
    """Return an engine that has the base."""
    return Engine(world)


def test_what_is_there_is_seen(engine: Engine) -> None:
    assert engine.seen()
    assert not engine.seen("unix:///run/other.sock")


def test_what_was_removed_is_not(engine: Engine) -> None:
    engine.content.unlink()
    assert not engine.seen()


@pytest.mark.parametrize("text", ["{}", "[]", "", '{"Repositories": {}}', None])
def test_a_tag_that_is_gone_or_a_list_of_another_kind_is_a_question_for_the_engine(
    engine: Engine, text: str | None
) -> None:
    if text is None:
        engine.tags.unlink()
    else:
        engine.tags.write_text(text)
    assert not engine.seen()


def test_a_tag_of_another_image_is_not_this_one(engine: Engine) -> None:
    engine.tag("sha256:" + "1" * 64)
    assert not engine.seen()


@pytest.mark.parametrize("changes", [{"host": "tcp://127.0.0.1:2375"}, {"driver": "other"}])
def test_an_engine_elsewhere_or_of_another_kind_is_always_asked(
    world: World, changes: dict[str, str]
) -> None:
    engine = Engine(world)
    for path in pathlib.Path(engine.state).rglob("*.engine"):
        path.unlink()
    engine.note(**changes)
    assert not engine.seen()
    assert not list(pathlib.Path(engine.state).rglob("*.engine"))
