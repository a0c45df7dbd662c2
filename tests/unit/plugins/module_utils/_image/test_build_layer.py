# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of recipes that run something, from lock to provenance; the engine is that of other tests."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    assemble,
    bake,
    build_layer,
    lock,
    policy_lock,
    provenance,
    rebase_front,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_files import scan_build
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import FileInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    write_entries,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import load_recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import LayerRecord
from tests.unit.plugins.module_utils._image.conftest import add_base

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft, World


class Built:
    """What stands for the engine: the layer says on how many layers it was built, and what the build saw."""

    def __init__(self) -> None:
        self.starts: list[build_layer.Start] = []

    def build(
        self,
        made: build_layer.LayerBuild,
        start: build_layer.Start,
        files: t.Sequence[FileInput],
        origins: object,
    ) -> build_layer.Built:
        """Write a layer."""
        self.starts.append(start)
        text = f"{start.layers[0].digest} {[item.path for item in files]}"
        path = f"{made.folder}/run.tar"
        layer = write_entries([Entry("/srv/made", 0o600, text.encode())], path, made.epoch)
        return build_layer.Built(made.recipe, layer)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    """Stand for the engine."""
    made = Built()

    def build(
        self: build_layer.LayerBuild,
        start: build_layer.Start,
        files: t.Sequence[FileInput],
        origins: object,
    ) -> build_layer.Built:
        return made.build(self, start, files, origins)

    monkeypatch.setattr(assemble.LayerBuild, "build", build)
    return made


def add(world: World, **keys: t.Any) -> None:
    """Have the app of the world run something, and lock it."""
    folder = pathlib.Path(world.recipe).parent
    (folder / "tools").mkdir(exist_ok=True)
    (folder / "tools/x").write_text("x")
    data = yaml.safe_load(pathlib.Path(world.recipe).read_text())
    text = yaml.safe_dump({**data, "run": [["make"]], "inputs": ["tools"], **keys}, sort_keys=False)
    pathlib.Path(world.recipe).write_text(text)
    write_lock(world)


def write_lock(world: World) -> None:
    """Lock what is there, also what the build sees."""
    world.write_lock()
    recipe = load_recipe(world.recipe)
    data = json.loads(pathlib.Path(recipe.lock_path).read_text())
    data["build"] = [
        {"path": item.path, "mode": item.mode, "sha256": item.sha256}
        for item in lock.lock_files(scan_build(recipe))
    ]
    pathlib.Path(recipe.lock_path).write_text(json.dumps(data))


def test_the_layer_of_a_build_comes_last(world: World, built: Built) -> None:
    add(world)
    record = world.bake().record
    assert record is not None
    assert [layer.purpose for layer in record.layers] == ["packages", "wheels", "files", "run"]
    (start,) = built.starts
    assert [layer.digest for layer in start.layers] == [
        layer.digest for layer in record.layers[:-1]
    ]
    # What starts the app is not what the steps see, what is installed for it is.
    assert "User" not in start.config["config"]
    assert "PYTHONPATH=/opt/app/site-packages" in start.config["config"]["Env"]
    config = Output(str(world.root / "output")).layout.read_json(record.image_id)
    assert config["config"]["User"] == "10001:10001"
    assert config["history"][-1]["created_by"] == "immutable.cutover run"


def test_b42_a_file_that_only_the_build_sees_makes_a_lock_stale(world: World) -> None:
    add(world)
    recipe = load_recipe(world.recipe)
    kept = lock.read_lock(recipe.lock_path)
    assert kept is not None
    assert [item.path for item in kept.build] == ["inputs/tools/x"]
    assert lock.read_lock(recipe.lock_path) == kept
    before = lock.recipe_hash(recipe, kept)
    (pathlib.Path(world.recipe).parent / "tools/x").write_text("y")
    with pytest.raises(CutoverError, match="lock does not match files of the build"):
        bake.read_inputs(world.recipe)
    write_lock(world)
    now = lock.read_lock(recipe.lock_path)
    assert now is not None
    assert lock.recipe_hash(recipe, now) != before


def test_a_lock_without_a_build_is_written_as_before(world: World) -> None:
    kept = lock.read_lock(world.recipe.replace(".yml", ".lock"))
    assert kept is not None
    assert "build" not in kept.to_mapping()


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
@pytest.mark.parametrize(
    ("keys", "options", "says"),
    [
        ({"secrets": ["token"]}, {}, "secrets.token: shop/web:1.0.0 needs this secret"),
        ({}, {"backend": "run"}, "backend: must be auto for shop/web:1.0.0"),
    ],
    ids=["secret", "backend"],
)
def test_what_a_build_lacks_is_refused_before_anything_changes(
    world: World,
    built: Built,
    check: bool,
    keys: dict[str, t.Any],
    options: dict[str, t.Any],
    says: str,
) -> None:
    add(world, **keys)
    before = sorted((world.root / "output").rglob("*"))
    with pytest.raises(InvalidInput, match=says):
        world.bake(check=check, **options)
    assert sorted((world.root / "output").rglob("*")) == before
    assert built.starts == []


def test_what_is_run_is_run_again_on_another_base(world: World, built: Built) -> None:
    add(world)
    first = world.bake().record
    base = add_base(world.root, program=b"#!fixed", version="1.1.0")
    params: dict[str, t.Any] = {
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
    }
    (image,) = rebase_front.rebase_images(params, check=False)["images"]
    assert (image["how"], image["why"]) == ("rebuilt", "what it runs has to be run on the new base")
    record = Output(params["output"]).find("shop/web", "1.0.1")
    assert first is not None and record is not None
    assert record.layers[1:3] == first.layers[1:3]
    assert record.layers[3] != first.layers[3]
    assert len(built.starts) == 2


def test_a_recipe_with_a_dockerfile_is_left_alone_by_a_rebase(world: World) -> None:
    folder = pathlib.Path(world.recipe).parent
    (folder / "Dockerfile").write_text(f"FROM {world.base.reference}\nUSER 10001\n")
    data = yaml.safe_load(pathlib.Path(world.recipe).read_text())
    kept = {key: data[key] for key in ("bake", "kind", "name", "version")}
    pathlib.Path(world.recipe).write_text(yaml.safe_dump({**kept, "dockerfile": "Dockerfile"}))
    base = add_base(world.root, program=b"#!fixed", version="1.1.0")
    output = Output(str(world.root / "output"))
    found = rebase_front.plan_rebase(world.recipe, base, output, "patch")
    assert isinstance(found, rebase_front.Rebased)
    assert found.why == "its base is FROM in Dockerfile: change it there, lock and bake"


def test_the_provenance_names_what_the_build_saw(world: World, built: Built) -> None:
    pytest.importorskip("packageurl")
    add(world)
    record = world.bake().record
    assert record is not None
    output = Output(str(world.root / "output"))
    source = provenance.Source()
    text = provenance.provenance(output, record, load_recipe(world.recipe), source)
    inputs = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert "files of the build" in [item["name"] for item in inputs]


def test_p3_what_a_build_made_needs_no_lock(craft: Craft) -> None:
    own = [craft.file("srv/made", b"x"), craft.link("srv/link", "made"), craft.file("etc/.wh.os")]
    base = [craft.file("etc/os", b"os")]
    check = craft.app([base], [own])
    plain = [found.what for found in policy_lock.is_what_was_locked(check)]
    assert any("/srv/made comes from no lock" in what for what in plain)
    assert any("/srv/link is a link" in what for what in plain)
    assert check.baked is not None
    layers = (LayerRecord("", 0, "packages"), LayerRecord("", 0, "run"))
    object.__setattr__(check.baked.record, "layers", layers)
    assert [
        f.what
        for f in policy_lock.is_what_was_locked(check)
        if "/srv" in f.what or "/etc" in f.what
    ] == []
