# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of recipes: what is read, and what is refused with which words."""

from __future__ import annotations

import copy
import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import recipe as subject

BASE = "base/py311@sha256:" + "1" * 64
APP: dict[str, t.Any] = {
    "bake": 1,
    "kind": "app",
    "name": "shop/web",
    "version": "1.4.2",
    "base": BASE,
    "python": {"requirements": "requirements.in"},
    "files": [{"src": "src/", "dest": "/app"}],
    "config": {"user": "10001", "workdir": "/app", "expose": [8080], "stop_signal": "SIGTERM"},
    "entrypoints": {"web": ["python", "-m", "shop"]},
}
OS: dict[str, t.Any] = {
    "bake": 1,
    "kind": "base",
    "name": "base/py311",
    "version": "1.0.0",
    "bootstrap": {"suite": "bookworm"},
    "apt": ["python3"],
}
LAYERED: dict[str, t.Any] = {
    **{key: value for key, value in OS.items() if key not in ("bootstrap", "apt")},
    "base": "registry.example/team/base@sha256:" + "2" * 64,
    "run": [["groupadd", "app"]],
}


def load(tmp_path: pathlib.Path, data: object) -> subject.Recipe:
    """Write a recipe and read it."""
    path = tmp_path / "bake.yml"
    path.write_text(yaml.safe_dump(data))
    return subject.load_recipe(str(path))


def changed(original: dict[str, t.Any], path: str, value: object) -> dict[str, t.Any]:
    """Return a copy with one option changed, or removed if the value is None."""
    data = copy.deepcopy(original)
    *parents, last = path.split(".")
    place = data
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return data


def test_an_app_is_read(tmp_path: pathlib.Path) -> None:
    recipe = load(tmp_path, APP)
    assert (recipe.tag, recipe.kind, recipe.base) == ("shop/web:1.4.2", "app", BASE)
    assert recipe.config.expose == ("8080/tcp",)
    assert recipe.python == subject.PythonInput("requirements.in", "3.11")
    assert recipe.entrypoints == (("web", ("python", "-m", "shop")),)
    assert recipe.context == str(tmp_path)
    assert recipe.lock_path == str(tmp_path / "bake.lock")
    assert recipe.files[0].mode == "u=rwX,go=rX"


def test_a_base_is_read(tmp_path: pathlib.Path) -> None:
    recipe = load(tmp_path, OS)
    assert (recipe.suite, recipe.apt, recipe.base) == ("bookworm", ("python3",), "")


def test_a_base_on_another_is_read(tmp_path: pathlib.Path) -> None:
    recipe = load(tmp_path, LAYERED)
    assert (recipe.kind, recipe.suite, recipe.apt) == ("base", "", ())
    assert recipe.base == LAYERED["base"]
    assert recipe.build.purpose == "run"


REFUSED: list[tuple[str, dict[str, t.Any], str, object, str]] = [
    ("B07-newline", APP, "name", "web\n", "name: control character U+000A at position 3"),
    ("B07-injection", APP, "name", "web;disable", "name: each part must match"),
    ("B07-dots", APP, "name", "../x", "name: each part must match"),
    ("B07-dash", APP, "name", "-x", "name: each part must match"),
    ("B08", APP, "name", "a" * 64, "name: a part is longer than 63"),
    ("B09", APP, "name", "we\u200bb", "name: non-ASCII character U+200B at position 2"),
    ("B06", APP, "name", None, "name: is required"),
    ("B45-tag-in-name", APP, "name", "web:latest", "must be a repository without a tag"),
    ("P2-environment-name", APP, "name", "prod/web", "'prod' is an environment"),
    ("B45-latest", APP, "version", "latest", "version: unpinned version 'latest'"),
    ("B45-star", APP, "version", "1.*", "version: must be a SemVer"),
    ("B45-range", APP, "version", ">=1.0.0", "version: must be a SemVer"),
    ("B45-build", APP, "version", "1.0.0+build", "version: must be a SemVer"),
    ("B45-zero", APP, "version", "01.0.0", "version: must be a SemVer"),
    ("P2-dev", APP, "version", "dev", "unpinned version 'dev'"),
    ("P2-prod", APP, "version", "prod", "unpinned version 'prod'"),
    ("P2-staging", APP, "version", "1.0.0-staging", "unpinned version 'staging'"),
    ("version-number", APP, "version", 1.4, "version: must be a quoted SemVer"),
    ("B41-tag", APP, "base", "base/py311:1.0.0", "base: image must be pinned name@sha256:"),
    ("B41-latest", APP, "base", "base/py311:latest", "base: image must be pinned name@sha256:"),
    ("B41-none", APP, "base", None, "base: is required"),
    ("B14", APP, "base", "base/py311@sha256:" + "1" * 63, "base: bad digest"),
    ("B05", APP, "entrypoint", ["x"], "entrypoint: unknown option; did you mean entrypoints?"),
    ("B05-nested", APP, "config.workdri", "/", "unknown option; did you mean workdir?"),
    ("B12-zero", APP, "config.expose", [0], "config.expose[0]: port must be an integer 1-65535"),
    ("B12-high", APP, "config.expose", [65536], "port must be an integer 1-65535"),
    ("B12-text", APP, "config.expose", ["80a"], "port must be an integer 1-65535"),
    ("B12-true", APP, "config.expose", [True], "port must be an integer 1-65535"),
    ("B29", APP, "config.stop_signal", "TERM;", "must be a signal name"),
    ("B35", APP, "config.env", {"A B": "1"}, "env name must match [A-Za-z_]"),
    ("B35-number", APP, "config.env", {"A": 1}, "config.env.A: must be a string; quote it"),
    ("B36", APP, "config.env", {"A": "1\n2"}, "control character U+000A"),
    ("B38", APP, "config.labels", {"immutable.cutover.name": "x"}, "label prefix is reserved"),
    ("B49", APP, "config.labels", {"note": 'x\nUSER "0"'}, "control character U+000A"),
    ("B51-root", APP, "config.user", "root", "must be a quoted numeric user"),
    ("B51-zero", APP, "config.user", "0", "final user is root"),
    ("B51-zero-group", APP, "config.user", "0:10", "final user is root"),
    ("B51-none", APP, "config.user", None, "final user would be root"),
    (
        "B46",
        APP,
        "files",
        [{"src": "https://example.org/x", "dest": "/x"}],
        "files[0].src: nothing is fetched by URL",
    ),
    ("B46-add", APP, "add", ["https://example.org/x"], "add: unknown option"),
    ("B47", APP, "args", {"PASSWORD": "x"}, "args: unknown option"),
    ("B48-up", APP, "files", [{"src": "../x", "dest": "/x"}], "relative path inside the context"),
    ("B48-absolute", APP, "files", [{"src": "/etc", "dest": "/x"}], "inside the context"),
    ("dest", APP, "files", [{"src": "x", "dest": "x"}], "files[0].dest: must be an absolute path"),
    ("dest-up", APP, "files", [{"src": "x", "dest": "/a/../b"}], "absolute path without .."),
    ("mode", APP, "files", [{"src": "x", "dest": "/x", "mode": 420}], "must be a quoted mode"),
    ("B48-requirements", APP, "python.requirements", "../r", "inside the context"),
    ("python", APP, "python.version", "3", "must be a quoted version like '3.11'"),
    ("P8-apt", APP, "apt", ["curl"], "apt: only kind: base installs OS packages"),
    ("P8-bootstrap", APP, "bootstrap", {"suite": "x"}, "only kind: base is bootstrapped"),
    ("kind", APP, "kind", "vm", "kind: must be one of base, app, found string 'vm'"),
    ("format", APP, "bake", 2, "bake: must be 1"),
    ("format-true", APP, "bake", True, "bake: must be 1"),
    ("process", APP, "entrypoints", {"w b": ["x"]}, "process name must match"),
    ("process-shell", APP, "entrypoints", {"web": "python -m shop"}, "must be a list of strings"),
    ("process-empty", APP, "entrypoints", {"web": []}, "must be a list of words"),
    ("required", APP, "config.env_required", [1], "config.env_required[0]: must be a string"),
    ("B45-apt", OS, "apt", ["python3>=3"], "apt[0]: unpinned version or bad name"),
    ("B45-apt-star", OS, "apt", ["python*"], "apt[0]: unpinned version or bad name"),
    ("apt-option", OS, "apt", ["-oDir=/x"], "apt[0]: unpinned version or bad name"),
    ("suite", OS, "bootstrap.suite", "book worm", "bootstrap.suite: must be a suite"),
    ("suite-none", OS, "bootstrap", None, "bootstrap: must be a mapping"),
    ("base-base", OS, "base", BASE, "bootstrap: cannot be used with base"),
    ("base-apt", LAYERED, "apt", ["curl"], "apt: cannot be used with base: it belongs into"),
    ("B41-base-tag", LAYERED, "base", "debian:12", "base: image must be pinned name@sha256:"),
    (
        "B41-base-latest",
        LAYERED,
        "base",
        "debian:latest",
        "base: image must be pinned name@sha256:",
    ),
    ("B14-base", LAYERED, "base", "debian@sha256:" + "1" * 63, "base: bad digest"),
    ("base-none", LAYERED, "base", None, "bootstrap: must be a mapping"),
    ("base-docker", LAYERED, "dockerfile", "Dockerfile", "dockerfile: only kind: app"),
    ("base-python", OS, "python", {"requirements": "r"}, "only kind: app installs wheels"),
    ("B51-base", OS, "config", {"user": "0"}, "final user is root"),
]


@pytest.mark.parametrize(
    ("original", "path", "value", "says"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_refused(
    tmp_path: pathlib.Path, original: dict[str, t.Any], path: str, value: object, says: str
) -> None:
    with pytest.raises(CutoverError) as caught:
        load(tmp_path, changed(original, path, value))
    assert says in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path}/bake.yml: ")
    assert len(caught.value.message.splitlines()) == len(
        t.cast(list, caught.value.details["errors"])
    )


def test_every_mistake_is_one_line(tmp_path: pathlib.Path) -> None:
    data = changed(changed(APP, "version", "latest"), "base", "base/py311")
    data["config"]["user"] = "root"
    with pytest.raises(CutoverError) as caught:
        load(tmp_path, data)
    lines = caught.value.message.splitlines()
    assert len(lines) == 3
    assert [line.split(": ")[1] for line in lines] == ["config.user", "base", "version"]


def test_root_on_request(tmp_path: pathlib.Path) -> None:
    data = changed(APP, "config", {"user": "0", "allow_root": True})
    assert load(tmp_path, data).config.user == "0"


@pytest.mark.parametrize("version", ["1.4.2", "0.0.1", "1.0.0-rc.1"])
def test_accepted_versions(tmp_path: pathlib.Path, version: str) -> None:
    assert load(tmp_path, changed(APP, "version", version)).version == version


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, "recipe not found: ", id="B01"),
        pytest.param("", "is empty", id="B02"),
        pytest.param("# only this\n", "is empty", id="B02-comment"),
        pytest.param("- bake\n", "top level must be a mapping, found list", id="B03"),
        pytest.param("bake: 1\nkind: app\nbake: 1\n", "bake.yml:3:1 duplicate key", id="B04"),
        pytest.param("config:\n  user: a\n  user: b\n", ":3:3 duplicate key 'user'", id="B04-deep"),
        pytest.param("bake:\t1\n\tkind: x\n", "bake.yml:1:6 found character", id="B04-tab"),
        pytest.param("a: !!python/object:os.system x\n", "could not determine", id="B04-object"),
        pytest.param("a: \x00\n", "is not YAML", id="B04-nul"),
        pytest.param("a: {b: 1, b: 2}\n", "bake.yml:1:11 duplicate key 'b'", id="B04-flow"),
        pytest.param("a:\n  - b: 1\n    b: 2\n", ":3:5 duplicate key 'b'", id="B04-in-list"),
        pytest.param("entrypoints:\n  web: [a]\n  web: [b]\n", ":3:3 duplicate key", id="B10"),
        pytest.param("bake: 1\n---\nbake: 1\n", "bake.yml:2:1 but found another", id="B04-two"),
        pytest.param("a: &a\n  b: *a\n", "bake.yml:1:4 an alias leads to", id="B04-loop"),
        pytest.param(BOMB, "more than 100000 values, aliases written out", id="B04-bomb"),
        pytest.param("[" * 3000, "is nested too deeply", id="B04-deep-nesting"),
    ],
)
def test_broken_files(tmp_path: pathlib.Path, text: str | None, says: str) -> None:
    path = tmp_path / "bake.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CutoverError) as caught:
        subject.load_recipe(str(path))
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_checksum_is_of_the_meaning(tmp_path: pathlib.Path) -> None:
    first = load(tmp_path, APP)
    reordered = dict(reversed(list(APP.items())))
    (tmp_path / "other").mkdir()
    elsewhere = load(tmp_path / "other", {**reordered, "context": ".."})
    assert subject.recipe_checksum(first) == subject.recipe_checksum(elsewhere)
    assert elsewhere.context == str(tmp_path)
    other = load(tmp_path, changed(APP, "version", "1.4.3"))
    assert subject.recipe_checksum(first) != subject.recipe_checksum(other)


@pytest.mark.parametrize("kind", ["missing", "link"])
def test_b48_requirements_must_be_a_plain_file(tmp_path: pathlib.Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "real").write_text("x")
        (tmp_path / "requirements.in").symlink_to("real")
    with pytest.raises(CutoverError, match="is not a plain file inside the context"):
        subject.requirements_path(load(tmp_path, APP))
