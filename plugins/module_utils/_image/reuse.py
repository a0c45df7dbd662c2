# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of an older version that a bake need not write again: all of a rebase; private, no stability promised.

A layer of an app is a function of a part of its lock, the epoch, the layer writer and the folders of the base that its
files go into, and of nothing else: where these are equal, so are the bytes. The rules are stricter, because an app
that is put on another base must also run there.
"""

from __future__ import annotations

import os
import re
import tarfile
import typing as t
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    LAYER_FORMAT,
    sha256_file,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.ground import (
    Folder,
    Ground,
    ground_of,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    LABEL,
    BaseImage,
    Blob,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.wheel_layer import SITE

# Where package managers of any distribution keep what they know: a copy in an app would hide the new base's.
_PACKAGE_DATABASE = re.compile(
    r"\A(?:\./)?(?:var/lib/(?:dpkg|apt|rpm|pacman)|usr/lib/sysimage/rpm|lib/apk|etc/apk|etc/apt)(?:/|\Z)"
)


@dataclass(frozen=True)
class Reuse:
    """What an older version has that this bake needs, by purpose; or why it is not used."""

    layers: t.Mapping[str, Blob] = field(default_factory=dict)
    whole: bool = False
    rebased: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class _Candidate:
    """An older version with layers of the same inputs; whole if all of them are."""

    layers: t.Mapping[str, Blob]
    labels: t.Mapping[str, str]
    whole: bool
    other_base: bool


def find_reusable(
    output: Output, recipe: Recipe, lock: Lock, base: BaseImage | None, keep: bool = True
) -> Reuse:
    """Return the layers that another version of this app has already; keep as for C(ground_of)."""
    if base is None:
        return Reuse()
    why_not = ""
    for candidate in _candidates(output, recipe, lock):
        reason = ""
        if candidate.other_base:
            reason = unsafe(output, candidate, base, lock, keep)
        whole = candidate.whole
        if whole and candidate.other_base and recipe.build.purpose:
            why_not = why_not or "what it runs has to be run on the new base"
        if reason and whole:
            why_not = why_not or reason
        if not reason and all(_intact(output, blob) for blob in candidate.layers.values()):
            whole = whole and not recipe.build.purpose
            return Reuse(candidate.layers, whole, whole and candidate.other_base, why_not)
    return Reuse(why_not=why_not)


def _candidates(output: Output, recipe: Recipe, lock: Lock) -> list[_Candidate]:
    """Return what can be used of each other version, the most of it first."""
    found = [
        _candidate(output, record, lock)
        for record in output.versions(recipe.name)
        if record.version != recipe.version
    ]
    useful = [item for item in found if item is not None and (item.layers or item.whole)]
    return sorted(useful, key=lambda item: (item.other_base, not item.whole, -len(item.layers)))


def _candidate(output: Output, record: BakeRecord, lock: Lock) -> _Candidate | None:
    try:
        old = output.lock_of(record)
        labels = output.layout.read_json(record.image_id)["config"]["Labels"]
    except (CutoverError, KeyError):
        # A version that was removed in part, or baked before locks were kept: nothing to gain from it.
        return None
    if old.base is None or (old.epoch, old.arch) != (lock.epoch, lock.arch):
        return None
    if labels.get(LABEL + "layer-format") != LAYER_FORMAT:
        return None
    same = {
        "wheels": bool(lock.python) and old.python == lock.python,
        "files": bool(lock.files) and old.files == lock.files,
    }
    own = record.layers[len(old.base.diff_ids) :]
    layers = {
        item.purpose: Blob(item.digest, item.size, item.purpose)
        for item in own
        if same.get(item.purpose)
    }
    whole = (old.python, old.files) == (lock.python, lock.files)
    return _Candidate(layers, labels, whole, old.base != lock.base)


def _intact(output: Output, blob: Blob) -> bool:
    if not output.layout.has(blob.digest, blob.size):
        return False
    return "sha256:" + sha256_file(output.layout.blob_path(blob.digest)) == blob.digest


def unsafe(output: Output, candidate: _Candidate, base: BaseImage, lock: Lock, keep: bool) -> str:
    """Return why layers must not be put on another base as they are; empty if nothing speaks against it."""
    before = candidate.labels.get(LABEL + "abi", "unknown")
    after = abi_of(base)
    if before != after or after == "unknown":
        return f"the ABI of the base differs: {before} before, {after} now"
    for blob in candidate.layers.values():
        touched = package_database_paths(output.layout.blob_path(blob.digest))
        if touched:
            return f"its layer with {blob.purpose} touches a package database: {touched[0]}"
    ground = ground_of(output.layout, base.layers, "", keep)
    for blob in candidate.layers.values():
        wanted = [f"{SITE}/"] if blob.purpose == "wheels" else [file.path for file in lock.files]
        other = _other_place(output.layout.blob_path(blob.digest), ground, wanted)
        if other:
            return f"its layer with {blob.purpose} would be another on the new base: /{other}"
    return ""


def _other_place(path: str, ground: Ground, wanted: t.Iterable[str]) -> str:
    """Return the first path that would be elsewhere, or a folder of another kind, if the layer were written now."""
    try:
        with tarfile.open(path, "r:", encoding="utf-8") as archive:
            members = {member.name: member for member in archive}
        for name, member in members.items():
            found = Folder(member.mode, member.uid, member.gid)
            there = _place(f"{name}/" if member.isdir() else name, ground)
            if there != name or (member.isdir() and ground.folder(name) != found):
                return name
        places = [_place(name, ground) for name in wanted]
        return next((place for place in places if place not in members), "")
    except CutoverError:
        # Writing it anew says what is in the way.
        return "a folder that it needs"
    except (OSError, tarfile.TarError):
        # Gone or damaged: the look at its hash finds that.
        return ""


def _place(path: str, ground: Ground) -> str:
    """Return where a file, or a folder if the path ends with a slash, really is."""
    if path.endswith("/"):
        return os.path.dirname(ground.place(f"{path}x"))
    return ground.place(path)


def abi_of(base: BaseImage) -> str:
    """Return what programs on a base depend on, as its label says."""
    labels = base.config.get("config", {}).get("Labels", {})
    return t.cast("str", labels.get(LABEL + "abi", "unknown"))


def package_database_paths(path: str) -> list[str]:
    """Return the members of a layer that belong to a package manager."""
    try:
        with tarfile.open(path, "r:", encoding="utf-8") as archive:
            return [name for name in archive.getnames() if _PACKAGE_DATABASE.match(name)]
    except (OSError, tarfile.TarError):
        # Gone or damaged: the look at its hash finds that.
        return []
