# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of recipes that run something."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import recipe as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_steps import Play, Step

BASE = "base/py311@sha256:" + "1" * 64
APP: dict[str, t.Any] = {
    "bake": 1,
    "kind": "app",
    "name": "shop/web",
    "version": "1.4.2",
    "base": BASE,
    "config": {"user": "10001"},
}
DOCKER = {key: value for key, value in APP.items() if key not in ("base", "config")}
OS = {
    "bake": 1,
    "kind": "base",
    "name": "base/x",
    "version": "1.0.0",
    "bootstrap": {"suite": "bookworm"},
}


def load(tmp_path: pathlib.Path, data: object) -> subject.Recipe:
    """Write a recipe and a Dockerfile, and read the recipe."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nARG MODE\nUSER 10001\n")
    path = tmp_path / "bake.yml"
    path.write_text(yaml.safe_dump(data))
    return subject.load_recipe(str(path))


def test_steps_and_a_play_are_read(tmp_path: pathlib.Path) -> None:
    data = {
        **APP,
        "run": [
            ["a", "b c"],
            {"command": ["d"], "env": {"X": "1"}, "user": "10001", "workdir": "/app", "timeout": 5},
        ],
        "play": "play/site.yml",
        "inputs": ["tools/"],
        "secrets": ["token"],
    }
    build = load(tmp_path, data).build
    assert build.steps == (Step(("a", "b c")), Step(("d",), (("X", "1"),), "10001", "/app", 5))
    assert build.play == Play("play/site.yml", 3600)
    assert (build.inputs, build.secrets, build.purpose) == (("tools",), ("token",), "run")


def test_a_dockerfile_names_the_base(tmp_path: pathlib.Path) -> None:
    recipe = load(tmp_path, {**DOCKER, "dockerfile": {"args": {"MODE": "fast"}}})
    assert (recipe.base, recipe.build.purpose) == (BASE, "dockerfile")
    assert recipe.build.docker is not None
    assert recipe.build.docker.args == (("MODE", "fast"),)
    assert recipe.build.docker.path == "Dockerfile"


def test_a_recipe_that_only_adds_files_runs_nothing(tmp_path: pathlib.Path) -> None:
    assert load(tmp_path, APP).build.purpose == ""


def test_what_is_run_is_a_part_of_the_checksum(tmp_path: pathlib.Path) -> None:
    one = subject.recipe_checksum(load(tmp_path, {**APP, "run": [["a"]]}))
    assert one != subject.recipe_checksum(load(tmp_path, {**APP, "run": [["b"]]}))


REFUSED: list[tuple[str, dict[str, t.Any], str]] = [
    ("run-text", {**APP, "run": "apt-get"}, "run: must be a list of steps"),
    ("run-empty", {**APP, "run": []}, "run: must be a list of steps"),
    ("run-no-words", {**APP, "run": [[]]}, "run[0].command: must be a list of words"),
    ("run-number", {**APP, "run": [["sleep", 1]]}, "run[0].command[1]: must be a string"),
    ("SE-13-newline", {**APP, "run": [["a\nb"]]}, "run[0].command[0]: control character U+000A"),
    ("B05", {**APP, "run": [{"comand": ["a"]}]}, "unknown option; did you mean command?"),
    (
        "B35",
        {**APP, "run": [{"command": ["a"], "env": {"A B": "1"}}]},
        "run[0].env: env name must match",
    ),
    (
        "SE-08",
        {**APP, "run": [{"command": ["a"], "env": {"TOKEN": "s3cr3t"}}]},
        "run[0].env.TOKEN: looks like a secret",
    ),
    (
        "user",
        {**APP, "run": [{"command": ["a"], "user": "root"}]},
        "run[0].user: must be a quoted numeric user",
    ),
    (
        "B21-zero",
        {**APP, "run": [{"command": ["a"], "timeout": 0}]},
        "run[0].timeout: must be seconds, an integer 1-86400",
    ),
    (
        "B21-text",
        {**APP, "run": [{"command": ["a"], "timeout": "5m"}]},
        "run[0].timeout: must be seconds",
    ),
    (
        "B21-true",
        {**APP, "play": {"playbook": "p/x.yml", "timeout": True}},
        "play.timeout: must be seconds",
    ),
    ("play-here", {**APP, "play": "site.yml"}, "play.playbook: must be in a folder of its own"),
    (
        "play-out",
        {**APP, "play": "../p/site.yml"},
        "play.playbook: must be a relative path inside the context",
    ),
    (
        "B46-input",
        {**APP, "run": [["a"]], "inputs": ["https://example.org/x"]},
        "inputs[0]: nothing is fetched by URL",
    ),
    (
        "input-out",
        {**APP, "run": [["a"]], "inputs": ["/etc"]},
        "inputs[0]: must be a relative path",
    ),
    ("input-unused", {**APP, "inputs": ["x"]}, "inputs: nothing in this recipe runs anything"),
    ("secret-unused", {**APP, "secrets": ["x"]}, "secrets: nothing in this recipe runs anything"),
    ("secret-name", {**APP, "run": [["a"]], "secrets": ["../x"]}, "secrets[0]: must match"),
    (
        "docker-and-run",
        {**DOCKER, "dockerfile": "Dockerfile", "run": [["a"]]},
        "dockerfile: is the whole build",
    ),
    (
        "docker-and-base",
        {**DOCKER, "dockerfile": "Dockerfile", "base": BASE},
        "base: the Dockerfile says it",
    ),
    (
        "docker-and-files",
        {**DOCKER, "dockerfile": "Dockerfile", "files": []},
        "files: the Dockerfile says it",
    ),
    (
        "docker-and-config",
        {**DOCKER, "dockerfile": "Dockerfile", "config": {"user": "1"}},
        "config.user: the Dockerfile says it",
    ),
    (
        "docker-base",
        {**OS, "dockerfile": "Dockerfile"},
        "dockerfile: only kind: app is built from a Dockerfile",
    ),
    (
        "docker-absent",
        {**DOCKER, "dockerfile": "other/Dockerfile"},
        "dockerfile.path: is not a plain file inside the context",
    ),
    (
        "docker-out",
        {**DOCKER, "dockerfile": "../Dockerfile"},
        "dockerfile.path: must be a relative path",
    ),
    (
        "B47",
        {**DOCKER, "dockerfile": {"args": {"API_TOKEN": "s3cr3t"}}},
        "dockerfile.args.API_TOKEN: build args are stored in the image history",
    ),
    (
        "SE-12-arg",
        {**DOCKER, "dockerfile": {"args": {"A": "1\nRUN id"}}},
        "dockerfile.args.A: control character U+000A",
    ),
    (
        "SE-12-arg-name",
        {**DOCKER, "dockerfile": {"args": {"A B": "1"}}},
        "dockerfile.args: name must match",
    ),
]


@pytest.mark.parametrize(("data", "says"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_refused(tmp_path: pathlib.Path, data: dict[str, t.Any], says: str) -> None:
    with pytest.raises(CutoverError) as caught:
        load(tmp_path, data)
    assert says in caught.value.message
    assert "s3cr3t" not in caught.value.message
    for line in caught.value.message.splitlines():
        assert line.startswith(f"{tmp_path}/bake.yml: ")


@pytest.mark.parametrize("text", ["", "\n \n", "\udce9"], ids=["B02-empty", "blank", "bytes"])
def test_a_dockerfile_that_cannot_be_read(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "bake.yml"
    path.write_text(yaml.safe_dump({**DOCKER, "dockerfile": "Dockerfile"}))
    (tmp_path / "Dockerfile").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CutoverError, match=r"dockerfile\.path: (must have|cannot be read)"):
        subject.load_recipe(str(path))


def test_b48_a_dockerfile_behind_a_link_is_refused(tmp_path: pathlib.Path) -> None:
    load(tmp_path, {**DOCKER, "dockerfile": "Dockerfile"})
    os.rename(tmp_path / "Dockerfile", tmp_path / "real")
    os.symlink("real", tmp_path / "Dockerfile")
    with pytest.raises(CutoverError, match="is not a plain file inside the context"):
        subject.load_recipe(str(tmp_path / "bake.yml"))


def test_a_mistake_in_a_dockerfile_is_named_with_its_line(tmp_path: pathlib.Path) -> None:
    load(tmp_path, APP)
    (tmp_path / "Dockerfile").write_text("FROM debian:12\nUSER root\n")
    (tmp_path / "bake.yml").write_text(yaml.safe_dump({**DOCKER, "dockerfile": "Dockerfile"}))
    with pytest.raises(CutoverError) as caught:
        subject.load_recipe(str(tmp_path / "bake.yml"))
    first, second = caught.value.message.splitlines()
    assert first.startswith(f"{tmp_path}/bake.yml: Dockerfile:1: FROM must be pinned")
    assert second.startswith(f"{tmp_path}/bake.yml: Dockerfile:2: final user must be a number")
