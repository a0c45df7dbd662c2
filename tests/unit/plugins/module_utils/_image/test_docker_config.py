# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is taken over from an image that was built from a Dockerfile."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import docker_config
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    ImageConfig,
    Recipe,
    load_recipe,
)

BASE = "base/py311@sha256:" + "1" * 64
BEFORE = {
    "Env": ["PATH=/bin", "LANG=C"],
    "Cmd": ["python3"],
    "Labels": {"vendor": "us", "immutable.cutover.build": "x"},
}
AFTER: dict[str, t.Any] = {**BEFORE, "User": "10001", "WorkingDir": "/app"}


def recipe(tmp_path: pathlib.Path, **config: t.Any) -> Recipe:
    """Return a recipe with a Dockerfile."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nUSER 10001\n")
    data = {"bake": 1, "kind": "app", "name": "x/y", "version": "1.0.0", "dockerfile": "Dockerfile"}
    (tmp_path / "bake.yml").write_text(yaml.safe_dump({**data, "config": config}))
    return load_recipe(str(tmp_path / "bake.yml"))


def test_what_the_dockerfile_added_is_taken_over(tmp_path: pathlib.Path) -> None:
    after = {
        **AFTER,
        "Env": ["PATH=/app:/bin", "LANG=C", "NAME=a b=c"],
        "ExposedPorts": {"9000/udp": {}, "8080/tcp": {}},
        "StopSignal": "SIGINT",
        "Entrypoint": ["/app/start"],
        "Cmd": None,
        "Labels": {"vendor": "us", "team": "shop", "immutable.cutover.build": "y"},
    }
    read = recipe(tmp_path, env_required=["DATABASE_URL"])
    assert docker_config.with_config(read, BEFORE, after).config == ImageConfig(
        user="10001",
        workdir="/app",
        expose=("8080/tcp", "9000/udp"),
        stop_signal="SIGINT",
        env=(("NAME", "a b=c"), ("PATH", "/app:/bin")),
        env_required=("DATABASE_URL",),
        entrypoint=("/app/start",),
        labels=(("team", "shop"),),
    )


def test_what_is_of_the_base_stays_of_the_base(tmp_path: pathlib.Path) -> None:
    config = docker_config.with_config(recipe(tmp_path), BEFORE, AFTER).config
    assert config == ImageConfig(user="10001", workdir="/app")


REFUSED: list[tuple[str, dict[str, t.Any], str]] = [
    ("B51-root", {"User": "0"}, "USER: final user is root"),
    ("B51-name", {"User": "app"}, "USER: final user must be a number"),
    ("B51-none", {"User": ""}, "USER: final user must be a number"),
    ("B29", {"StopSignal": "15"}, "STOPSIGNAL: must be a signal name"),
    ("B12", {"ExposedPorts": {"x/tcp": {}}}, "EXPOSE: must be a port"),
    (
        "B38",
        {"Labels": {"immutable.cutover.name": "x"}},
        "LABEL immutable.cutover.name: label prefix is reserved",
    ),
    ("B49", {"Labels": {"note": "x\nUSER 0"}}, "LABEL note: control character U+000A"),
    ("SE-08", {"Env": ["API_TOKEN=s3cr3t"]}, "ENV API_TOKEN: looks like a secret"),
    ("P12", {"Env": ["DATABASE_URL=s3cr3t"]}, "ENV DATABASE_URL: is required from outside"),
]


@pytest.mark.parametrize(("after", "says"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_refused(tmp_path: pathlib.Path, after: dict[str, t.Any], says: str) -> None:
    read = recipe(tmp_path, env_required=["DATABASE_URL"])
    with pytest.raises(CutoverError) as caught:
        docker_config.with_config(read, BEFORE, {**AFTER, **after})
    assert says in caught.value.message
    assert "s3cr3t" not in caught.value.message


def test_root_on_request(tmp_path: pathlib.Path) -> None:
    read = recipe(tmp_path, allow_root=True)
    assert docker_config.with_config(read, BEFORE, {**AFTER, "User": ""}).config.user == ""
