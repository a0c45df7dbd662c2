# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the bill of materials: what it lists, that it is valid CycloneDX, and the same bytes each time."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import sbom as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import FOREIGN
from tests.unit.plugins.module_utils._image.conftest import Craft, add_base

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
    from tests.unit.plugins.module_utils._image.conftest import World

pytest.importorskip("cyclonedx")
DASH = "pkg:deb/tiny/dash@1:0.5.12-2?arch=amd64&distro=tiny"
WHEEL = "pkg:pypi/pkg@1.0"


def baked(world: World, folder: str = "output") -> tuple[Output, BakeRecord]:
    """Bake the app; return the folder and its record."""
    record = world.bake(output=folder).record
    assert record is not None
    return Output(str(world.root / folder)), record


def bill(world: World) -> dict[str, t.Any]:
    """Return the bill of materials of the app."""
    data: dict[str, t.Any] = json.loads(subject.sbom(*baked(world)))
    return data


def test_it_lists_packages_of_the_whole_chain_with_purl_and_hash(world: World) -> None:
    found = {item["name"]: item for item in bill(world)["components"]}
    assert sorted(found) == ["base/tiny", "dash", "pkg"]
    assert found["dash"]["purl"].replace("%3A", ":") == DASH
    assert found["dash"]["version"] == "1:0.5.12-2"
    assert found["dash"]["hashes"] == [{"alg": "SHA-256", "content": "5" * 64}]
    assert found["pkg"]["purl"] == WHEEL
    assert found["pkg"]["hashes"] == [{"alg": "SHA-256", "content": world.wheel}]
    assert found["base/tiny"]["type"] == "container"
    assert found["base/tiny"]["hashes"][0]["content"] == world.base.manifest_digest[7:]


def test_it_is_about_the_image_and_says_what_hangs_on_what(world: World) -> None:
    output, record = baked(world)
    data = json.loads(subject.sbom(output, record))
    image = data["metadata"]["component"]
    assert (image["name"], image["version"], image["type"]) == ("shop/web", "1.0.0", "container")
    assert image["hashes"] == [{"alg": "SHA-256", "content": record.manifest_digest[7:]}]
    assert {"name": "immutable.cutover.image-id", "value": record.image_id} in image["properties"]
    assert data["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    refs = {item["name"]: item["bom-ref"] for item in [*data["components"], image]}
    graph = {item["ref"]: item.get("dependsOn", []) for item in data["dependencies"]}
    assert sorted(graph[refs["shop/web"]]) == sorted([refs["pkg"], refs["base/tiny"]])
    assert graph[refs["base/tiny"]] == [refs["dash"]]


def test_it_is_valid_cyclonedx_1_6(world: World) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = subject.sbom(*baked(world)).decode("ascii")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"container"', '"nosuch"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_twice_and_elsewhere_it_is_the_same_to_the_bit(world: World) -> None:
    first = subject.sbom(*baked(world))
    assert subject.sbom(*baked(world)) == first
    shutil.copytree(world.root / "output", world.root / "elsewhere")
    shutil.rmtree(world.root / "elsewhere/records/shop")
    assert subject.sbom(*baked(world, "elsewhere")) == first


def test_what_an_app_locks_and_its_foreign_base_has_is_named_apart(world: World) -> None:
    release = Craft.file("etc/os-release", b"ID=tiny\n")
    wheel = Craft.file("usr/lib/pkg-1.0.dist-info/METADATA", b"Name: pkg\nVersion: 1.0\n")
    base = add_base(world.root, name="debian/slim", version="2.0.0", members=[wheel, release])
    output = Output(str(world.root / "output"))
    output.add(dataclasses.replace(base, kind=FOREIGN))
    moved = dataclasses.replace(world, base=base)
    moved.write_recipe("2.0.0")
    record = moved.bake().record
    assert record is not None
    first = subject.sbom(output, record)
    assert [subject.sbom(output, record) for _round in range(3)] == [first] * 3
    found = [item for item in json.loads(first)["components"] if item["name"] == "pkg"]
    refs = [f"{image.reference}#{WHEEL}" for image in (base, record)]
    assert sorted(item["bom-ref"] for item in found) == sorted(refs)
    assert [item["purl"] for item in found] == [WHEEL, WHEEL]
    graph = {item["ref"]: item.get("dependsOn", []) for item in json.loads(first)["dependencies"]}
    assert [refs[0] in graph[base.reference], refs[1] in graph[record.reference]] == [True, True]


def test_another_image_has_another_serial_number(world: World) -> None:
    first = bill(world)["serialNumber"]
    world.write_recipe("1.1.0")
    assert bill(world)["serialNumber"] != first


@pytest.mark.parametrize("library", ["cyclonedx", "packageurl"])
def test_a_missing_library_says_what_to_install(
    world: World, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    output, record = baked(world)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(CutoverError, match="install cyclonedx-python-lib and packageurl-python$"):
        subject.sbom(output, record)


def test_a_lock_that_is_not_kept_is_named(world: World) -> None:
    output, record = baked(world)
    shutil.rmtree(world.root / "output/locks")
    with pytest.raises(StateError, match="the lock of shop/web@.* is not kept; bake it again"):
        subject.sbom(output, record)


def test_a_missing_layer_is_named(world: World) -> None:
    output, record = baked(world)
    (world.root / "output/blobs/sha256" / world.base.layers[0].digest[7:]).unlink()
    with pytest.raises(StateError, match="bake it again"):
        subject.sbom(output, record)


def test_an_image_that_hides_its_distribution_is_refused(world: World) -> None:
    output, record = baked(world)
    bare = dataclasses.replace(world.base, layers=record.layers[1:])
    with pytest.raises(StateError, match="base/tiny:1.0.0: no layer says in os-release"):
        subject.distribution(output.layout, bare)


def test_debian_is_named_with_its_version(world: World) -> None:
    assert str(subject.Distribution("debian", "12")) == "debian-12"
    assert str(subject.distribution(baked(world)[0].layout, world.base)) == "tiny"
