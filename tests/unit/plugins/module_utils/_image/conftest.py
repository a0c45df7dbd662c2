# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small baked world: a base of two files, and an app recipe on it with one wheel in the store."""

from __future__ import annotations

import pathlib
import typing as t
import zipfile
from dataclasses import dataclass

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import bake, lock, output
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_file
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import scan_files
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    write_entries,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    image_config,
    image_manifest,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    load_recipe,
    recipe_checksum,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    LayerRecord,
)

EPOCH = 1_700_000_000
BASE_RECIPE = """
bake: 1
kind: base
name: base/tiny
version: 1.0.0
bootstrap: {suite: bookworm}
config:
  env: {LANG: C.UTF-8, PATH: /bin}
  labels: {vendor: us}
  cmd: [sh]
"""
APP_RECIPE = """
bake: 1
kind: app
name: shop/web
version: %(version)s
base: %(base)s
python: {requirements: requirements.in}
files: [{src: src/, dest: /app}]
config:
  user: "10001:10001"
  workdir: /app
  expose: [8080]
  stop_signal: SIGTERM
  env: {LANG: C, APP: "1"}
  env_required: [DATABASE_URL]
entrypoints: {web: [python, -m, shop], migrate: [python, -m, shop.migrate]}
"""


def no_tools(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
    """Refuse to run anything: an app is assembled from what is there."""
    raise AssertionError(f"ran {argv}")


@dataclass(frozen=True)
class World:
    """Where everything is."""

    root: pathlib.Path
    base: BakeRecord
    wheel: str

    @property
    def recipe(self) -> str:
        """Return the app's recipe."""
        return str(self.root / "shop/bake.yml")

    def options(self, **changes: t.Any) -> bake.BakeOptions:
        """Return where to bake."""
        return bake.BakeOptions(
            store=str(self.root / "store"),
            output=str(self.root / changes.pop("output", "output")),
            state_dir=str(self.root / "state"),
            **changes,
        )

    def write_recipe(self, version: str = "1.0.0") -> None:
        """Write the recipe and a lock that matches it."""
        pathlib.Path(self.recipe).write_text(
            APP_RECIPE % {"version": version, "base": self.base.reference}
        )
        self.write_lock()

    def write_lock(self) -> None:
        """Lock what is there now."""
        recipe = load_recipe(self.recipe)
        base = self.base
        locked = lock.Lock(
            recipe_checksum=recipe_checksum(recipe),
            epoch=EPOCH,
            arch="amd64",
            base=lock.BaseLock(
                base.reference,
                base.manifest_digest,
                base.image_id,
                tuple(layer.digest for layer in base.layers),
            ),
            python=(lock.WheelLock("pkg", "1.0", "pkg-1.0-py3-none-any.whl", self.wheel),),
            files=lock.lock_files(scan_files(recipe)),
            inputs=lock.input_checksums(recipe),
        )
        pathlib.Path(recipe.lock_path).write_bytes(locked.to_bytes())

    def bake(self, **changes: t.Any) -> bake.BakeResult:
        """Bake the app without an engine."""
        options = self.options(**changes)
        return bake.Bake(bake.read_inputs(self.recipe), options, None, no_tools).ensure()


def add_base(
    root: pathlib.Path,
    folder: str = "output",
    version: str = "1.0.0",
    apt: t.Mapping[str, str] | None = None,
) -> BakeRecord:
    """Put a base of two files into an output folder; with another version its content differs, too."""
    path = root / "base.yml"
    path.write_text(BASE_RECIPE.replace("1.0.0", version))
    recipe = load_recipe(str(path))
    target = output.Output(str(root / folder))
    target.create()
    entries = [
        Entry("/bin/sh", 0o755, b"#!"),
        Entry("/etc/os-release", 0o644, f"ID={version}\n".encode()),
    ]
    written = write_entries(entries, str(root / "base.tar"), EPOCH)
    layer = target.layout.adopt(written.path, written.sha256, written.size, "packages")
    debs = tuple(lock.DebLock(*item, "amd64", "", 0, "") for item in (apt or {}).items())
    config = image_config(recipe, lock.Lock("", EPOCH, "amd64", apt=debs), "0" * 64, [layer], None)
    record = BakeRecord(
        name=recipe.name,
        version=recipe.version,
        kind="base",
        arch="amd64",
        image_id=target.layout.add_bytes(config).digest,
        manifest_digest=target.layout.add_bytes(image_manifest(config, [layer])).digest,
        recipe_hash="0" * 64,
        base="",
        epoch=EPOCH,
        size=layer.size,
        layers=(LayerRecord(layer.digest, layer.size, layer.purpose),),
        layout=target.root,
    )
    target.add(record)
    return record


def add_wheel(root: pathlib.Path) -> str:
    """Put a wheel into the store and return its hash."""
    folder = root / "store/sha256"
    folder.mkdir(parents=True)
    path = folder / "new"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("pkg.py"), "x = 1\n")
        archive.writestr(zipfile.ZipInfo("pkg-1.0.dist-info/WHEEL"), "Wheel-Version: 1.0\n")
    digest = sha256_file(str(path))
    path.rename(folder / digest)
    return digest


@pytest.fixture
def tools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uv be found where it is not installed; these tests never run it."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "uv").write_text("#!/bin/false\n")
    (folder / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    """Return a world with a locked app recipe of version 1.0.0."""
    found = World(tmp_path, add_base(tmp_path), add_wheel(tmp_path))
    (tmp_path / "shop/src").mkdir(parents=True)
    (tmp_path / "shop/src/app.py").write_text("a = 1\n")
    (tmp_path / "shop/requirements.in").write_text("pkg\n")
    found.write_recipe()
    return found
