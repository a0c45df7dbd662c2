# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image baked again where nothing of it is, and the first thing that differs; private, no stability promised."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tarfile
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import (
    Bake,
    BakeInputs,
    BakeOptions,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    CHUNK,
    LAYER_FORMAT,
    sha256_file,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import LABEL, Layout
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

_ATTRIBUTES = ("type", "mode", "uid", "gid", "mtime", "linkname", "devmajor", "devminor", "size")


@dataclass(frozen=True)
class Verified:
    """An image and what it was baked to the second time; difference is empty if they are equal."""

    record: BakeRecord
    again: BakeRecord
    difference: str


def verify(inputs: BakeInputs, output: Output, how: BakeOptions, run: Run) -> Verified:
    """Bake from the lock and the store in a folder of its own, and compare; nothing is changed."""
    recipe = inputs.recipe
    record = output.find(recipe.name, recipe.version)
    if record is None:
        raise CutoverError(f"{recipe.tag} is not in {output.root}: bake it first")
    with work_folder("verify-") as folder:
        fresh = Output(os.path.join(folder, "output"))
        fresh.create()
        if inputs.lock.base is not None:
            _lend(output, output.find_reference(inputs.lock.base.ref), fresh)
        docker = recipe.build.docker
        for reference in dict.fromkeys(docker.content.origins if docker else ()):
            if reference != recipe.base:
                _lend(output, output.find_reference(reference, "FROM"), fresh)
        options = replace(
            how, output=fresh.root, state_dir=os.path.join(folder, "state"), fetch=False
        )
        again = Bake(inputs, options, None, run).ensure().record
        if again is None:
            raise CutoverError(f"{recipe.tag} was not baked again")
        return Verified(record, again, _difference(output.layout, record, fresh.layout, again))


def _lend(output: Output, base: BakeRecord, fresh: Output) -> None:
    """Let the base be in the other folder without a copy of it."""
    for digest in (base.manifest_digest, base.image_id, *(item.digest for item in base.layers)):
        if not os.path.lexists(fresh.layout.blob_path(digest)):
            os.symlink(output.layout.blob_path(digest), fresh.layout.blob_path(digest))
    fresh.add(base)


def _difference(kept: Layout, record: BakeRecord, fresh: Layout, again: BakeRecord) -> str:
    """Return the first thing that differs, from the layers up: a layer that differs changes everything above it."""
    written = _labels(kept, record.image_id).get(LABEL + "layer-format", LAYER_FORMAT)
    if written != LAYER_FORMAT:
        by = "another version of this collection baked it: bump its version"
        return f"layer format: {written} -> {LAYER_FORMAT}: {by}"
    for number, (a, b) in enumerate(itertools.zip_longest(record.layers, again.layers), 1):
        if a is None or b is None:
            return f"layer {number} ({(a or b).purpose}): {'only now' if a is None else 'not any more'}"
        where = f"layer {number} ({a.purpose})"
        path = kept.blob_path(a.digest)
        if not os.path.exists(path):
            return f"{where}: blob {a.digest} is missing"
        damaged = "sha256:" + sha256_file(path) != a.digest
        if damaged or a.digest != b.digest:
            told = "the stored blob is damaged: " if damaged else ""
            return f"{where}: {told}{first_difference(path, fresh.blob_path(b.digest))}"
    for what, old_digest, new_digest in (
        ("config", record.image_id, again.image_id),
        ("manifest", record.manifest_digest, again.manifest_digest),
    ):
        old, new = _blob(kept, old_digest), _blob(fresh, new_digest)
        # The label with the hash of all inputs always differs, too, and says the least.
        found = _json_difference(_without_hash(old), _without_hash(new), what)
        found = found or _json_difference(old, new, what)
        if found:
            return found
    if record.recipe_hash != again.recipe_hash:
        return f"recipe hash: {record.recipe_hash} -> {again.recipe_hash}"
    return ""


def _blob(layout: Layout, digest: str) -> object:
    try:
        with open(layout.blob_path(digest), encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError) as error:
        return f"unreadable: {error}"


def _labels(layout: Layout, digest: str) -> dict[str, t.Any]:
    config = _blob(layout, digest)
    found = config.get("config") if isinstance(config, dict) else None
    return dict(found.get("Labels") or {}) if isinstance(found, dict) else {}


def _without_hash(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {k: _without_hash(v) for k, v in value.items() if k != LABEL + "recipe-hash"}
    return value


def _json_difference(old: object, new: object, path: str) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(f"{path}.{key}", old.get(key), new.get(key)) for key in sorted({*old, *new})]
    elif isinstance(old, list) and isinstance(new, list):
        both = itertools.zip_longest(old, new)
        pairs = [(f"{path}[{number}]", *pair) for number, pair in enumerate(both)]
    else:
        return "" if old == new else f"{path}: {json.dumps(old)} -> {json.dumps(new)}"
    return next((found for p, a, b in pairs if (found := _json_difference(a, b, p))), "")


def first_difference(old: str, new: str) -> str:
    """Return the first path in which two layers differ, and in what."""
    try:
        with tarfile.open(old, "r:") as left, tarfile.open(new, "r:") as right:
            for a, b in itertools.zip_longest(left, right):
                found = _member_difference(left, a, right, b)
                if found:
                    return found
    except (tarfile.TarError, OSError, EOFError) as error:
        return f"not a readable layer: {error}"
    return "bytes outside of any file"


def _member_difference(
    left: tarfile.TarFile,
    old: tarfile.TarInfo | None,
    right: tarfile.TarFile,
    new: tarfile.TarInfo | None,
) -> str:
    if old is None or new is None or old.name != new.name:
        names = (old.name if old else "nothing more", new.name if new else "nothing more")
        return f"/{min(names)}: {names[0]} -> {names[1]}"
    for name in _ATTRIBUTES:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            if name == "mode":
                before, after = f"{before:04o}", f"{after:04o}"
            return f"/{old.name}: {name} {before!r} -> {after!r}"
    if old.pax_headers != new.pax_headers:
        return f"/{old.name}: extended attributes"
    if old.isreg() and _content(left, old) != _content(right, new):
        return f"/{old.name}: content"
    return ""


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = archive.extractfile(member)
    digest = hashlib.sha256()
    while stream is not None and (chunk := stream.read(CHUNK)):
        digest.update(chunk)
    return digest.hexdigest()


def as_mapping(item: Verified) -> dict[str, t.Any]:
    """Return a comparison as plain data."""
    return {
        "tag": item.record.tag,
        "reference": item.record.reference,
        "again": item.again.reference,
        "same": not item.difference,
        "difference": item.difference,
    }
