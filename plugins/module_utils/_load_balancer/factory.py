# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the option C(load_balancer) to a driver; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_config as config_text,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_file as file,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_socket as runtime,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._names import (
    checked_name,
    checked_number,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    LoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.haproxy import (
    CHECK,
    HaproxyLoadBalancer,
)

LOAD_BALANCER_SPEC: dict[str, dict[str, Any]] = {
    "driver": {"type": "str", "choices": ["haproxy"], "default": "haproxy"},
    "socket": {"type": "path", "required": True},
    "backend": {"type": "str", "required": True},
    "master_socket": {"type": "path", "default": ""},
    "config": {"type": "path", "default": ""},
    "container": {"type": "str", "default": ""},
    "validate": {"type": "bool", "default": True},
    "slow_start": {"type": "int", "default": 0},
}
"""Suboptions of C(load_balancer); documented in the fragment C(_load_balancer)."""


def connect(options: Mapping[str, Any], clock: Clock) -> LoadBalancer:
    """Make the driver for one option mapping; nothing is opened before its first call."""
    driver = options.get("driver") or "haproxy"
    if driver != "haproxy":
        raise InvalidInput("load_balancer.driver", driver, "one of haproxy")
    master = _path(options, "master_socket")
    config = _path(options, "config")
    return HaproxyLoadBalancer(
        runtime.RuntimeSocket(_required_path(options, "socket"), clock),
        checked_name("load_balancer.backend", options.get("backend")),
        clock,
        master=runtime.RuntimeSocket(master, clock, option="master_socket") if master else None,
        config=_config_file(config, options, clock) if config else None,
        check=_check(options),
    )


def _check(options: Mapping[str, Any]) -> str:
    """Return how a new target is checked, and how its share grows once its check passes."""
    seconds = checked_number("load_balancer.slow_start", options.get("slow_start") or 0, 0, 3600)
    return f"{CHECK} slowstart {seconds}s" if seconds else CHECK


def _config_file(path: str, options: Mapping[str, Any], clock: Clock) -> file.ConfigFile:
    shape = None if options.get("validate") is False else config_text.shape
    return file.ConfigFile(path, clock, _validator(options), shape=shape)


def _validator(options: Mapping[str, Any]) -> file.Validator:
    if options.get("validate") is False:
        return file.accept_all
    container = options.get("container")
    if not container:
        return file.validate_on_host
    # Importing the Docker SDK takes 0.3 s, and most calls do not validate in a container.
    from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
        _haproxy_container,
    )

    return _haproxy_container.ContainerValidator(checked_name("load_balancer.container", container))


def _required_path(options: Mapping[str, Any], name: str) -> str:
    path = _path(options, name)
    if not path:
        raise InvalidInput(f"load_balancer.{name}", options.get(name), "an absolute path")
    return path


def _path(options: Mapping[str, Any], name: str) -> str:
    value = options.get(name) or ""
    if not isinstance(value, str) or (value and not value.startswith("/")) or "\0" in value:
        raise InvalidInput(f"load_balancer.{name}", value, "an absolute path")
    return value
