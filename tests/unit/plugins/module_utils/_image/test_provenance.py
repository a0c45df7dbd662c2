# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the provenance: every input by digest, the commit of git, no clock."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import lock
from ansible_collections.immutable.cutover.plugins.module_utils._image import provenance as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    load_recipe,
    recipe_checksum,
)
from tests.unit.plugins.module_utils._image.conftest import EPOCH, add_base

if t.TYPE_CHECKING:
    import pathlib

    from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
    from tests.unit.plugins.module_utils._image.conftest import World

pytest.importorskip("packageurl")
CLEAN = subject.Source("c" * 40)


def git(folder: pathlib.Path, *arguments: str) -> str:
    """Run git with an author of these tests."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def baked(world: World) -> tuple[Output, BakeRecord]:
    """Bake the app; return the folder and its record."""
    record = world.bake().record
    assert record is not None
    return Output(str(world.root / "output")), record


def made(world: World, source: subject.Source = CLEAN) -> dict[str, t.Any]:
    """Return the provenance of the app."""
    document = subject.provenance(*baked(world), load_recipe(world.recipe), source)
    data: dict[str, t.Any] = json.loads(document)
    return data


def inputs(statement: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Return the inputs by their kind; these tests have one of each."""
    listed = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {item["annotations"]["immutable.cutover.input"]: item for item in listed}


def test_how_an_image_is_judged_is_no_input(world: World) -> None:
    """A waiver has a date, which YAML makes an object of that JSON does not know."""
    before = made(world)
    waiver = '{rule: P5, path: /bin/x, reason: "an old tool", expires: 2099-01-01}'
    with open(world.recipe, "a", encoding="utf-8") as stream:
        stream.write(f"policy: {{waivers: [{waiver}]}}\n")
    assert load_recipe(world.recipe).content["policy"]
    assert made(world) == before


def test_it_is_an_in_toto_statement_with_the_slsa_predicate(world: World) -> None:
    record = baked(world)[1]
    data = made(world)
    assert data["_type"] == "https://in-toto.io/Statement/v1"
    assert data["predicateType"] == "https://slsa.dev/provenance/v1"
    assert data["subject"] == [
        {
            "annotations": {"immutable.cutover.image-id": record.image_id},
            "digest": {"sha256": record.manifest_digest[7:]},
            "name": "shop/web",
        }
    ]
    definition = data["predicate"]["buildDefinition"]
    assert definition["buildType"] == "urn:immutable-cutover:bake:1"
    assert definition["externalParameters"]["recipe"]["version"] == "1.0.0"
    assert data["predicate"]["runDetails"]["builder"]["id"] == "urn:immutable-cutover:image"


def test_it_names_every_input_by_digest(world: World) -> None:
    output, record = baked(world)
    found = inputs(made(world))
    assert sorted(found) == ["base", "commit", "files", "lock", "recipe", "wheel"]
    assert found["base"]["name"] == world.base.reference
    assert found["base"]["digest"] == {"sha256": world.base.manifest_digest[7:]}
    assert found["wheel"]["digest"] == {"sha256": world.wheel}
    assert found["wheel"]["uri"] == "pkg:pypi/pkg@1.0"
    checksum = recipe_checksum(load_recipe(world.recipe))
    assert found["recipe"]["digest"] == {"sha256": checksum[7:]}
    kept = output.lock_of(record).to_bytes()
    assert found["lock"]["digest"] == {"sha256": sha256_bytes(kept)}
    assert found["commit"]["digest"] == {"gitCommit": "c" * 40}


def test_it_names_the_images_below_all_stages_of_a_dockerfile(world: World) -> None:
    output = baked(world)[0]
    tools = add_base(world.root, name="base/tools", version="2.0.0")
    by_id = f"base/tools@{tools.image_id}"
    shop = world.root / "staged"
    shop.mkdir()
    (shop / "Dockerfile").write_text(
        f"FROM {tools.reference} AS tools\nFROM {by_id} AS same\nFROM tools AS derived\n"
        f"FROM {world.base.reference}\nCOPY --from=derived /x /x\nUSER 10001\n"
    )
    (shop / "bake.yml").write_text(
        "bake: 1\nkind: app\nname: shop/staged\nversion: 1.0.0\ndockerfile: Dockerfile\n"
    )
    record = dataclasses.replace(world.base, name="shop/staged", base=world.base.reference)
    base = lock.BaseLock(world.base.reference, world.base.manifest_digest, world.base.image_id, ())
    output.keep_lock(record, lock.Lock("sha256:" + "0" * 64, EPOCH, "amd64", base=base))
    recipe = load_recipe(str(shop / "bake.yml"))
    data = json.loads(subject.provenance(output, record, recipe, CLEAN))
    listed = data["predicate"]["buildDefinition"]["resolvedDependencies"]
    found = [
        (item["annotations"]["immutable.cutover.input"], item["name"], item["digest"]["sha256"])
        for item in listed[:3]
    ]
    tool = tools.manifest_digest[7:]
    assert found == [
        ("base", world.base.reference, world.base.manifest_digest[7:]),
        ("stage", tools.reference, tool),
        ("stage", by_id, tool),
    ]
    assert listed[3]["annotations"]["immutable.cutover.input"] == "recipe"


def test_a_base_names_every_package(world: World) -> None:
    output = baked(world)[0]
    recipe = load_recipe(str(world.root / "base.yml"))
    data = json.loads(subject.provenance(output, world.base, recipe, subject.Source()))
    package = inputs(data)["package"]
    assert package["name"] == "dash_1:0.5.12-2_amd64.deb"
    assert package["digest"] == {"sha256": "5" * 64}
    assert package["uri"].endswith("?arch=amd64&distro=tiny")
    assert "commit" not in inputs(data)


def test_twice_it_is_the_same_to_the_bit_wherever_the_recipe_is(world: World) -> None:
    output, record = baked(world)
    first = subject.provenance(output, record, load_recipe(world.recipe), CLEAN)
    (world.root / "shop").rename(world.root / "moved")
    moved = load_recipe(str(world.root / "moved/bake.yml"))
    assert subject.provenance(output, record, moved, CLEAN) == first


def test_files_that_differ_give_another_digest(world: World) -> None:
    first = inputs(made(world))["files"]
    (world.root / "shop/src/app.py").write_text("a = 2\n")
    world.write_recipe("1.1.0")
    assert inputs(made(world))["files"] != first


def test_source_outside_of_git_and_in_it(world: World) -> None:
    recipe = load_recipe(world.recipe)
    shop = world.root / "shop"
    assert str(subject.source_of(recipe)) == "not in git"
    git(shop, "init", "-q")
    assert subject.source_of(recipe) == subject.Source()
    git(shop, "add", ".")
    git(shop, "commit", "-q", "-m", "all")
    head = git(shop, "rev-parse", "HEAD")
    assert subject.source_of(recipe) == subject.Source(head, dirty=False)
    (shop / "notes").write_text("beside")
    git(shop, "add", "notes")
    git(shop, "commit", "-q", "-m", "beside")
    assert subject.source_of(recipe) == subject.Source(head, dirty=False)


@pytest.mark.parametrize("path", ["src/app.py", "src/new.py", "bake.yml", "bake.lock"])
def test_a_dirty_tree_is_said(world: World, path: str) -> None:
    image = baked(world)
    shop = world.root / "shop"
    git(shop, "init", "-q")
    git(shop, "add", ".")
    git(shop, "commit", "-q", "-m", "all")
    with (shop / path).open("a") as stream:
        stream.write("\n")
    source = subject.source_of(load_recipe(world.recipe))
    assert (bool(source.commit), source.dirty) == (True, True)
    assert str(source).endswith(", changed since")
    document = subject.provenance(*image, load_recipe(world.recipe), source)
    commit = inputs(json.loads(document))["commit"]
    assert commit["annotations"]["immutable.cutover.dirty"] is True
