# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small baked world: a base of two files and an app recipe on it; and images made by hand."""

from __future__ import annotations

import datetime
import io
import pathlib
import tarfile
import typing as t
import zipfile
from dataclasses import dataclass

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    bake,
    contents,
    finding,
    lock,
    output,
    policy,
    recipe_policy,
    tar_layer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    sha256_bytes,
    sha256_file,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import scan_files
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    Layer,
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
    name: str = "base/tiny",
    program: bytes = b"#!",
    version: str = "1.0.0",
    apt: t.Mapping[str, str] | None = None,
    members: t.Sequence[Member] = (),
) -> BakeRecord:
    """Put a base of two files, or of these, into an output folder; another version or program is other content, too."""
    path = root / "base.yml"
    path.write_text(BASE_RECIPE.replace("base/tiny", name).replace("1.0.0", version))
    recipe = load_recipe(str(path))
    target = output.Output(str(root / folder))
    target.create()
    release = f"ID=tiny\nBUILD_ID={version}\n".encode()
    entries = [Entry("/bin/sh", 0o755, program), Entry("/etc/os-release", 0o644, release)]
    written = write_entries(entries, str(root / "base.tar"), EPOCH)
    if members:
        data = Craft.tar(*members, member("etc/os-release", release))
        (root / "base.tar").write_bytes(data)
        written = Layer(written.path, sha256_bytes(data), len(data))
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
    shell = lock.DebLock("dash", "1:0.5.12-2", "amd64", "pool/dash.deb", 10, "5" * 64)
    target.keep_lock(record, lock.Lock("sha256:" + "6" * 64, EPOCH, "amd64", apt=(shell,)))
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
        archive.writestr(zipfile.ZipInfo("pkg-1.0.dist-info/METADATA"), "Name: pkg\nVersion: 1.0\n")
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


Member = tuple[tarfile.TarInfo, bytes]
TODAY = datetime.date(2026, 6, 15)
CRAFTED_BASE = "base/tiny@sha256:" + "1" * 64
CRAFTED_RECIPE: dict[str, t.Any] = {
    "bake": 1,
    "kind": "app",
    "name": "shop/web",
    "version": "1.4.2",
    "base": CRAFTED_BASE,
    "config": {"user": "10001"},
}


def member(path: str, data: bytes = b"", mode: int = 0o644, **more: t.Any) -> Member:
    """Return a tar entry and its content."""
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(data), mode
    for name, value in more.items():
        setattr(info, name, value)
    return info, data


class Craft:
    """Makes small images by hand, good ones and hostile ones."""

    file = staticmethod(member)

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root

    @staticmethod
    def folder(path: str, mode: int = 0o755, **more: t.Any) -> Member:
        """Return a folder."""
        return member(path, mode=mode, type=tarfile.DIRTYPE, **more)

    @staticmethod
    def link(path: str, target: str) -> Member:
        """Return a symbolic link."""
        return member(path, type=tarfile.SYMTYPE, linkname=target)

    @staticmethod
    def hard(path: str, target: str) -> Member:
        """Return a hard link."""
        return member(path, type=tarfile.LNKTYPE, linkname=target)

    @staticmethod
    def tar(*members: Member) -> bytes:
        """Return a layer."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for info, data in members:
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    def layer(self, data: bytes, number: int = 0) -> tar_layer.TarLayer:
        """Open a layer."""
        path = self.root / f"{sha256_bytes(data)[:16]}.tar"
        path.write_bytes(data)
        return tar_layer.TarLayer(tar_layer.whole(str(path)), number, f"layer {number + 1}")

    def image(self, *layers: t.Sequence[Member], **config: t.Any) -> contents.ImageContents:
        """Return an image of these layers; config is what a container starts with, and history."""
        opened = [self.layer(self.tar(*members), n) for n, members in enumerate(layers)]
        history = [{"created_by": command} for command in config.pop("history", [])]
        described = {
            "config": config,
            "history": history,
            "rootfs": {"diff_ids": [layer.digest for layer in opened], "type": "layers"},
        }
        return contents.ImageContents("shop/web:1.4.2", described, opened)

    def foreign(self, *layers: t.Sequence[Member], **config: t.Any) -> finding.ImageUnderCheck:
        """Return a foreign image to check."""
        policy = recipe_policy.parse_policy(config.pop("policy", {}), "policy", "test")
        tags = config.pop("tags", ("shop/web:1.4.2",))
        return finding.ImageUnderCheck(self.image(*layers, **config), policy, TODAY, tags)

    def app(
        self,
        base: t.Sequence[t.Sequence[Member]],
        own: t.Sequence[t.Sequence[Member]],
        recipe: t.Mapping[str, t.Any] | None = None,
        locked: lock.Lock | None = None,
        base_lock: lock.Lock | None = None,
        base_history: t.Sequence[str] = (),
        **config: t.Any,
    ) -> finding.ImageUnderCheck:
        """Return an app of ours on a base of ours, to be checked."""
        path = self.root / "bake.yml"
        path.write_text(yaml.safe_dump({**CRAFTED_RECIPE, **(recipe or {})}))
        read = load_recipe(str(path))
        below = self.image(*base, history=list(base_history))
        config.setdefault("Labels", {"org.opencontainers.image.base.digest": "sha256:" + "1" * 64})
        image = self.image(*base, *own, **config)
        used = locked or lock.Lock(recipe_checksum(read), EPOCH, "amd64", base=_crafted_base(below))
        record = _crafted_record("shop/web", "1.4.2", lock.recipe_hash(read, used))
        baked = finding.Baked(
            recipe=read,
            record=record,
            lock=used,
            lock_problems=(),
            base=below,
            base_record=_crafted_record("base/tiny", "1.0.0", "0" * 64),
            base_locks=(base_lock or lock.Lock("", EPOCH, "amd64"),),
        )
        return finding.ImageUnderCheck(image, read.policy, TODAY, baked=baked)

    def base(self, *layers: t.Sequence[Member], **config: t.Any) -> finding.ImageUnderCheck:
        """Return a base of ours, to be checked."""
        path = self.root / "base.yml"
        path.write_text(BASE_RECIPE)
        read = load_recipe(str(path))
        used = config.pop("locked", None) or lock.Lock(recipe_checksum(read), EPOCH, "amd64")
        record = _crafted_record("base/tiny", "1.0.0", lock.recipe_hash(read, used))
        baked = finding.Baked(read, record, used, (), None, None, ())
        return finding.ImageUnderCheck(
            self.image(*layers, **config), read.policy, TODAY, baked=baked
        )

    @staticmethod
    def failures(check: finding.ImageUnderCheck, rule: str) -> list[str]:
        """Return what one rule found."""
        return [f.what for f in policy.judge(check) if f.rule == rule and f.fails]


def _crafted_record(name: str, version: str, recipe_hash: str) -> BakeRecord:
    digest = "sha256:" + "1" * 64
    return BakeRecord(
        name, version, "app", "amd64", digest, digest, recipe_hash, CRAFTED_BASE, EPOCH, 0, ()
    )


def _crafted_base(below: contents.ImageContents) -> lock.BaseLock:
    digest = "sha256:" + "1" * 64
    return lock.BaseLock(CRAFTED_BASE, digest, digest, tuple(below.diff_ids))


@pytest.fixture
def craft(tmp_path: pathlib.Path) -> Craft:
    """Return a maker of small images."""
    return Craft(tmp_path)
