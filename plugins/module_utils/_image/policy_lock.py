# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy rule P3: what is in the image is what the locks say; private, no stability promised."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import (
    ImageContents,
    InstalledPython,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
    Baked,
    Found,
    ImageUnderCheck,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    FileLock,
    Lock,
    recipe_hash,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import TarLayer
from ansible_collections.immutable.cutover.plugins.module_utils._image.wheel_layer import (
    wheel_entries,
)

BUILT = ("run", "dockerfile")

try:
    from packaging.version import InvalidVersion, Version
except ImportError:
    PACKAGING = False
else:
    PACKAGING = True


def is_what_was_locked(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P3: the lock is fresh and complete, and describes exactly what is really there."""
    baked = check.baked
    if baked is None:
        debs, dists = check.image.installed_debs(), check.image.installed_python()
        what = f"{len(debs)} packages and {len(dists)} Python distributions"
        yield Found(f"no lock: {what} in it are compared with nothing")
        return
    for problem in baked.lock_problems:
        yield Found(problem)
    if baked.lock is None:
        return
    if recipe_hash(baked.recipe, baked.lock) != baked.record.recipe_hash:
        yield Found("it was baked from another lock than the one beside the recipe; bake again")
    # The own lock comes last: of two locks that name one path, it is the one that holds.
    locks = (*baked.base_locks, baked.lock)
    yield from _compare_debs(check.image, locks, baked.foreign)
    yield from _compare_python(check, locks, baked.foreign)
    yield from _compare_files(check.image, locks, _built_layers(baked))
    yield from _unlocked_files(check, baked)


def _compare_debs(
    image: ImageContents, locks: t.Sequence[Lock], foreign: ImageContents | None
) -> t.Iterator[Found]:
    below = foreign.installed_debs() if foreign else []
    locked = {(deb.name, deb.arch): deb.version for deb in below}
    locked |= {(deb.name, deb.arch): deb.version for lock in locks for deb in lock.apt}
    there = {(deb.name, deb.arch): deb.version for deb in image.installed_debs()}
    for key in sorted(locked.keys() | there.keys()):
        yield from _difference(f"package {key[0]}", locked.get(key), there.get(key))


def _difference(what: str, locked: str | None, there: str | None) -> t.Iterator[Found]:
    if locked is None:
        yield Found(f"{what} {there} is in the image but in no lock")
    elif there is None:
        yield Found(f"{what} {locked} is locked but not in the image")
    elif locked != there:
        yield Found(f"{what} is locked as {locked} but is {there} in the image")


def _compare_python(
    check: ImageUnderCheck, locks: t.Sequence[Lock], foreign: ImageContents | None
) -> t.Iterator[Found]:
    locked = {
        normal_name(wheel.name): normal_version(wheel.version)
        for lock in locks
        for wheel in lock.python
    }
    dists = [
        dist
        for dist in check.image.installed_python()
        # What a Debian package or another wheel brought within itself is locked with that.
        if f"{dist.folder}/METADATA" not in check.deb_paths
    ]
    brought = _brought_by_others(check.image, dists)
    missing = set(locked)
    below = foreign.installed_python() if foreign else []
    locked = {**{normal_name(d.name): normal_version(d.version) for d in below}, **locked}
    for dist in dists:
        name = normal_name(dist.name)
        if f"{dist.folder}/METADATA" in brought:
            continue
        missing.discard(name)
        version = normal_version(dist.version)
        for found in _difference(f"wheel {name}", locked.get(name), version):
            yield Found(found.what, f"/{dist.folder}")
    for name in sorted(missing):
        yield Found(f"wheel {name} {locked[name]} is locked but not in the image")


def normal_name(name: str) -> str:
    """Return the one spelling of a Python distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def normal_version(version: str) -> str:
    """Return the one spelling of a Python version, where the library for that is there."""
    if not PACKAGING:
        return version
    try:
        return str(Version(version))
    except InvalidVersion:
        return version


def _brought_by_others(image: ImageContents, dists: t.Sequence[InstalledPython]) -> set[str]:
    """Return the paths below each distribution's folder that another distribution's RECORD names."""
    found: set[str] = set()
    for dist in dists:
        own = f"{dist.folder}/"
        found |= {path for path in image.recorded(dist) if not path.startswith(own)}
    return found


def _built_layers(baked: Baked) -> set[int]:
    """Return the layers that a build made of the recipe: their inputs are locked, and what comes out is not."""
    layers = enumerate(baked.record.layers)
    return {number for number, layer in layers if layer.purpose in BUILT}


def _compare_files(
    image: ImageContents, locks: t.Sequence[Lock], built: t.Collection[int]
) -> t.Iterator[Found]:
    locked = {item.path: item for lock in locks for item in lock.files}
    for path in sorted(locked):
        node = image.nodes.get(image.canonical(path))
        # What a step of the recipe changed or took away is not what was locked any more.
        if node.layer not in built if node is not None else not built:
            yield from _compare_file(image, path, locked[path])


def _compare_file(image: ImageContents, path: str, locked: FileLock) -> t.Iterator[Found]:
    node = image.nodes.get(image.canonical(path))
    if node is None or not node.is_file:
        yield Found(f"file {path} is locked but not in the image", path)
    elif image.sha256(node) != locked.sha256:
        yield Found(f"file {path} is not the locked one", path)
    elif f"{node.mode:04o}" != locked.mode:
        yield Found(f"file {path} is locked with mode {locked.mode} but has {node.mode:04o}", path)


def _wheel_files(lock: Lock, store: Store | None) -> tuple[dict[str, str], list[str]]:
    """Return the sha256 of every file the locked wheels install, and which wheels are not there to look into."""
    found: dict[str, str] = {}
    absent: list[str] = []
    for wheel in lock.python:
        if store is None or not store.has(wheel.sha256):
            absent.append(wheel.filename)
            continue
        path = store.verified(wheel.sha256, f"{wheel.name}=={wheel.version}")
        for entry in wheel_entries(path, wheel.filename):
            found[entry.path.strip("/")] = sha256_bytes(entry.data)
    return found, absent


def _recorded(image: ImageContents, inside: t.Mapping[str, str]) -> dict[str, str]:
    """Return what may be there: what is in the locked wheels, and what the other distributions say of themselves."""
    recorded: dict[str, str] = {}
    for dist in image.installed_python():
        if f"{dist.folder}/METADATA" not in inside:
            recorded.update(image.recorded(dist))
    return {**recorded, **inside}


def _unlocked_files(check: ImageUnderCheck, baked: Baked) -> t.Iterator[Found]:
    """An app's own layers hold its locked files and what its locked wheels have, and nothing else."""
    if check.kind != "app" or check.base is None or baked.lock is None:
        return
    inside, absent = _wheel_files(baked.lock, baked.store)
    if absent and baked.store is not None:
        names = ", ".join(absent)
        yield Found(f"not in the store, so compared with its own RECORD only: {names}", note=True)
    inside = {check.image.canonical(path): digest for path, digest in inside.items()}
    recorded = _recorded(check.image, inside)
    # A file of the recipe may take the place of a wheel's, and was compared with its own lock already.
    recorded.update({check.image.canonical(item.path): "" for item in baked.lock.files})
    built = _built_layers(baked)
    for node in check.every_file(own=True):
        if node.layer in built:
            continue
        if node.path not in recorded:
            yield Found(f"{check.where(node)} comes from no lock", f"/{node.path}")
        elif check.visible(node) and recorded[node.path] not in ("", check.image.sha256(node)):
            yield Found(f"{check.where(node)} is not what its wheel has", f"/{node.path}")
    for layer in check.image.layers[check.own_from :]:
        if layer.number not in built:
            yield from _unlocked_others(layer)


def _unlocked_others(layer: TarLayer) -> t.Iterator[Found]:
    for path in sorted(layer.nodes):
        if not layer.nodes[path].is_file and not layer.nodes[path].is_dir:
            yield Found(f"/{path} is a link or a device that comes from no lock", f"/{path}")
    for path in sorted(layer.whiteouts | layer.opaque):
        yield Found(f"/{path} of its base is hidden by no lock", f"/{path}")
