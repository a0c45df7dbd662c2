# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker import DockerEngine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)


def test_nothing_given_is_docker_on_its_usual_socket_and_opens_nothing() -> None:
    assert isinstance(factory.connect(), DockerEngine)
    assert isinstance(factory.connect({"host": "unix:///no/such.sock"}), DockerEngine)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"driver": "podman"}, "engine.driver: must be one of docker, found string 'podman'"),
        ({"host": "tcp://10.0.0.1:2375"}, "engine.host: must be the engine's unix socket"),
        ({"host": "unix://relative"}, "engine.host: must be the engine's unix socket"),
        ({"host": 5}, "engine.host: must be the engine's unix socket"),
        ({"timeout": 0}, "engine.timeout: must be a duration in whole seconds, 1-3600"),
        ({"timeout": True}, "engine.timeout: must be a duration in whole seconds"),
        ({"hots": "x"}, "engine.hots: is an unknown option; known: driver, host, timeout"),
    ],
)
def test_bad_options(options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        factory.connect(options)
    assert caught.value.message.startswith(says), caught.value.message


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CutoverError, match="python3-docker"):
        factory.connect()
