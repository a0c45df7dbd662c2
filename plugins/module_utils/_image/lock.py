# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock: every input of a bake by its hash; private, no stability promised.

It holds no clock, no host name and no mirror, so that locking twice gives no diff anywhere.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
    readable_json,
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import FileInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    recipe_checksum,
    requirements_path,
)

LOCK_VERSION = 1
_SHA = re.compile(r"\A[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class DebLock:
    """One Debian package: where it is on any mirror of its archive, and what it must be."""

    name: str
    version: str
    arch: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class WheelLock:
    """One wheel by file name; which index serves it is the host's own configuration."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class FileLock:
    """One file of the context as it will be in the image."""

    path: str
    mode: str
    sha256: str


@dataclass(frozen=True)
class BaseLock:
    """The base image: by reference, and by what it is made of."""

    ref: str
    manifest: str
    config: str
    diff_ids: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """All inputs of one bake."""

    recipe_checksum: str
    epoch: int
    arch: str
    base: BaseLock | None = None
    apt: tuple[DebLock, ...] = ()
    python: tuple[WheelLock, ...] = ()
    files: tuple[FileLock, ...] = ()
    inputs: tuple[tuple[str, str], ...] = field(default=())
    build: tuple[FileLock, ...] = ()

    def to_mapping(self) -> dict[str, t.Any]:
        """Return the lock as plain data; without what only recipes that run something have."""
        data = {"version": LOCK_VERSION, **asdict(self), "inputs": dict(self.inputs)}
        return data if self.build else {key: data[key] for key in data if key != "build"}

    def to_bytes(self) -> bytes:
        """Return the bytes of the lock file."""
        return readable_json(self.to_mapping())


def read_lock(path: str) -> Lock | None:
    """Read a lock file; None if there is none."""
    try:
        with open(path, "rb") as stream:
            return parse_lock(stream.read(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CutoverError(f"{path}: cannot read lock: {error}") from error


def parse_lock(text: bytes, path: str) -> Lock:
    """Read the bytes of a lock file; path names them in a message."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise CutoverError(f"{path}: cannot read lock: {error}") from error
    if not isinstance(data, dict) or data.pop("version", None) != LOCK_VERSION:
        raise CutoverError(
            f"{path}: not a lock of version {LOCK_VERSION}; run the bake playbook with bake_lock=always"
        )
    try:
        lock = _parse(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise CutoverError(
            f"{path}: incomplete lock: {error}; run the bake playbook with bake_lock=always"
        ) from error
    _check_entries(path, lock)
    return lock


def _parse(data: dict[str, t.Any]) -> Lock:
    base = data.pop("base")
    if base is not None:
        base = BaseLock(**{**base, "diff_ids": tuple(base["diff_ids"])})
    return Lock(
        base=base,
        apt=tuple(DebLock(**item) for item in data.pop("apt")),
        python=tuple(WheelLock(**item) for item in data.pop("python")),
        files=tuple(FileLock(**item) for item in data.pop("files")),
        inputs=tuple(sorted(data.pop("inputs").items())),
        build=tuple(FileLock(**item) for item in data.pop("build", ())),
        **data,
    )


def _check_entries(path: str, lock: Lock) -> None:
    entries: list[tuple[str, str]] = [("apt " + deb.name, deb.sha256) for deb in lock.apt]
    entries += [("python " + wheel.name, wheel.sha256) for wheel in lock.python]
    entries += [("file " + item.path, item.sha256) for item in lock.files]
    entries += [("build file " + item.path, item.sha256) for item in lock.build]
    seen: set[str] = set()
    for name, digest in entries:
        if not isinstance(digest, str) or not _SHA.match(digest):
            raise CutoverError(f"{path}: {name}: no sha256 of 64 hex digits in the lock")
        if name in seen:
            raise CutoverError(f"{path}: {name}: locked twice")
        seen.add(name)


def input_checksums(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """Return what each resolved part was asked for, so that only a changed part is resolved again."""
    parts: dict[str, object] = {}
    if recipe.suite:
        parts["apt"] = {"suite": recipe.suite, "packages": sorted(recipe.apt)}
    if recipe.python is not None:
        with open(requirements_path(recipe), "rb") as stream:
            wanted = sha256_bytes(stream.read())
        parts["python"] = {"requirements": wanted, "version": recipe.python.version}
    return tuple(
        (name, "sha256:" + sha256_bytes(canonical_json(parts[name]))) for name in sorted(parts)
    )


def lock_files(files: t.Iterable[FileInput]) -> tuple[FileLock, ...]:
    """Return the lock's view of scanned files."""
    return tuple(FileLock(item.path, f"{item.mode:04o}", item.sha256) for item in files)


def stale_parts(
    recipe: Recipe, lock: Lock, files: t.Iterable[FileInput], build: t.Iterable[FileInput]
) -> list[str]:
    """Return which parts of the recipe the lock does not describe any more."""
    stale = []
    if lock.recipe_checksum != recipe_checksum(recipe):
        stale.append("recipe")
    if (lock.base.ref if lock.base else "") != recipe.base:
        stale.append("base")
    if dict(lock.inputs) != dict(input_checksums(recipe)):
        stale.append("packages")
    if lock.files != lock_files(files):
        stale.append("files")
    if lock.build != lock_files(build):
        stale.append("files of the build")
    return stale


def require_fresh(
    recipe: Recipe, files: t.Iterable[FileInput], build: t.Iterable[FileInput] = ()
) -> Lock:
    """Return the lock of a recipe, or fail: a bake never resolves anything."""
    lock = read_lock(recipe.lock_path)
    if lock is None:
        raise CutoverError(
            f"lock not found: {recipe.lock_path}; run the bake playbook with bake_lock=always"
        )
    stale = stale_parts(recipe, lock, files, build)
    if stale:
        raise CutoverError(
            f"{recipe.lock_path}: lock does not match {', '.join(stale)}; run the bake playbook with bake_lock=always",
            stale=stale,
        )
    return lock


def recipe_hash(recipe: Recipe, lock: Lock) -> str:
    """Return H, the identity of a bake's inputs; written as a label and compared before any work."""
    return _inputs_hash(recipe_checksum(recipe), lock)


def hash_of_lock(lock: Lock) -> str:
    """Return H as far as a lock alone tells it: the lock names the recipe it was made for."""
    return _inputs_hash(lock.recipe_checksum, lock)


def _inputs_hash(checksum: str, lock: Lock) -> str:
    content = {"format": LOCK_VERSION, "recipe": checksum, "lock": lock.to_mapping()}
    return sha256_bytes(canonical_json(content))
