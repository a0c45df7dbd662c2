# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the option C(engine) to a driver; private, no stability promised."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)

if TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine

DEFAULT_HOST = "unix:///var/run/docker.sock"

ENGINE_SPEC: dict[str, dict[str, Any]] = {
    "driver": {"type": "str", "choices": ["docker"], "default": "docker"},
    "host": {"type": "str", "default": DEFAULT_HOST},
    "timeout": {"type": "int", "default": 60},
}
"""Suboptions of C(engine); documented in the fragment C(_engine)."""


def connect(options: Mapping[str, Any] | None = None, clock: Clock | None = None) -> Engine:
    """Make the driver for one option mapping; nothing is opened before its first call."""
    given = dict(options or {})
    unknown = sorted(set(given) - set(ENGINE_SPEC))
    if unknown:
        known = ", ".join(sorted(ENGINE_SPEC))
        raise InvalidInput(
            f"engine.{unknown[0]}", unknown[0], f"is an unknown option; known: {known}"
        )
    driver = given.get("driver") or "docker"
    if driver != "docker":
        raise InvalidInput("engine.driver", driver, "must be one of docker")
    return _docker(_socket(given.get("host")), _seconds(given.get("timeout")), clock)


def _docker(host: str, timeout: int, clock: Clock | None) -> Engine:
    # Importing the SDK takes 0.2 s, and what never connects must not pay for it.
    if importlib.util.find_spec("docker") is None:
        raise CutoverError(missing_required_lib("docker (Debian: python3-docker)"))
    from ansible_collections.immutable.cutover.plugins.module_utils._engine import docker

    return docker.DockerEngine(host, timeout, clock)


def _socket(value: object) -> str:
    host = value or DEFAULT_HOST
    if not isinstance(host, str) or not host.startswith("unix:///") or "\0" in host or "\n" in host:
        raise InvalidInput(
            "engine.host",
            host,
            "must be the engine's unix socket on this host, such as unix:///var/run/docker.sock",
        )
    return host


def _seconds(value: object) -> int:
    timeout = 60 if value is None else value
    if isinstance(timeout, bool) or not isinstance(timeout, int) or not 1 <= timeout <= 3600:
        raise InvalidInput("engine.timeout", timeout, "must be a duration in whole seconds, 1-3600")
    return timeout
