# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of an image from its locked inputs: no daemon, no network; private, no stability promised."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.bootstrap import bootstrap
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_layer import LayerBuild
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_plan import BACKENDS
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import FileInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.ground import (
    Ground,
    ground_of,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    Layer,
    write_entries,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.making import Making, Start
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    BaseImage,
    Blob,
    Layout,
    image_config,
    image_manifest,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    ImageConfig,
    Recipe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    LayerRecord,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store
from ansible_collections.immutable.cutover.plugins.module_utils._image.wheel_layer import (
    wheel_entries,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

WHEELS = "wheels"
_Below = t.Callable[[], Ground]


def assemble(
    recipe: Recipe,
    lock: Lock,
    recipe_hash: str,
    files: t.Sequence[FileInput],
    base: BaseImage | None,
    store: Store,
    layout: Layout,
    run: Run,
    reused: t.Mapping[str, Blob] | None = None,
    making: Making | None = None,
) -> BakeRecord:
    """Write an image into the layout and return its record; layers that are there already, by purpose, are reused."""
    inherited = base.layers if base else ()
    layers: list[Blob] = list(inherited)
    plain = replace(recipe, config=ImageConfig(), entrypoints=())

    def start() -> Start:
        config = image_config(plain, lock, recipe_hash, layers, base)
        return Start(json.loads(config), tuple(layers))

    with work_folder(".bake-", layout.root) as folder:
        os.chmod(folder, 0o755)
        build = making and LayerBuild(making.builder, recipe, lock.epoch, layout, folder, run)

        def ground() -> Ground:
            # Not the wheels: their folders are new, or the base's own, and so the files depend on no version of theirs.
            below = [layer for layer in layers if layer.purpose != WHEELS or layer in inherited]
            return ground_of(layout, below, recipe.tag)

        for purpose, write in _own_layers(recipe, lock, files, store, folder, run):
            blob = (reused or {}).get(purpose)
            if blob is None:
                layer = write(ground)
                if making and build and making.builder.backend in BACKENDS[1:] and layers:
                    layer = build.extract(start(), layer, purpose, making.builder.backend)
                blob = layout.adopt(layer.path, layer.sha256, layer.size, purpose)
            layers.append(blob)
        if making and build and recipe.build.purpose:
            built = build.build(start(), making.files, making.origins)
            recipe = built.recipe
            if built.layer is not None:
                done, purpose = built.layer, recipe.build.purpose
                layers.append(layout.adopt(done.path, done.sha256, done.size, purpose))
    config = image_config(recipe, lock, recipe_hash, layers, base)
    image_id = layout.add_bytes(config).digest
    manifest_digest = layout.add_bytes(image_manifest(config, layers)).digest
    return BakeRecord(
        name=recipe.name,
        version=recipe.version,
        kind=recipe.kind,
        arch=lock.arch,
        image_id=image_id,
        manifest_digest=manifest_digest,
        recipe_hash=recipe_hash,
        base=recipe.base,
        epoch=lock.epoch,
        size=sum(layer.size for layer in layers),
        layers=tuple(LayerRecord(layer.digest, layer.size, layer.purpose) for layer in layers),
        layout=layout.root,
    )


def _own_layers(
    recipe: Recipe,
    lock: Lock,
    files: t.Sequence[FileInput],
    store: Store,
    folder: str,
    run: Run,
) -> t.Iterator[tuple[str, t.Callable[[_Below], Layer]]]:
    if recipe.suite:
        yield "packages", lambda _below: bootstrap(recipe.suite, lock, store, folder, run)
    if lock.python:
        path = os.path.join(folder, "wheels.tar")
        yield (
            WHEELS,
            lambda below: write_entries(_all_wheels(lock, store), path, lock.epoch, below()),
        )
    if files:
        entries = [
            Entry(item.path, item.mode, source=item.source, sha256=item.sha256) for item in files
        ]
        target = os.path.join(folder, "files.tar")
        yield "files", lambda below: write_entries(entries, target, lock.epoch, below())


def _all_wheels(lock: Lock, store: Store) -> list[Entry]:
    owners: dict[str, str] = {}
    entries: list[Entry] = []
    for wheel in lock.python:
        path = store.verified(wheel.sha256, f"{wheel.name}=={wheel.version}")
        for entry in wheel_entries(path, wheel.filename):
            if entry.path in owners:
                raise CutoverError(
                    f"{entry.path} is installed by {owners[entry.path]} and by {wheel.name}"
                )
            owners[entry.path] = wheel.name
            entries.append(entry)
    return entries


def load_base(layout: Layout, record: BakeRecord) -> BaseImage:
    """Return a baked image to build on."""
    config = _without_nothing(layout.read_json(record.image_id))
    layers = tuple(Blob(layer.digest, layer.size, layer.purpose) for layer in record.layers)
    return BaseImage(record, config, layers)


def _without_nothing(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return a configuration without the empty values that other builders write."""
    found = {key: value for key, value in config.items() if value is not None}
    inner = found.get("config", {})
    return {**found, "config": {key: value for key, value in inner.items() if value is not None}}
