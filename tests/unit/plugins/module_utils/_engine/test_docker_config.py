# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers as a real engine gave them, cut to what is read. What the engine does with ours: the integration tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    Image,
    Resources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_config import (
    SecretMount,
    User,
    container_from_inspect,
    container_from_list,
    create_config,
    fixed_addresses,
    is_ours,
    numeric_user,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

SPEC = ContainerSpec(
    name="shop-web-1",
    image_id="sha256:" + "a" * 64,
    network="cutover",
    labels={"immutable.cutover.app": "shop"},
    env={"B": "2", "A": "1"},
    resources=Resources(memory=64 << 20, cpus=0.5, pids=64),
)
ROW: dict[str, Any] = {
    "Id": "f" * 64,
    "Names": ["/other/alias", "/shop-web-1"],
    "ImageID": SPEC.image_id,
    "State": "running",
    "Status": "Up 2 seconds",
    "Labels": {"immutable.cutover.app": "shop"},
    "HostConfig": {"NetworkMode": "cutover"},
    "NetworkSettings": {
        "Networks": {
            "extra": {"IPAddress": "10.9.9.9", "IPAMConfig": None},
            "cutover": {"IPAddress": "10.0.0.9", "IPAMConfig": {"IPv4Address": "10.0.0.9"}},
        }
    },
}


def image(user: str) -> Image:
    return Image(id="sha256:1", labels={}, tags=(), user=user, architecture="amd64")


@pytest.mark.parametrize(
    ("user", "uid", "gid"), [("10001", 10001, 0), ("10001:10002", 10001, 10002)]
)
def test_a_numeric_user(user: str, uid: int, gid: int) -> None:
    assert numeric_user(image(user)) == User(uid, gid)


@pytest.mark.parametrize("user", ["", "0", "00", "0:10", "root", "root:app"])
def test_b51_root(user: str) -> None:
    with pytest.raises(EngineError, match="runs as root; set a numeric, non-root user"):
        numeric_user(image(user))


@pytest.mark.parametrize("user", ["app", "app:app", "1x", "-1", "١٢"])
def test_b51_a_name_may_be_root_too(user: str) -> None:
    with pytest.raises(EngineError, match="is not numeric, so it cannot be told from root"):
        numeric_user(image(user))


def test_a_fixed_address_is_asked_for_only_where_there_is_one() -> None:
    fixed = create_config(SPEC, (), "10.0.0.9")["NetworkingConfig"]["EndpointsConfig"]
    assert fixed == {"cutover": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}}
    assert create_config(SPEC, (), None)["NetworkingConfig"]["EndpointsConfig"] == {"cutover": {}}


def test_no_port_is_published_and_the_command_is_the_images() -> None:
    config = create_config(SPEC, (), None)
    assert "PortBindings" not in config["HostConfig"] and "Cmd" not in config
    assert config["Env"] == ["A=1", "B=2"]


def test_a_secret_is_a_read_only_file_and_nothing_else() -> None:
    config = create_config(SPEC, (SecretMount("TOKEN", "/s/x/TOKEN"),), None)
    (mount,) = config["HostConfig"].pop("Mounts")
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == (
        "/s/x/TOKEN",
        "/run/secrets/TOKEN",
        True,
    )
    assert "TOKEN" not in str(config)


def test_a_row_of_a_list() -> None:
    found = container_from_list(ROW)
    assert (found.name, found.address, found.exit_code) == ("shop-web-1", "10.0.0.9", None)
    ended = {
        **ROW,
        "State": "exited",
        "Status": "Exited (137) 5 minutes ago",
        "NetworkSettings": None,
    }
    found = container_from_list(ended)
    assert (found.state, found.exit_code, found.address) == ("exited", 137, "")


def test_an_address_counts_while_the_container_is_down_too() -> None:
    assert fixed_addresses(ROW, "cutover") == {"10.0.0.9"}
    down = {
        "NetworkSettings": {
            "Networks": {"cutover": {"IPAddress": "", "IPAMConfig": {"IPv4Address": "10.0.0.9"}}}
        }
    }
    assert fixed_addresses(down, "cutover") == {"10.0.0.9"}
    assert fixed_addresses(down, "other") == set()


@pytest.mark.parametrize(
    ("state", "exit_code", "error"),
    [
        ({"Status": "running", "ExitCode": 0}, None, ""),
        ({"Status": "created", "ExitCode": 0}, None, ""),
        ({"Status": "exited", "ExitCode": 3}, 3, ""),
        ({"Status": "restarting", "ExitCode": 1}, 1, ""),
        (
            {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
            137,
            "killed by the kernel: out of memory.",
        ),
        ({"Status": "created", "ExitCode": 127, "Error": "no such file"}, None, "no such file"),
    ],
)
def test_an_inspected_container(state: dict[str, Any], exit_code: int | None, error: str) -> None:
    found = container_from_inspect(
        {"Id": "f", "Name": "/x", "Image": "i", "Config": {"Labels": None}, "State": state}
    )
    assert (found.name, found.exit_code, found.error) == ("x", exit_code, error)


def test_only_the_app_label_makes_a_container_ours() -> None:
    assert is_ours({"immutable.cutover.app": "shop"})
    assert not is_ours({"immutable.cutover.recipe-hash": "of its image"})


def test_a_port_is_published_only_where_it_was_asked_for() -> None:
    assert "PortBindings" not in create_config(SPEC, (), None)["HostConfig"]
    config = create_config(replace(SPEC, publish=("10.1.2.3", 20000, 8080)), (), None)
    place = [{"HostIp": "10.1.2.3", "HostPort": "20000"}]
    assert config["HostConfig"]["PortBindings"] == {"8080/tcp": place}
    assert config["ExposedPorts"] == {"8080/tcp": {}}
