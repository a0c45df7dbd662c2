# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base without Python, and recipes on it that run something; for the tests of builds."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pathlib
import tarfile
import typing as t

import docker
import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    check,
    front,
    reproduce_front,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

HOST = "unix:///var/run/docker.sock"
EPOCH = 1_600_000_003
OWNER = "immutable.cutover.build"
OWN = f"icbuild-{os.getpid()}"
"""What names of images begin with: files that run beside each other leave each other's alone."""
BASE_RECIPE = {
    "bake": 1,
    "kind": "base",
    "name": f"{OWN}/base",
    "version": "1.0.0",
    "bootstrap": {"suite": "bookworm"},
    "apt": ["libcap2-bin", "passwd"],
    # A base may run something, too.
    "run": [
        ["groupadd", "--gid", "10001", "app"],
        ["install", "-d", "-m", "0770", "-o", "10001", "-g", "10001", "/srv/kept"],
    ],
}


def module_params(
    root: pathlib.Path, recipes: t.Sequence[str], **changes: t.Any
) -> dict[str, t.Any]:
    """Return the options of a module of the bake phases, with everything below this folder."""
    return {
        "recipes": list(recipes),
        "output": str(root / "output"),
        "store": str(root / "store"),
        "state_dir": str(root / "state"),
        "engine": {},
        "concurrency": 2,
        "fetch": True,
        "load": False,
        "archive": False,
        "upgrade": False,
        "upgrade_packages": [],
        "unknown_packages": "fail",
        "epoch": None,
        "arch": None,
        **changes,
    }


@dataclasses.dataclass(frozen=True)
class BuildKitchen:
    """A folder to bake in, where the base is baked already."""

    root: pathlib.Path
    base: str

    def params(self, *recipes: str, **changes: t.Any) -> dict[str, t.Any]:
        """Return the options of a module."""
        own = {"epoch": EPOCH, "secrets": {}, "backend": "auto"}
        return module_params(self.root, recipes, **{**own, **changes})

    def recipe(self, name: str, written: t.Mapping[str, str], /, **keys: t.Any) -> str:
        """Write a recipe and files beside it, and return its path; None takes a key away."""
        folder = self.root / name
        for path, text in written.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        data = {
            "bake": 1,
            "kind": "app",
            "name": f"{OWN}/{name.rpartition('/')[2]}",
            "version": "1.0.0",
            "base": self.base,
            "config": {"user": "10001", "workdir": "/app"},
            **keys,
        }
        folder.mkdir(parents=True, exist_ok=True)
        data = {key: value for key, value in data.items() if value is not None}
        (folder / "bake.yml").write_text(yaml.safe_dump(data))
        return str(folder / "bake.yml")

    def docker(self, name: str, steps: str, /, **keys: t.Any) -> str:
        """Write a recipe with a Dockerfile on the base, and return its path."""
        written = {"Dockerfile": f"FROM {self.base}\n{steps}", **keys.pop("written", {})}
        keys = {"dockerfile": "Dockerfile", "base": None, "config": None, **keys}
        return self.recipe(name, written, **keys)

    def lock(self, recipe: str) -> dict[str, t.Any]:
        """Lock as the module does."""
        return front.lock_images(self.params(recipe), check=False)

    def bake(self, recipe: str, **changes: t.Any) -> dict[str, t.Any]:
        """Lock and bake as the modules do."""
        only_check = changes.pop("check", False)
        self.lock(recipe)
        return front.bake_images(self.params(recipe, **changes), check=only_check)

    def record(self, recipe: str, **changes: t.Any) -> BakeRecord:
        """Lock and bake, and return the record."""
        (image,) = self.bake(recipe, **changes)["images"]
        return BakeRecord.from_mapping(image["record"], "result")

    def verify(self, recipe: str, **changes: t.Any) -> dict[str, t.Any]:
        """Bake again elsewhere, and return how that compares."""
        result = reproduce_front.verify_images(self.params(recipe, **changes))
        return t.cast("dict[str, t.Any]", result["images"][0])

    def check(self, *recipes: str) -> dict[str, t.Any]:
        """Judge by the policy."""
        params = {"recipes": list(recipes), "output": str(self.root / "output"), "concurrency": 2}
        rules = list(check.RULE_IDS)
        return check.check_images({**params, "images": [], "fail_on": rules, "engine": {}})

    def entries(self, record: BakeRecord) -> dict[str, tarfile.TarInfo]:
        """Return the entries of the last layer by their path."""
        with tarfile.open(fileobj=io.BytesIO(self.layer(record))) as archive:
            return {member.name: member for member in archive}

    def content(self, record: BakeRecord, path: str) -> str:
        """Return a file of the last layer."""
        with tarfile.open(fileobj=io.BytesIO(self.layer(record))) as archive:
            found = archive.extractfile(path)
            assert found is not None
            return found.read().decode()

    def layer(self, record: BakeRecord) -> bytes:
        """Return the last layer."""
        return self.blob(record.layers[-1].digest)

    def blob(self, digest: str) -> bytes:
        """Return something of the layout."""
        return (self.root / "output/blobs/sha256" / digest.partition(":")[2]).read_bytes()

    def config(self, record: BakeRecord) -> dict[str, t.Any]:
        """Return the configuration of an image."""
        return t.cast("dict[str, t.Any]", json.loads(self.blob(record.image_id)))


def bake_base(root: pathlib.Path) -> BuildKitchen:
    """Bake the base into a folder."""
    kitchen = BuildKitchen(root, "")
    path = root / "base/bake.yml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(BASE_RECIPE))
    record = kitchen.record(str(path))
    assert [layer.purpose for layer in record.layers] == ["packages", "run"]
    return BuildKitchen(root, record.reference)


def left_on(engine: docker.DockerClient) -> list[str]:
    """Return what builds of this process left on the engine; another's are its own business."""
    # The lists of the SDK itself look at each item again, and another process may have removed it.
    filters = {"label": OWNER}
    left = [
        (row["Names"], row["Labels"]) for row in engine.api.containers(all=True, filters=filters)
    ]
    left += [
        (row["RepoTags"] or [row["Id"]], row["Labels"])
        for row in engine.api.images(filters=filters)
    ]
    return [str(names) for names, labels in left if labels[OWNER].split(" ")[1] == str(os.getpid())]


def remove_own(engine: docker.DockerClient) -> None:
    """Remove the images of this process."""
    for image in engine.images.list(f"{OWN}/*"):
        engine.images.remove(image.id, force=True)


@pytest.fixture(scope="session", name="kitchen")
def kitchen_fixture(tmp_path_factory: pytest.TempPathFactory) -> BuildKitchen:
    """Return a folder where the base was baked; once for all tests, as it takes a while."""
    if not _BAKED:
        _BAKED.append(bake_base(tmp_path_factory.mktemp("build")))
    return _BAKED[0]


_BAKED: list[BuildKitchen] = []
