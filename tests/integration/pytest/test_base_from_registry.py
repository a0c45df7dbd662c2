# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base that was baked on one machine and is stood on, on another, with nothing but what a registry has of it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    front,
    pull_front,
    push_front,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import (
    LOCK_TYPE,
    attach,
    attachments,
    payload,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    registry_options,
)
from tests.integration.pytest.build_kitchen import BuildKitchen, kitchen_fixture
from tests.integration.pytest.registry_rig import RegistryRig

__all__ = ["kitchen_fixture"]
NAME = "library/somebodys"


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> t.Iterator[RegistryRig]:
    """Return an empty registry."""
    rig = RegistryRig(tmp_path / "registry")
    rig.start()
    yield rig
    rig.stop()


def attest(kitchen: BuildKitchen, recipe: str) -> dict[str, t.Any]:
    """Describe as the module does."""
    params = kitchen.params(recipe, key=None, key_passphrase=None)
    return front.attest_images(params, check=False)


def push(kitchen: BuildKitchen, registry: RegistryRig, recipe: str) -> None:
    """Push as the module does."""
    place = {"registry": registry.options(), "repository_prefix": "", "tags": True}
    push_front.push_images(kitchen.params(recipe, compression="none", **place), check=False)


def pull(
    registry: RegistryRig, output: pathlib.Path, reference: str, **changes: t.Any
) -> list[dict[str, t.Any]]:
    """Pull into a folder as the module does."""
    params = {
        "images": [reference],
        "registry": registry.options(),
        "repository_prefix": "",
        "load": False,
        "output": str(output),
        "state_dir": str(output / "state"),
        "engine": {},
        "concurrency": 2,
        **changes,
    }
    return t.cast("list[dict[str, t.Any]]", pull_front.pull_images(params, check=False)["images"])


def on(kitchen: BuildKitchen) -> str:
    """Write an app on the base."""
    return kitchen.recipe(
        "app", {"app.sh": "echo here\n"}, files=[{"src": "app.sh", "dest": "/app/"}]
    )


def test_a_pulled_base_is_as_good_as_one_that_was_baked_here(
    kitchen: BuildKitchen, registry: RegistryRig, tmp_path: pathlib.Path
) -> None:
    base = str(kitchen.root / "base/bake.yml")
    attest(kitchen, base)
    push(kitchen, registry, base)
    here = on(kitchen)
    expected = kitchen.record(here)
    described = attest(kitchen, here)["after"]

    elsewhere = BuildKitchen(tmp_path / "elsewhere", kitchen.base)
    recipe = on(elsewhere)
    with pytest.raises(CutoverError, match="bake it first"):
        elsewhere.lock(recipe)
    pull(registry, elsewhere.root / "output", kitchen.base)
    record = elsewhere.record(recipe)
    assert record.manifest_digest == expected.manifest_digest
    assert [image["passed"] for image in elsewhere.check(recipe)["images"]] == [True]
    assert attest(elsewhere, recipe)["after"] == described, "with every package of the base"


def test_a_lock_that_is_not_the_images_is_refused(
    kitchen: BuildKitchen, registry: RegistryRig, tmp_path: pathlib.Path
) -> None:
    base = str(kitchen.root / "base/bake.yml")
    attest(kitchen, base)
    output = Output(str(kitchen.root / "output"))
    record = output.find_reference(kitchen.base)
    lock = output.lock_of(record)
    other = dataclasses.replace(lock, apt=lock.apt[1:])
    attach(output, record, LOCK_TYPE, LOCK_TYPE, other.to_bytes())
    try:
        push(kitchen, registry, base)
        with pytest.raises(StateError, match="in the registry is another one: the image names"):
            pull(registry, tmp_path / "output", kitchen.base)
        assert Output(str(tmp_path / "output")).records() == []
    finally:
        attach(output, record, LOCK_TYPE, LOCK_TYPE, lock.to_bytes())


def somebody_elses(kitchen: BuildKitchen, registry: RegistryRig) -> str:
    """Push an image as other builders make it: gzip, empty values, no label of ours; return its reference."""
    record = Output(str(kitchen.root / "output")).find_reference(kitchen.base)
    layers = [kitchen.blob(layer.digest) for layer in record.layers]
    config = {
        "architecture": record.arch,
        "os": "linux",
        "created": "2026-01-02T03:04:05.678901234Z",
        "config": {
            "Env": ["PATH=/usr/sbin:/usr/bin:/bin", "LANG=C"],
            "Labels": None,
            "ExposedPorts": None,
        },
        "history": [
            {"created_by": "/bin/sh -c #(nop) ADD file"},
            {"created_by": "CMD", "empty_layer": True},
            {"created_by": "RUN groupadd"},
        ],
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in record.layers]},
    }
    place = Registry(registry_options(registry.options()))
    described = []
    data = json.dumps(config).encode()
    for media, content in [
        ("application/vnd.docker.container.image.v1+json", data),
        *[
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip.compress(tar, 1))
            for tar in layers
        ],
    ]:
        digest = "sha256:" + sha256_bytes(content)
        place.upload_blob(NAME, digest, content)
        described.append({"mediaType": media, "digest": digest, "size": len(content)})
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": described[0],
        "layers": described[1:],
    }
    text = json.dumps(manifest, indent=3).encode()
    digest = "sha256:" + sha256_bytes(text)
    place.put_manifest(NAME, digest, text, kind)
    return f"{NAME}@{digest}"


def test_a_base_may_stand_on_what_somebody_else_built(
    kitchen: BuildKitchen, registry: RegistryRig, tmp_path: pathlib.Path
) -> None:
    foreign = somebody_elses(kitchen, registry)
    output = tmp_path / "elsewhere/output"
    with pytest.raises(CutoverError, match="was not baked by this collection"):
        pull(registry, output, foreign)
    (pulled,) = pull(registry, output, foreign, foreign=True)
    assert pulled["record"]["kind"] == "foreign"
    assert pull(registry, output, foreign, foreign=True)[0]["changed"] is False

    elsewhere = BuildKitchen(tmp_path / "elsewhere", foreign)
    steps = [["sh", "-c", "groupadd --gid 10003 more"]]
    middle = elsewhere.recipe("own", {}, kind="base", config=None, run=steps)
    base = elsewhere.record(middle)
    assert base.base == foreign
    config = elsewhere.config(base)
    assert config["config"]["Env"] == ["LANG=C", "PATH=/usr/sbin:/usr/bin:/bin"]
    assert len(config["history"]) == 4
    app = on(dataclasses.replace(elsewhere, base=base.reference))
    top = elsewhere.record(app)
    assert top.layers[: len(base.layers)] == base.layers
    built = elsewhere.docker("built", "RUN groupadd --gid 10004 built\nUSER 10001\n")
    assert elsewhere.record(built).layers[: len(pulled["record"]["layers"])] == base.layers[:2]
    for recipe in (middle, app, built):
        verified = elsewhere.verify(recipe)
        assert (verified["same"], verified["difference"]) == (True, "")
    assert [image["passed"] for image in elsewhere.check(middle, app, built)["images"]] == [
        True
    ] * 3
    attest(elsewhere, app)
    kept = {item.artifact_type: item for item in attachments(Output(str(output)), top)}
    bill = json.loads(payload(Output(str(output)), kept["application/vnd.cyclonedx+json"]))
    purls = {item.get("purl", "").partition("@")[0] for item in bill["components"]}
    assert {"pkg:deb/debian/libc6", "pkg:deb/debian/passwd"} <= purls


def test_a_package_that_a_step_smuggles_in_is_found_on_a_foreign_base_too(
    kitchen: BuildKitchen, registry: RegistryRig, tmp_path: pathlib.Path
) -> None:
    foreign = somebody_elses(kitchen, registry)
    pull(registry, tmp_path / "output", foreign, foreign=True)
    elsewhere = BuildKitchen(tmp_path, foreign)
    status = "Package: smuggled\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    steps = [["sh", "-c", f"printf '\\n{status}' >> /var/lib/dpkg/status".replace("\n", "\\n")]]
    recipe = elsewhere.recipe("smuggles", {}, kind="base", config=None, run=steps)
    elsewhere.record(recipe)
    with pytest.raises(CutoverError, match="package smuggled 1 is in the image but in no lock"):
        elsewhere.check(recipe)


def test_a_foreign_image_is_never_loaded_for_a_release(
    registry: RegistryRig, tmp_path: pathlib.Path
) -> None:
    reference = f"{NAME}@sha256:" + "1" * 64
    with pytest.raises(InvalidInput, match="foreign: must be false with load"):
        pull(registry, tmp_path / "output", reference, foreign=True, load=True)
