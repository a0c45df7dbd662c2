# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs of images in a registry: fetched back from there when index and archive have them no more."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    fetch_front,
    front,
    inputs_artifact,
    pull_front,
    push_front,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_file
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    DebLock,
    Lock,
    read_lock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    registry_options,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store
from tests.integration.pytest.local_archive import AptArchive, WheelIndex
from tests.integration.pytest.registry_rig import RegistryRig
from tests.unit.plugins.module_utils._image.conftest import add_base

NAME = "icinput/app"
RECIPE = f"""
bake: 1
kind: app
name: {NAME}
version: 1.0.0
base: %s
python: {{requirements: requirements.in}}
config: {{user: "10001"}}
"""


class Shop:
    """An app with two wheels from an index of the test's own, locked, fetched and baked."""

    def __init__(self, root: pathlib.Path, registry: RegistryRig) -> None:
        self.root, self.registry = root, registry
        self.index = WheelIndex(root / "index")
        self.index.put("aa", "1.0", requires="bb")
        self.index.put("bb", "1.0")
        base = add_base(root, name="icinput/base")
        Output(str(root / "output")).keep_lock(
            base, Lock("sha256:" + "6" * 64, base.epoch, base.arch)
        )
        self.recipe = root / "app/bake.yml"
        self.recipe.parent.mkdir()
        self.recipe.write_text(RECIPE % base.reference)
        (root / "app/requirements.in").write_text("aa\n")
        front.lock_images(self.params(), check=False)
        result = front.bake_images(self.params(), check=False)
        self.record = BakeRecord.from_mapping(result["images"][0]["record"], "result")

    @property
    def lock(self) -> Lock:
        """Return what is locked."""
        found = read_lock(str(self.recipe.with_suffix(".lock")))
        assert found is not None
        return found

    @property
    def place(self) -> Registry:
        """Return the registry."""
        return Registry(registry_options(self.registry.options()))

    def params(self, **changes: t.Any) -> dict[str, t.Any]:
        """Return the options of every module."""
        return {
            "recipes": [str(self.recipe)],
            "output": str(self.root / "output"),
            "store": str(self.root / "store"),
            "state_dir": str(self.root / "state"),
            "engine": {},
            "concurrency": 2,
            "upgrade": False,
            "upgrade_packages": [],
            "unknown_packages": "fail",
            "epoch": None,
            "arch": None,
            "fetch": True,
            "load": False,
            "archive": False,
            **changes,
        }

    def push(self, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        """Push the image and its inputs."""
        place = {"registry": self.registry.options(), "repository_prefix": "team", "tags": True}
        wanted = {**place, "compression": "none", "inputs": True, **changes}
        return push_front.push_images(self.params(**wanted), check)

    def fetch(self, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        """Fetch, from the registry first."""
        place = {"registry": self.registry.options(), "repository_prefix": "team"}
        return fetch_front.fetch_from(self.params(**{**place, **changes}), check)

    def lose(self) -> None:
        """Lose the store, and everything that was locked in the index too."""
        shutil.rmtree(self.root / "store")
        self.index.drop("aa", "1.0")
        self.index.drop("bb", "1.0")


@pytest.fixture
def shop(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Shop]:
    """Return an app, and an empty registry."""
    registry = RegistryRig(tmp_path / "registry")
    registry.start()
    index = WheelIndex(tmp_path / "index")
    (tmp_path / "index").mkdir()
    with index.serve() as address:
        for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX"):
            monkeypatch.setenv(name, address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
        yield Shop(tmp_path, registry)
    registry.stop()


def test_what_an_index_forgot_comes_back_from_the_registry(shop: Shop) -> None:
    predicted = shop.push(check=True)
    pushed = shop.push()
    assert predicted["actions"] == pushed["actions"]
    assert f"attach 2 inputs to {NAME}:1.0.0" in pushed["actions"]
    assert pushed["before"][f"{NAME}:1.0.0"]["inputs"] == 0
    assert pushed["after"][f"{NAME}:1.0.0"]["inputs"] == 2
    assert shop.push()["changed"] is False
    digest = shop.record.manifest_digest
    assert shop.place.head_manifest(f"team/{NAME}", digest) == digest, "the image did not move"
    (listed,) = shop.place.referrers(f"team/{NAME}", digest)
    manifest = json.loads(shop.place.get_manifest(f"team/{NAME}", listed["digest"]))
    assert manifest["artifactType"] == inputs_artifact.INPUTS_TYPE
    titles = [
        layer.get("annotations", {}).get("org.opencontainers.image.title")
        for layer in manifest["layers"]
    ]
    assert sorted(titles[1:]) == ["aa-1.0-py3-none-any.whl", "bb-1.0-py3-none-any.whl"]

    shop.lose()
    with pytest.raises(CutoverError, match="not in index: gone"):
        shop.fetch(registry=None)
    assert shop.fetch(check=True)["inputs"] == shop.fetch()["inputs"]
    again = front.bake_images(shop.params(output=str(_with_base(shop)), fetch=False), check=False)[
        "images"
    ][0]
    assert again["manifest_digest"] == digest
    assert shop.fetch()["changed"] is False


def _with_base(shop: Shop) -> pathlib.Path:
    """Return a copy of the output in which the app was never baked."""
    fresh = shop.root / "fresh"
    shutil.copytree(shop.root / "output", fresh)
    shutil.rmtree(fresh / "records" / NAME)
    return fresh


def test_what_the_registry_lacks_comes_from_the_index(shop: Shop) -> None:
    shutil.rmtree(shop.root / "store")
    assert shop.fetch()["inputs"][0]["fetched"] == [wheel.filename for wheel in shop.lock.python]


def test_inputs_that_are_not_in_the_store_are_refused_before_anything_is_pushed(
    shop: Shop,
) -> None:
    shutil.rmtree(shop.root / "store")
    with pytest.raises(CutoverError, match="2 locked inputs are not in the store"):
        shop.push()
    assert shop.place.head_manifest(f"team/{NAME}", "1.0.0") is None


def test_a_damaged_input_is_not_pushed(shop: Shop) -> None:
    path = pathlib.Path(Store(str(shop.root / "store")).path(shop.lock.python[0].sha256))
    path.write_bytes(b"something else")
    with pytest.raises(CutoverError, match="hash mismatch"):
        shop.push()
    assert shop.place.referrers(f"team/{NAME}", shop.record.manifest_digest) == []


def test_who_pulls_the_image_is_not_given_its_inputs(shop: Shop) -> None:
    shop.push()
    params = {
        "images": [shop.record.reference],
        "registry": shop.registry.options(),
        "repository_prefix": "team",
        "load": False,
        "output": str(shop.root / "pulled"),
    }
    pull_front.pull_images(shop.params(**params), check=False)
    blobs = {path.name for path in (shop.root / "pulled/blobs/sha256").iterdir()}
    assert not blobs & {wheel.sha256 for wheel in shop.lock.python}


def test_packages_are_inputs_as_wheels_are(shop: Shop) -> None:
    archive = AptArchive(shop.root / "archive")
    archive.put("tool", "1.0+b1", files={"usr/share/tool": "a tool\n"})
    deb = shop.root / "archive/tool_1.0+b1_all.deb"
    digest = sha256_file(str(deb))
    locked = DebLock("tool", "1.0+b1", "all", f"pool/{deb.name}", deb.stat().st_size, digest)
    lock = dataclasses.replace(shop.lock, apt=(locked,))
    store, layout = Store(str(shop.root / "store")), Output(str(shop.root / "output")).layout
    shop.push(inputs=False)
    shutil.copy(deb, store.path(digest))
    push = inputs_artifact.InputsPush(shop.record, lock, store, layout, shop.place)
    assert push.ensure(f"team/{NAME}", check=False) == [f"attach 3 inputs to {NAME}:1.0.0"]
    shutil.rmtree(store.root)
    inputs_artifact.take_back(lock, store, shop.place, f"team/{NAME}")
    assert pathlib.Path(store.verified(digest, "tool")).read_bytes() == deb.read_bytes()
