# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options are checked before any socket is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_container as container,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory

GOOD = {"socket": "/run/x/admin.sock", "backend": "shop"}


def test_nothing_is_opened() -> None:
    lb = factory.connect({**GOOD, "config": "/none/haproxy.cfg", "container": "lb"}, SystemClock())
    assert lb.where == "haproxy /run/x/admin.sock backend shop"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": "nginx"}, "load_balancer.driver"),
        ({"socket": ""}, "load_balancer.socket"),
        ({"socket": "relative"}, "load_balancer.socket"),
        ({"socket": "/a\0b"}, "load_balancer.socket"),
        ({"backend": "a;show info"}, "load_balancer.backend"),
        ({"backend": None}, "load_balancer.backend"),
        ({"backend": "x" * 64}, "load_balancer.backend"),
        ({"config": "haproxy.cfg"}, "load_balancer.config"),
        ({"master_socket": "m"}, "load_balancer.master_socket"),
        ({"config": "/x", "container": "a b"}, "load_balancer.container"),
        ({"slow_start": -1}, "load_balancer.slow_start"),
        ({"slow_start": 3601}, "load_balancer.slow_start"),
        ({"slow_start": "5s"}, "load_balancer.slow_start"),
    ],
)
def test_bad_options_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        factory.connect({**GOOD, **change}, SystemClock())


def test_a_path_is_translated_by_the_nearest_mount(tmp_path: Path) -> None:
    mounts = [
        {"Source": str(tmp_path), "Destination": "/far"},
        {"Source": str(tmp_path / "cfg"), "Destination": "/near"},
        {"Source": "/elsewhere", "Destination": "/no"},
    ]
    inside = container.path_inside(tmp_path / "cfg" / "haproxy.cfg", mounts)
    assert inside == "/near/haproxy.cfg"
    assert container.path_inside(tmp_path / "haproxy.cfg", mounts) == "/far/haproxy.cfg"
    assert container.path_inside(Path("/other/haproxy.cfg"), mounts[1:]) is None
