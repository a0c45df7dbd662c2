# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Updating one package, and packages that are not there any more: apt and uv on archives of the test's own."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import fetch, front, locker
from tests.integration.pytest.local_archive import AptArchive, WheelIndex

BASE = """
bake: 1
kind: base
name: ictest/base
version: 1.0.0
bootstrap: {suite: bookworm}
apt: [aa, cc]
"""
APP = """
bake: 1
kind: app
name: ictest/app
version: 1.0.0
base: ictest/base@sha256:%s
python: {requirements: requirements.in}
config: {user: "10001"}
"""


class Site:
    """A base and an app to lock, and where their packages come from."""

    def __init__(self, root: pathlib.Path, archive: AptArchive, index: WheelIndex) -> None:
        self.root, self.archive, self.index = root, archive, index
        self.base, self.app = root / "base.yml", root / "app.yml"
        self.base.write_text(BASE)
        self.app.write_text(APP % ("0" * 64))
        (root / "requirements.in").write_text("aa\ncc\n")

    def params(self, recipe: pathlib.Path, **changes: t.Any) -> dict[str, t.Any]:
        """Return the options of image_lock and image_fetch."""
        return {
            "recipes": [str(recipe)],
            "output": str(self.root / "output"),
            "store": str(self.root / "store"),
            "concurrency": 1,
            "upgrade": False,
            "upgrade_packages": [],
            "unknown_packages": "fail",
            "epoch": None,
            "arch": None,
            **changes,
        }

    def lock(self, recipe: pathlib.Path, *names: str, check: bool = False) -> list[str]:
        """Lock, moving these packages; return what was done."""
        params = self.params(recipe, upgrade_packages=list(names))
        return t.cast("list[str]", front.lock_images(params, check=check)["actions"])

    def fetch(self, recipe: pathlib.Path) -> None:
        """Fetch what is locked."""
        front.fetch_images(self.params(recipe), check=False)

    def locked(self, recipe: pathlib.Path, part: str) -> dict[str, str]:
        """Return the locked versions by name."""
        data = json.loads(recipe.with_suffix(".lock").read_text())
        return {item["name"]: item["version"] for item in data[part]}


@pytest.fixture
def site(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Site]:
    """Return a site with everything locked at version 1, and a version 2 of everything."""
    archive, index = AptArchive(tmp_path / "archive"), WheelIndex(tmp_path / "index")
    monkeypatch.setattr(locker, "host_sources", lambda suite, folder: archive.sources)
    monkeypatch.setattr(fetch, "host_sources", lambda suite, folder: archive.sources)
    # The app's base is not what these tests are about.
    monkeypatch.setattr(locker, "_lock_base", lambda recipe, output: None)
    monkeypatch.setattr(front, "read_inputs", _read_inputs)
    with index.serve() as address:
        for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX"):
            monkeypatch.setenv(name, address)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
        found = Site(tmp_path, archive, index)
        _version_1(found)
        _version_2(found)
        yield found


def _read_inputs(path: str) -> t.Any:
    from ansible_collections.immutable.cutover.plugins.module_utils._image import bake, lock, recipe

    read = recipe.load_recipe(path)
    locked = lock.read_lock(read.lock_path)
    assert locked is not None
    return bake.BakeInputs(read, (), locked, "")


def _version_1(site: Site) -> None:
    site.archive.put("aa", "1", depends="bb (>= 1)")
    site.index.put("aa", "1", requires="bb>=1")
    for name in ("bb", "cc"):
        site.archive.put(name, "1")
        site.index.put(name, "1")
    site.lock(site.base)
    site.lock(site.app)


def _version_2(site: Site) -> None:
    site.archive.put("aa", "2", depends="bb (>= 2)")
    site.index.put("aa", "2", requires="bb>=2")
    for name in ("bb", "cc"):
        site.archive.put(name, "2")
        site.index.put(name, "2")


MOVES = [
    pytest.param("bb", {"aa": "1", "bb": "2", "cc": "1"}, id="only-it"),
    pytest.param("aa", {"aa": "2", "bb": "2", "cc": "1"}, id="and-what-it-needs"),
    pytest.param("cc", {"aa": "1", "bb": "1", "cc": "2"}, id="nothing-needed"),
]


@pytest.mark.parametrize(("name", "expected"), MOVES)
def test_updating_one_package_moves_only_it_and_what_it_needs(
    site: Site, name: str, expected: dict[str, str]
) -> None:
    for recipe, part, what in ((site.base, "apt", "package"), (site.app, "python", "wheel")):
        before = site.locked(recipe, part)
        predicted = site.lock(recipe, name, check=True)
        assert site.locked(recipe, part) == before
        done = site.lock(recipe, name)
        assert done == predicted
        moved = sorted(key for key, value in expected.items() if value == "2")
        tag = "ictest/base:1.0.0" if part == "apt" else "ictest/app:1.0.0"
        assert done == [f"lock {tag}: change {what} {key} 1 -> 2" for key in moved]
        assert site.locked(recipe, part) == {**before, **expected}
        assert site.lock(recipe, name) == []


def test_what_the_archive_has_no_more_stays_locked_if_it_was_fetched(site: Site) -> None:
    site.fetch(site.base)
    for name in ("aa", "bb", "cc"):
        site.archive.drop(name, "1")
    assert site.lock(site.base, "cc") == ["lock ictest/base:1.0.0: change package cc 1 -> 2"]
    assert site.locked(site.base, "apt")["aa"] == "1"


def test_b44_what_is_nowhere_any_more_is_named(site: Site) -> None:
    site.archive.drop("aa", "1")
    with pytest.raises(CutoverError) as caught:
        site.lock(site.base, "cc")
    assert caught.value.message == (
        "aa=1 is locked, and neither in the store nor in a source of this host any more: upgrade it too"
    )
    assert site.lock(site.base, "aa", "cc") != []


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "yanked"])
def test_b44_a_wheel_that_the_index_takes_back_is_named(site: Site, gone: bool) -> None:
    (site.index.drop if gone else site.index.yank)("cc", "1")
    with pytest.raises(CutoverError) as caught:
        site.fetch(site.app)
    why = "gone" if gone else "yanked"
    assert caught.value.message == (
        f"cc==1 not in index: {why}; lock again with upgrade_packages: [cc]"
    )
    site.lock(site.app, "cc")
    site.fetch(site.app)


def test_b44_a_yanked_wheel_that_is_asked_for_by_its_version_gets_another_hint(site: Site) -> None:
    requirements = site.root / "requirements.in"
    requirements.write_text("aa\nCC == 1  # the only one\n")
    site.lock(site.app)
    site.index.yank("cc", "1")
    with pytest.raises(CutoverError) as caught:
        site.fetch(site.app)
    assert caught.value.message == (
        f"cc==1 not in index: yanked; {requirements} asks for exactly this version: name another one there, "
        "and lock again"
    )


def test_b44_an_os_package_that_is_gone_is_named(site: Site) -> None:
    site.archive.drop("bb", "1")
    with pytest.raises(
        CutoverError, match=r"bb=1: no apt source of this host has \./bb_1_all\.deb"
    ):
        site.fetch(site.base)


def test_b43_content_that_changed_under_its_version_is_refused(site: Site) -> None:
    site.index.put("cc", "1", code="other = 1\n")
    site.archive.drop("cc", "1")
    site.archive.put("cc", "1", files={"etc/other": "x"})
    with pytest.raises(CutoverError, match=r"cc-1-py3-none-any\.whl: hash mismatch: expected"):
        site.fetch(site.app)
    with pytest.raises(
        CutoverError, match=r"cc=1: hash mismatch: expected \w{64} got \w{64}: an apt source"
    ):
        site.fetch(site.base)


def test_b43_two_versions_of_one_package_are_refused(site: Site) -> None:
    path = site.base.with_suffix(".lock")
    data = json.loads(path.read_text())
    data["apt"].append({**data["apt"][0], "version": "9"})
    path.write_text(json.dumps(data))
    with pytest.raises(CutoverError, match=r"apt aa: locked twice"):
        site.fetch(site.base)


def test_a_name_that_no_lock_has_is_refused(site: Site) -> None:
    with pytest.raises(CutoverError, match="upgrade_packages: must be in the lock .*'dd'"):
        site.lock(site.base, "dd")


def test_b45_a_version_the_recipe_pins_is_not_moved(site: Site) -> None:
    site.base.write_text(BASE.replace("[aa, cc]", "[aa, cc=1]"))
    site.lock(site.base)
    with pytest.raises(CutoverError, match="upgrade_packages: the recipe pins it to 1, found"):
        site.lock(site.base, "cc")


def test_a_new_requirement_moves_no_other_wheel(site: Site) -> None:
    site.index.put("dd", "1")
    (site.root / "requirements.in").write_text("aa\ncc\ndd\n")
    assert site.lock(site.app) == [
        "lock ictest/app:1.0.0: add wheel dd",
        "lock ictest/app:1.0.0: recipe, base or epoch",
    ]
