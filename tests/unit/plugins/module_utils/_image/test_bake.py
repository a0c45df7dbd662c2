# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of baking an app: identity, idempotence, the version guard."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile
import traceback
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import bake as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image import lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World


def record_of(result: subject.BakeResult) -> BakeRecord:
    """Return the record a bake must have."""
    assert result.record is not None
    return result.record


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_baking_twice_changes_nothing(world: World) -> None:
    first = world.bake()
    assert first.actions == ("bake shop/web:1.0.0",)
    before = tree(world.root / "output")
    second = world.bake()
    assert (second.changed, second.actions) == (False, ())
    assert second.record == first.record
    assert tree(world.root / "output") == before


def test_another_place_and_time_give_the_same_digests(world: World) -> None:
    first = record_of(world.bake())
    elsewhere = world.root / "elsewhere"
    shutil.copytree(world.root / "output", elsewhere)
    shutil.rmtree(elsewhere / "records/shop")
    shutil.copytree(world.root / "shop", world.root / "moved")
    shutil.rmtree(world.root / "shop")
    (world.root / "moved").rename(world.root / "shop")
    os.utime(world.root / "shop/src/app.py", (1, 1))
    os.chmod(world.root / "shop/src/app.py", 0o600)
    second = record_of(world.bake(output="elsewhere"))
    assert second.image_id == first.image_id
    assert second.manifest_digest == first.manifest_digest
    assert second.layers == first.layers


NOBODY = 65534
FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")


def test_an_app_needs_no_root_no_daemon_no_network_and_no_other_program(world: World) -> None:
    expected = record_of(world.bake()).manifest_digest
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name) / "world"
        shutil.copytree(world.root, root)
        shutil.rmtree(root / "output/records/shop")
        if os.geteuid() == 0:
            for path in (root.parent, root, *root.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        child = os.fork()
        if child == 0:
            _bake_as_nobody(dataclasses.replace(world, root=root), expected)
        _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "its traceback is above"


def _bake_as_nobody(world: World, expected: str) -> t.NoReturn:
    """Bake in a process of its own that can do nothing else, and end it."""
    code = 1
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        sys.addaudithook(_forbid)
        code = 0 if record_of(world.bake()).manifest_digest == expected else 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _forbid(event: str, arguments: tuple[t.Any, ...]) -> None:
    if event.startswith(FORBIDDEN):
        raise AssertionError(f"{event}{arguments}")


def test_check_mode_predicts_and_writes_nothing(world: World) -> None:
    before = tree(world.root)
    predicted = world.bake(check=True)
    assert tree(world.root) == before
    done = world.bake()
    assert (predicted.actions, predicted.before, predicted.after) == (
        done.actions,
        done.before,
        done.after,
    )
    assert predicted.recipe_hash == done.recipe_hash
    assert world.bake(check=True).actions == ()


def test_the_same_version_with_other_content_is_refused(world: World) -> None:
    world.bake()
    (world.root / "shop/src/app.py").write_text("a = 2\n")
    world.write_lock()
    before = tree(world.root)
    for check in (True, False):
        with pytest.raises(CutoverError, match="a version never changes; bump the version"):
            world.bake(check=check)
    assert tree(world.root) == before
    world.write_recipe("1.1.0")
    assert world.bake().actions == ("bake shop/web:1.1.0",)


def test_a_missing_blob_is_baked_again(world: World) -> None:
    first = record_of(world.bake())
    layer = first.layers[-1].digest.partition(":")[2]
    (world.root / "output/blobs/sha256" / layer).unlink()
    second = world.bake()
    assert second.actions == ("bake shop/web:1.0.0",)
    assert second.record == first


def test_configuration(world: World) -> None:
    record = record_of(world.bake())
    blob = world.root / "output/blobs/sha256" / record.image_id.partition(":")[2]
    data = json.loads(blob.read_bytes())
    config = data["config"]
    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["python", "-m", "shop"]
    assert "Entrypoint" not in config
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Env"] == [
        "APP=1",
        "LANG=C",
        "PATH=/opt/app/bin:/bin",
        "PYTHONPATH=/opt/app/site-packages",
    ]
    labels = config["Labels"]
    assert labels["vendor"] == "us"
    assert labels["immutable.cutover.name"] == "shop/web"
    assert labels["immutable.cutover.version"] == "1.0.0"
    assert labels["immutable.cutover.recipe-hash"] == record.recipe_hash
    assert labels["immutable.cutover.env-required"] == "DATABASE_URL"
    assert json.loads(labels["immutable.cutover.entrypoints"]) == {
        "migrate": ["python", "-m", "shop.migrate"],
        "web": ["python", "-m", "shop"],
    }
    assert labels["org.opencontainers.image.base.digest"] == world.base.manifest_digest
    assert data["rootfs"]["diff_ids"] == [layer.digest for layer in record.layers]
    assert data["rootfs"]["diff_ids"][0] == world.base.layers[0].digest
    assert len(data["history"]) == 3
    assert data["created"] == "2023-11-14T22:13:20Z"
    assert "now" not in blob.read_text()


def test_record_and_index(world: World) -> None:
    record = record_of(world.bake())
    index = json.loads((world.root / "output/index.json").read_bytes())
    names = [m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"]]
    assert names == ["base/tiny:1.0.0", "shop/web:1.0.0"]
    assert index["manifests"][1]["digest"] == record.manifest_digest
    assert [layer.purpose for layer in record.layers] == ["packages", "wheels", "files"]
    assert record.reference == f"shop/web@{record.manifest_digest}"


def test_b43_a_changed_input_in_the_store_is_refused(world: World) -> None:
    path = world.root / "store/sha256" / world.wheel
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CutoverError, match=f"pkg==1.0: hash mismatch: expected {world.wheel} got"):
        world.bake()
    assert not (world.root / "output/records/shop/web/1.0.0.json").exists()
    assert not list((world.root / "output").glob(".bake-*"))


def test_a_base_that_is_not_there_is_named(world: World) -> None:
    shutil.rmtree(world.root / "output/records")
    with pytest.raises(CutoverError, match="base base/tiny@sha256:.* is not in .*bake it first"):
        world.bake()


def test_a_damaged_base_is_named(world: World) -> None:
    blob = world.root / "output/blobs/sha256" / world.base.layers[0].digest.partition(":")[2]
    blob.unlink()
    with pytest.raises(CutoverError, match="a blob of base/tiny@sha256:.* is missing"):
        world.bake()


def test_b52_two_recipes_of_one_image(world: World) -> None:
    shutil.copytree(world.root / "shop", world.root / "copy")
    paths = [world.recipe, str(world.root / "copy/bake.yml")]
    with pytest.raises(CutoverError, match="output shop/web:1.0.0 produced twice"):
        subject.refuse_duplicates([subject.read_inputs(path) for path in paths])


def test_archive(world: World) -> None:
    import tarfile

    done = world.bake(archive=True)
    assert done.actions == ("bake shop/web:1.0.0", "write the archive of shop/web:1.0.0")
    record = record_of(done)
    with tarfile.open(record.archive) as archive:
        names = archive.getnames()
        stream = archive.extractfile("manifest.json")
        assert stream is not None
        manifest = json.loads(stream.read())
    assert manifest[0]["Config"] == record.image_id.partition(":")[2] + ".json"
    assert manifest[0]["RepoTags"] == ["shop/web:1.0.0"]
    assert set(manifest[0]["Layers"]) < set(names)
    assert world.bake(archive=True).actions == ()


def test_wheels_that_install_one_file_twice(world: World) -> None:
    path = pathlib.Path(world.recipe).with_suffix(".lock")
    data = yaml.safe_load(path.read_text())
    data["python"].append({**data["python"][0], "name": "other"})
    path.write_text(json.dumps(data))
    with pytest.raises(CutoverError, match="is installed by pkg and by other"):
        world.bake()


def test_the_lock_of_an_image_is_kept_beside_it(world: World) -> None:
    record = world.bake().record
    assert record is not None
    kept = Output(str(world.root / "output"))
    assert kept.lock_of(record) == lock.read_lock(world.recipe.replace(".yml", ".lock"))
    shutil.rmtree(world.root / "output/locks")
    with pytest.raises(StateError, match="the lock of base/tiny@sha256:.* is not kept"):
        kept.lock_of(world.base)


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_b44_without_fetching_a_missing_input_is_one_clear_error(world: World, check: bool) -> None:
    (world.root / "store/sha256" / world.wheel).unlink()
    with pytest.raises(CutoverError) as caught:
        world.bake(fetch=False, check=check)
    assert caught.value.message == (
        f"shop/web:1.0.0: 1 locked inputs are not in the store {world.root}/store: "
        "pkg-1.0-py3-none-any.whl; run the phase fetch (module image_fetch) first"
    )
    assert not (world.root / "output/records/shop/web/1.0.0.json").exists()


def test_check_mode_says_that_it_would_fetch(world: World) -> None:
    (world.root / "store/sha256" / world.wheel).unlink()
    assert world.bake(check=True).actions == (
        "fetch 1 inputs of shop/web:1.0.0",
        "bake shop/web:1.0.0",
    )
