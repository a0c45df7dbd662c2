# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the check phase as the module runs it."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import re
import shutil
import tarfile
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import check as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    write_entries,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    Blob,
    image_manifest,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_policy import RULE_IDS
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    LayerRecord,
)

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World


class StoppedClock:
    """A clock that stands on one day."""

    def __init__(self, day: str = "2026-06-15") -> None:
        self.day = day

    def now(self) -> float:
        """Return noon of the day."""
        moment = datetime.datetime.fromisoformat(f"{self.day}T12:00:00+00:00")
        return moment.timestamp()

    def monotonic(self) -> float:
        """Return a time."""
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Refuse to wait."""
        raise AssertionError(seconds)


@pytest.fixture(autouse=True)
def base_lock(world: World) -> None:
    """Keep the lock of the base, as a bake does."""
    Output(str(world.root / "output")).keep_lock(world.base, Lock("", 0, "amd64"))


def run(world: World, *recipes: str, day: str = "2026-06-15", **changes: t.Any) -> dict[str, t.Any]:
    """Check as the module does."""
    params = {
        "recipes": list(recipes),
        "output": str(world.root / "output"),
        "concurrency": 2,
        "images": [],
        "fail_on": list(RULE_IDS),
        "engine": {},
        **changes,
    }
    return subject.check_images(params, StoppedClock(day))


def refused(world: World, *recipes: str, **changes: t.Any) -> CutoverError:
    """Return the error of a check that must fail."""
    with pytest.raises(CutoverError) as error:
        run(world, *recipes, **changes)
    return error.value


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_baked_app_is_clean_and_nothing_changes(world: World) -> None:
    world.bake()
    before = tree(world.root)
    result = run(world, world.recipe)
    assert result["changed"] is False
    (image,) = result["images"]
    assert (image["name"], image["passed"], image["source"]) == (
        "shop/web:1.0.0",
        True,
        world.recipe,
    )
    assert {found["level"] for found in image["findings"]} <= {"note"}
    assert tree(world.root) == before


def test_an_image_that_was_not_baked_is_an_error(world: World) -> None:
    error = refused(world, world.recipe)
    assert error.message.startswith("shop/web:1.0.0 is not in ")
    assert error.message.endswith("; bake it first")


def test_every_finding_of_every_image_is_one_line(world: World, tmp_path: pathlib.Path) -> None:
    (world.root / "shop/src/.env").write_text("A=1\n")
    (world.root / "shop/src/server.log").write_text("x\n")
    world.write_lock()
    world.bake()
    found = refused(world, world.recipe, images=[{"archive": str(tmp_path / "missing.tar")}])
    lines = found.message.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["images.archive:", "P7", "P9"]
    assert lines[1] == (
        "P7 (factor III Config) shop/web:1.0.0: /app/.env is a file of environment variables; they "
        "come from outside; to waive: policy.waivers: [{rule: P7, path: /app/.env, reason: ..., "
        "expires: YYYY-MM-DD}]"
    )
    (image,) = t.cast("list[dict[str, t.Any]]", found.details["images"])
    assert image["passed"] is False
    only_secrets = run(world, world.recipe, fail_on=["P6"])
    assert only_secrets["images"][0]["passed"] is True
    assert [
        f["rule"] for f in only_secrets["images"][0]["findings"] if f["level"] == "failure"
    ] == [
        "P7",
        "P9",
    ]


def test_the_clock_decides_about_a_waiver(world: World) -> None:
    (world.root / "shop/src/.env").write_text("A=1\n")
    path = pathlib.Path(world.recipe)
    data = yaml.safe_load(path.read_text())
    data["policy"] = {
        "waivers": [{"rule": "P7", "reason": "defaults", "expires": datetime.date(2027, 1, 1)}]
    }
    path.write_text(yaml.safe_dump(data))
    world.write_lock()
    world.bake()
    (image,) = run(world, world.recipe, day="2027-01-01")["images"]
    assert [f["level"] for f in image["findings"] if f["rule"] == "P7"] == ["waived"]
    error = refused(world, world.recipe, day="2027-01-02")
    assert "its waiver expired on 2027-01-01 (defaults)" in error.message


@pytest.mark.parametrize("change", ["source", "lock", "missing", "base-lock"])
def test_b42_a_lock_that_does_not_describe_the_image(world: World, change: str) -> None:
    world.bake()
    lock = pathlib.Path(world.recipe).with_suffix(".lock")
    if change == "source":
        (world.root / "shop/src/app.py").write_text("a = 2\n")
        says = "lock does not match files"
    elif change == "lock":
        (world.root / "shop/src/app.py").write_text("a = 2\n")
        world.write_lock()
        says = "it was baked from another lock"
    elif change == "missing":
        lock.unlink()
        says = "lock not found"
    else:
        shutil.rmtree(world.root / "output/locks")
        says = f"the lock of {world.base.reference} is not kept"
    error = refused(world, world.recipe)
    assert all(line.startswith("P3 ") for line in error.message.splitlines()), error.message
    assert says in error.message


def test_a_blob_that_changed_on_disk_is_an_error(world: World) -> None:
    done = world.bake()
    assert done.record is not None
    layer = done.record.layers[-1]
    path = world.root / "output/blobs/sha256" / layer.digest.partition(":")[2]
    data = path.read_bytes()
    assert b"a = 1" in data
    path.write_bytes(data.replace(b"a = 1", b"a = 2"))
    assert "not those the configuration names" in refused(world, world.recipe).message


def test_foreign_images_have_a_policy_of_their_own(world: World, tmp_path: pathlib.Path) -> None:
    done = world.bake(archive=True)
    assert done.record is not None
    archive = {"archive": done.record.archive}
    rules = ["P3", "P4", "P10"]
    error = refused(world, images=[archive, {"layout": str(world.root / "output")}], fail_on=rules)
    names = [line.split(": ")[0].split(" ")[-1] for line in error.message.splitlines()]
    assert names == ["shop/web:1.0.0", "base/tiny:1.0.0", "base/tiny:1.0.0", "shop/web:1.0.0"]
    waiver = {"rule": "P3", "reason": "no lock", "expires": "2027-01-01"}
    policy = {"waivers": [waiver], "max_layers": 9}
    (image,) = run(world, images=[{**archive, "policy": policy}], fail_on=rules)["images"]
    assert image["image_id"] == done.record.image_id
    with pytest.raises(CutoverError, match=r"images\[0\].policy.max_layers: must be an integer"):
        run(world, images=[{**archive, "policy": {"max_layers": 0}}])


def test_nothing_to_check_is_a_mistake(world: World) -> None:
    assert "must name at least one recipe" in refused(world).message
    assert "twice" in refused(world, world.recipe, world.recipe).message


def test_p3_a_wheel_that_was_changed_together_with_its_own_record(world: World) -> None:
    record = world.bake().record
    assert record is not None
    store = str(world.root / "store")
    assert run(world, world.recipe, store=store)["images"][0]["passed"]
    layer = next(layer for layer in record.layers if layer.purpose == "wheels")
    blob = pathlib.Path(Output(str(world.root / "output")).layout.blob_path(layer.digest))
    with tarfile.open(blob) as archive:
        files = {
            member.name: stream.read()
            for member in archive
            if (stream := archive.extractfile(member)) is not None
        }
    path = next(name for name in files if name.endswith("/METADATA"))
    files[path] = files[path].rstrip() + b"\nSummary: somebody else\n"
    record_path = path.replace("METADATA", "RECORD")
    files[record_path] = re.sub(rb"(METADATA),[^,]*,[0-9]*", rb"\1,,", files[record_path])
    swap_layer(world, record, layer, files)
    assert run(world, world.recipe, store=str(world.root / "elsewhere"))["images"][0]["passed"]
    lines = refused(world, world.recipe, store=store).message
    assert f"/{path} is not what its wheel has" in lines
    assert f"/{record_path} is not what its wheel has" in lines


def swap_layer(
    world: World, record: BakeRecord, layer: LayerRecord, files: t.Mapping[str, bytes]
) -> None:
    """Put another layer into a baked image, as who can write into the output folder could."""
    output = Output(str(world.root / "output"))
    entries = [Entry(f"/{name}", 0o644, data) for name, data in files.items()]
    written = write_entries(entries, str(world.root / "layer.tar"), record.epoch)
    blob = output.layout.adopt(written.path, written.sha256, written.size, layer.purpose)
    config = output.layout.read_json(record.image_id)
    config["rootfs"]["diff_ids"] = [
        blob.digest if digest == layer.digest else digest for digest in config["rootfs"]["diff_ids"]
    ]
    layers = tuple(
        dataclasses.replace(item, digest=blob.digest, size=blob.size) if item == layer else item
        for item in record.layers
    )
    data = canonical_json(config)
    blobs = [Blob(item.digest, item.size) for item in layers]
    swapped = dataclasses.replace(
        record,
        image_id=output.layout.add_bytes(data).digest,
        manifest_digest=output.layout.add_bytes(image_manifest(data, blobs)).digest,
        layers=layers,
    )
    output.keep_lock(swapped, output.lock_of(record))
    output.add(swapped)
