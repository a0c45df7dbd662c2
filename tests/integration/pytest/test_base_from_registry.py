# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base that was baked on one machine and is stood on, on another, with nothing but what a registry has of it."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    front,
    pull_front,
    push_front,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import (
    LOCK_TYPE,
    attach,
)
from tests.integration.pytest.build_kitchen import BuildKitchen, kitchen_fixture
from tests.integration.pytest.registry_rig import RegistryRig

__all__ = ["kitchen_fixture"]


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


def pull(registry: RegistryRig, output: pathlib.Path, reference: str) -> None:
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
    }
    pull_front.pull_images(params, check=False)


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
