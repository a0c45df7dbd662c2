# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the module replica are held to the same bounds as an app spec."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.replica_spec import (
    ReplicaWanted,
    read_replicas,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.tests.unit.support.shop import mapping

READINESS = {
    "path": "/readyz",
    "status": [200],
    "expect": "",
    "interval": 1,
    "successes": 2,
    "timeout": 60,
}


def read(**options: Any) -> ReplicaWanted:
    """Read one replica, as Ansible hands it over with its defaults, on a host with two cores."""
    item = {
        "name": "web",
        "image": f"sha256:{'1' * 64}",
        "port": 8080,
        "command": [],
        "env": {},
        "secrets": [],
        "labels": {},
        "network": "cutover",
        "readiness": READINESS,
        "warm_up": [],
        "resources": {"memory": "256m", "cpus": 1.0, "pids": 128},
        "stop": {"signal": "SIGTERM", "grace_period": 30},
        **options,
    }
    (found,) = read_replicas([item], present=True, cpus=2)
    return found


def test_limits_are_read() -> None:
    limits = read(resources={"memory": "6m", "cpus": 0.01, "pids": 8}).resources
    assert (limits.memory, limits.cpus, limits.pids) == (6 << 20, 0.01, 8)


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param({"memory": "1m"}, id="B30"),
        pytest.param({"cpus": 0.0}, id="B31-zero"),
        pytest.param({"cpus": float("nan")}, id="B31-nan"),
        pytest.param({"cpus": 1025.0}, id="B31-high"),
        pytest.param({"pids": 7}, id="pids-low"),
        pytest.param({"pids": 1_000_001}, id="pids-high"),
    ],
)
def test_a_limit_is_refused_as_in_a_spec(resources: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as of_replica:
        read(resources=resources)
    with pytest.raises(InvalidInput) as of_spec:
        parse_spec(mapping(processes={"web": {"port": 8080, "resources": resources}}))
    said = of_replica.value.message.removeprefix("replicas[0].resources.")
    assert said == of_spec.value.message.removeprefix("processes.web.resources.")


def test_b31_more_cores_than_the_host_has_are_refused() -> None:
    said = r"replicas\[0\]\.resources\.cpus: must not be above the host's 2, found 2\.5"
    with pytest.raises(InvalidInput, match=said):
        read(resources={"cpus": 2.5})


@pytest.mark.parametrize("name", ["DB_PASSWORD", "api_token"])
def test_b37_a_secret_in_the_environment_is_refused_as_in_a_spec(name: str) -> None:
    for refused in (
        lambda: read(env={name: "hunter2"}),
        lambda: parse_spec(mapping(env={name: "hunter2"})),
    ):
        with pytest.raises(InvalidInput, match=f"env.{name}: looks like a secret") as caught:
            refused()
        assert "hunter2" not in caught.value.message
    assert read(env={f"{name}_FILE": "/run/x"}).env[f"{name}_FILE"] == "/run/x"
