# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what the image modules return."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import front as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image import lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    load_recipe,
    recipe_checksum,
)

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World


def params(world: World, *recipes: str, **changes: t.Any) -> dict[str, t.Any]:
    """Return the options of a module."""
    return {
        "recipes": list(recipes) or [world.recipe],
        "output": str(world.root / "output"),
        "store": str(world.root / "store"),
        "state_dir": str(world.root / "state"),
        "engine": {},
        "concurrency": 2,
        "fetch": True,
        "load": False,
        "archive": False,
        **changes,
    }


def index(world: World, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Move the wheel out of the store into an index that serves it."""
    wheel = world.root / "pkg-1.0-py3-none-any.whl"
    shutil.move(world.root / "store/sha256" / world.wheel, wheel)

    def run(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        digest = world.wheel
        pathlib.Path(argv[argv.index("--output-file") + 1]).write_text(
            '[[packages]]\nname = "pkg"\nversion = "1.0"\n'
            f'wheels = [{{url = "file://{wheel}", hashes = {{sha256 = "{digest}"}}}}]\n'
        )
        return ""

    monkeypatch.setattr(subject, "run_tool", run)
    return wheel


@pytest.mark.usefixtures("tools")
def test_fetching_is_predicted_then_done_then_unchanged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(world, monkeypatch)
    predicted = subject.fetch_images(params(world), check=True)
    assert list((world.root / "store/sha256").iterdir()) == []
    done = subject.fetch_images(params(world), check=False)
    assert done == predicted
    assert done["changed"]
    assert done["actions"] == ["fetch 1 inputs of shop/web:1.0.0"]
    assert done["inputs"][0]["fetched"] == ["pkg-1.0-py3-none-any.whl"]
    again = subject.fetch_images(params(world), check=False)
    assert (again["changed"], again["actions"]) == (False, [])
    assert subject.bake_images(params(world, fetch=False), check=False)["changed"]


@pytest.mark.usefixtures("tools")
def test_b43_what_is_fetched_must_be_what_was_locked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(world, monkeypatch).write_bytes(b"another")
    with pytest.raises(CutoverError, match=f"hash mismatch: expected {world.wheel} got"):
        subject.fetch_images(params(world), check=False)
    assert list((world.root / "store/sha256").iterdir()) == []


def test_one_recipe_that_fails_does_not_lose_the_others(world: World) -> None:
    recipes = []
    for number in range(10):
        folder = world.root / f"app{number}"
        shutil.copytree(world.root / "shop", folder)
        for name in ("bake.yml", "bake.lock"):
            text = (folder / name).read_text()
            (folder / name).write_text(text.replace("shop/web", f"shop/web{number}"))
        recipe = load_recipe(str(folder / "bake.yml"))
        locked = lock.read_lock(recipe.lock_path)
        assert locked is not None
        wheels = locked.python
        if number == 4:
            wheels = (dataclasses.replace(wheels[0], sha256="0" * 64),)
        locked = dataclasses.replace(locked, recipe_checksum=recipe_checksum(recipe), python=wheels)
        (folder / "bake.lock").write_bytes(locked.to_bytes())
        recipes.append(recipe.path)
    with pytest.raises(
        CutoverError, match="shop/web4:1.0.0: 1 locked inputs are not in the store"
    ) as caught:
        subject.bake_images(params(world, *recipes, fetch=False), check=False)
    done = t.cast("list[dict[str, t.Any]]", caught.value.details["images"])
    assert [image["recipe"] for image in done] == [*recipes[:4], *recipes[5:]]
    assert (caught.value.details["changed"], len(done)) == (True, 9)
    records = sorted(path.parent.name for path in (world.root / "output/records/shop").rglob("1*"))
    assert records == [f"web{number}" for number in range(10) if number != 4]


def test_packages_are_locked_from_the_sources_of_the_folder_that_is_given(world: World) -> None:
    recipe = world.root / "other.yml"
    recipe.write_text(
        "bake: 1\nkind: base\nname: base/other\nversion: 1.0.0\nbootstrap: {suite: bookworm}\n"
    )
    options = {"upgrade": False, "upgrade_packages": [], "unknown_packages": "fail"}
    given = params(world, str(recipe), apt_sources=str(world.root), epoch=1, arch="amd64")
    with pytest.raises(CutoverError, match=f"no apt source in {world.root} serves suite bookworm"):
        subject.lock_images({**given, **options}, check=False)
