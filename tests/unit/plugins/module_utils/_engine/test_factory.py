# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker import DockerEngine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput


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


def test_the_driver_needs_no_library() -> None:
    """A cutover runs on a host with nothing but Python: module starts stay short, and there is no SDK to install."""
    code = (
        "import sys\n"
        "for name in ('docker', 'requests', 'urllib3'): sys.modules[name] = None\n"
        f"from {factory.__name__} import connect\n"
        "print(type(connect()).__name__)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "DockerEngine\n", done.stderr
