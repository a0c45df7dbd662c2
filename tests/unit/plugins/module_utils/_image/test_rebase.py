# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of putting an app on another base: safe, fast, and to the digest of a full bake."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    assemble,
    bake,
    lock,
    rebase_front,
    reuse,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import rebase as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from tests.unit.plugins.module_utils._image.conftest import Craft, add_base

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Member, World


def rebase(
    world: World, base: BakeRecord, check: bool = False, **changes: t.Any
) -> dict[str, t.Any]:
    """Rebase as the module does."""
    params = {
        "recipes": [world.recipe],
        "output": str(world.root / "output"),
        "store": str(world.root / "store"),
        "state_dir": str(world.root / "state"),
        "engine": {},
        "concurrency": 2,
        "fetch": False,
        "load": False,
        "archive": False,
        "base": base.reference,
        "bump": "patch",
        **changes,
    }
    return rebase_front.rebase_images(params, check=check)


def full_bake(world: World, base: BakeRecord) -> BakeRecord:
    """Bake the recipe as it is now where no other version is, from its inputs."""
    folder = world.root / "elsewhere"
    (folder / "records/base/tiny").mkdir(parents=True)
    (folder / "blobs").symlink_to(world.root / "output/blobs")
    text = (world.root / f"output/records/base/tiny/{base.version}.json").read_text()
    (folder / f"records/base/tiny/{base.version}.json").write_text(text)
    result = world.bake(output="elsewhere")
    assert result.how == "baked"
    assert result.record is not None
    return result.record


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return which layers were written."""
    found: list[str] = []
    write = assemble.write_entries

    def counted(entries: t.Any, path: str, epoch: int, ground: t.Any) -> t.Any:
        found.append(pathlib.Path(path).stem)
        return write(entries, path, epoch, ground)

    monkeypatch.setattr(assemble, "write_entries", counted)
    return found


def test_a_rebase_writes_no_layer_and_gives_the_digest_of_a_full_bake(
    world: World, writes: list[str]
) -> None:
    old = world.bake().record
    assert old is not None
    writes.clear()
    (world.root / "store/sha256" / world.wheel).rename(world.root / "wheel")
    fixed = add_base(world.root, version="1.0.1")
    (image,) = rebase(world, fixed)["images"]
    assert writes == []
    assert (image["how"], image["why"], image["version"]) == ("rebased", "", "1.0.1")
    assert image["old"] == old.reference
    (world.root / "wheel").rename(world.root / "store/sha256" / world.wheel)
    full = full_bake(world, fixed)
    assert writes == ["wheels", "files"]
    assert image["reference"] == full.reference
    assert image["image_id"] == full.image_id
    assert full.layers[0].digest == fixed.layers[0].digest
    assert full.layers[1:] == old.layers[1:]
    assert full.base == fixed.reference


MOVED = [
    pytest.param([Craft.folder("app", mode=0o770)], "files would be another .*: /app", id="mode"),
    pytest.param([Craft.link("app", "srv"), Craft.folder("srv")], "files .*: /app", id="link"),
    pytest.param([Craft.folder("opt/app", uid=10001)], "wheels .*: /opt/app", id="owner"),
    pytest.param(
        [Craft.file("opt/app/site-packages/pkg.py/x")], "wheels .*folder", id="in-the-way"
    ),
]


@pytest.mark.parametrize(("members", "why"), MOVED)
def test_a_layer_that_would_be_another_on_the_new_base_is_written_anew(
    world: World, writes: list[str], members: t.Sequence[Member], why: str
) -> None:
    world.bake()
    writes.clear()
    fixed = add_base(world.root, version="1.0.1", members=members)
    if "folder" in why:
        with pytest.raises(CutoverError, match=r"/opt/app/site-packages/pkg\.py .* is a folder"):
            rebase(world, fixed)
        return
    predicted = rebase(world, fixed, check=True)["images"][0]
    (image,) = rebase(world, fixed)["images"]
    assert re.search(why, image["why"])
    assert (image["how"], writes) == ("rebuilt", ["wheels", "files"])
    assert (predicted["how"], predicted["why"]) == (image["how"], image["why"])
    assert image["reference"] == full_bake(world, fixed).reference


def test_what_a_person_edits_is_rebased_by_the_bake_itself(world: World, writes: list[str]) -> None:
    world.bake()
    writes.clear()
    moved = dataclasses.replace(world, base=add_base(world.root, version="1.0.1"))
    moved.write_recipe("1.1.0")
    predicted = moved.bake(check=True)
    result = moved.bake()
    assert (result.how, result.actions, writes) == ("rebased", ("rebase shop/web:1.1.0",), [])
    assert predicted.actions == result.actions
    assert result.record == dataclasses.replace(
        full_bake(moved, moved.base), layout=result.record.layout if result.record else ""
    )


def test_only_the_layer_that_changed_is_written(world: World, writes: list[str]) -> None:
    world.bake()
    writes.clear()
    (world.root / "shop/src/app.py").write_text("a = 2\n")
    world.write_recipe("1.1.0")
    assert world.bake().how == "baked"
    assert writes == ["files"]


def test_recipe_and_lock_are_edited_by_two_lines_and_a_second_run_changes_nothing(
    world: World,
) -> None:
    world.bake()
    recipe = pathlib.Path(world.recipe)
    text = recipe.read_text()
    text = text.replace("version: 1.0.0", 'version: "1.0.0"   # of the shop')
    recipe.write_text("# A comment that stays.\n" + text)
    world.write_lock()
    fixed = add_base(world.root, version="1.0.1")
    before = {path: path.read_bytes() for path in world.root.rglob("*") if path.is_file()}
    predicted = rebase(world, fixed, check=True)
    assert {path: path.read_bytes() for path in world.root.rglob("*") if path.is_file()} == before
    done = rebase(world, fixed)
    for key in ("changed", "before", "after", "actions", "diff"):
        assert predicted[key] == done[key]
    expected = "# A comment that stays.\n" + text.replace(
        'version: "1.0.0"   # of', 'version: "1.0.1"   # of'
    ).replace(world.base.manifest_digest, fixed.manifest_digest)
    assert recipe.read_text() == expected
    lock.require_fresh(bake.load_recipe(world.recipe), bake.read_inputs(world.recipe).files)
    again = rebase(world, fixed)
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["images"][0]["reference"] == done["images"][0]["reference"]


def test_a_run_that_died_before_it_wrote_the_recipe_is_repeated(world: World) -> None:
    world.bake()
    old = {name: (world.root / "shop" / name).read_bytes() for name in ("bake.yml", "bake.lock")}
    fixed = add_base(world.root, version="1.0.1")
    first = rebase(world, fixed)["images"][0]
    for name, data in old.items():
        (world.root / "shop" / name).write_bytes(data)
    again = rebase(world, fixed)["images"][0]
    assert (again["version"], again["reference"]) == ("1.0.1", first["reference"])


def test_a_version_that_is_something_else_is_passed_over(world: World) -> None:
    world.bake()
    (world.root / "shop/src/app.py").write_text("a = 2\n")
    world.write_recipe("1.0.1")
    world.bake()
    (world.root / "shop/src/app.py").write_text("a = 1\n")
    world.write_recipe("1.0.0")
    assert rebase(world, add_base(world.root, version="1.0.1"))["images"][0]["version"] == "1.0.2"


def test_another_abi_is_a_full_bake_that_says_why(world: World, writes: list[str]) -> None:
    world.bake()
    writes.clear()
    fixed = add_base(world.root, version="1.0.1", apt={"libc6": "2.41-12"})
    predicted = rebase(world, fixed, check=True)["images"][0]
    (image,) = rebase(world, fixed)["images"]
    assert writes == ["wheels", "files"]
    assert image["how"] == predicted["how"] == "rebuilt"
    assert image["why"] == predicted["why"]
    assert image["why"].startswith("the ABI of the base differs: arch=amd64 libc=none")
    assert "now" in image["why"] and "libc=2.41" in image["why"]


def test_a_layer_that_touches_the_package_database_is_a_full_bake(
    world: World, writes: list[str]
) -> None:
    recipe = pathlib.Path(world.recipe)
    recipe.write_text(recipe.read_text().replace("dest: /app", "dest: /var/lib/dpkg/info"))
    world.write_lock()
    world.bake()
    writes.clear()
    (image,) = rebase(world, add_base(world.root, version="1.0.1"))["images"]
    assert (image["how"], writes) == ("rebuilt", ["wheels", "files"])
    assert image["why"] == ("its layer with files touches a package database: var/lib/dpkg")


def test_a_damaged_layer_is_not_carried_on(world: World, writes: list[str]) -> None:
    old = world.bake().record
    assert old is not None
    writes.clear()
    blob = world.root / "output/blobs/sha256" / old.layers[-1].digest.partition(":")[2]
    data = bytearray(blob.read_bytes())
    data[600] ^= 1
    blob.write_bytes(data)
    (image,) = rebase(world, add_base(world.root, version="1.0.1"))["images"]
    assert (image["how"], writes) == ("rebuilt", ["wheels", "files"])


def test_wheels_of_another_python_are_refused(world: World) -> None:
    world.bake()
    fixed = add_base(world.root, version="1.0.1", apt={"python3": "3.12.3-0"})
    with pytest.raises(
        CutoverError, match="locked for Python 3.11, but base/tiny:1.0.1 has Python 3.12"
    ):
        rebase(world, fixed)


def test_what_stands_on_another_base_is_left_alone(world: World) -> None:
    world.bake()
    other = world.root / "other.yml"
    other.write_text(
        "bake: 1\nkind: app\nname: x/y\nversion: 1.0.0\n"
        f"base: other/base@sha256:{'1' * 64}\nconfig: {{user: '1'}}\n"
    )
    fixed = add_base(world.root, version="1.0.1")
    images = rebase(world, fixed, recipes=[world.recipe, str(other)])["images"]
    assert [image["how"] for image in images] == ["rebased", "unchanged"]
    assert images[1]["why"] == "it stands on other/base"
    with pytest.raises(CutoverError, match="base: must be a base that a recipe stands on"):
        rebase(world, fixed, recipes=[str(other)])


@pytest.mark.parametrize(
    "line", ["base: >-\n  %s", "{base: %s}", "base: &x %s"], ids=["folded", "flow", "anchor"]
)
def test_a_recipe_that_cannot_be_edited_is_left_as_it_is(world: World, line: str) -> None:
    recipe = pathlib.Path(world.recipe)
    text = recipe.read_text()
    old = f"base: {world.base.reference}"
    new = line % world.base.reference
    if line.startswith("{"):
        pytest.importorskip("yaml")
        import yaml

        recipe.write_text(json.dumps(yaml.safe_load(text)))
    else:
        recipe.write_text(text.replace(old, new))
    world.write_lock()
    before = recipe.read_text()
    with pytest.raises(CutoverError):
        rebase(world, add_base(world.root, version="1.0.1"))
    assert recipe.read_text() == before


def test_an_app_or_a_base_that_is_not_there_is_refused(world: World) -> None:
    app = world.bake().record
    assert app is not None
    with pytest.raises(CutoverError, match="base: must be an image of kind: base"):
        rebase(world, app)
    missing = dataclasses.replace(world.base, manifest_digest="sha256:" + "2" * 64)
    with pytest.raises(CutoverError, match="base base/tiny@sha256:2.* it has base/tiny@"):
        rebase(world, missing)


@pytest.mark.parametrize(
    ("version", "bump", "expected"),
    [
        ("1.4.9", "patch", "1.4.10"),
        ("1.4.9", "minor", "1.5.0"),
        ("1.4.9", "major", "2.0.0"),
        ("1.5.0-rc.1", "patch", "1.5.0-rc.2"),
        ("1.5.0-rc", "patch", "1.5.0-rc.1"),
    ],
)
def test_the_next_version(version: str, bump: str, expected: str) -> None:
    assert subject.bumped(version, bump) == expected


def test_the_abi_is_of_the_locked_packages(world: World) -> None:
    base = add_base(
        world.root, version="1.0.1", apt={"libc6": "2.36-9+deb12u9", "python3": "3.11.2-1+b1"}
    )
    layout = Output(str(world.root / "output")).layout
    assert reuse.abi_of(assemble.load_base(layout, base)) == (
        "arch=amd64 libc=2.36 python=3.11 suite=bookworm"
    )
