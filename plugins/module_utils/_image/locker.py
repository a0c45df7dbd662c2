# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock phase: resolve what a recipe asks for; the only phase that resolves; private, no stability promised."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.apt import Apt, host_sources
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import write_atomic
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import scan_files
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    BaseLock,
    DebLock,
    Lock,
    WheelLock,
    input_checksums,
    lock_files,
    read_lock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
    recipe_checksum,
    requirements_path,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.wheels import resolve_wheels

# For a recipe that git does not know yet: the first second of 2025, always the same, never a clock.
FALLBACK_EPOCH = 1735689600
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class LockOptions:
    """How to lock."""

    output: str
    arch: str = ""
    epoch: int | None = None
    upgrade: bool = False


@dataclass(frozen=True)
class LockResult:
    """What locking one recipe did, or would do."""

    path: str
    before: str
    after: str
    actions: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Tell whether the lock file differs."""
        return self.before != self.after


def lock_recipe(path: str, options: LockOptions, run: Run, write: bool) -> LockResult:
    """Resolve what changed in a recipe and write its lock, if that changes anything."""
    recipe = load_recipe(path)
    files = scan_files(recipe)
    old = read_lock(recipe.lock_path)
    before = old.to_bytes().decode() if old else ""
    arch = options.arch or (old.arch if old else host_arch())
    resolver = _Resolver(recipe, arch, options.upgrade, run, None if _other(old, arch) else old)
    lock = Lock(
        recipe_checksum=recipe_checksum(recipe),
        epoch=_epoch(recipe, old, options.epoch),
        arch=arch,
        base=_lock_base(recipe, options.output),
        apt=resolver.apt(),
        python=resolver.python(),
        files=lock_files(files),
        inputs=input_checksums(recipe),
    )
    after = lock.to_bytes().decode()
    actions = tuple(_describe(recipe, old, lock)) if before != after else ()
    if write and before != after:
        write_atomic(recipe.lock_path, after.encode())
    return LockResult(recipe.lock_path, before, after, actions)


def host_arch() -> str:
    """Return the Debian name of this machine's architecture."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise InvalidInput("arch", machine, f"must be one of {', '.join(_ARCHITECTURES.values())}")
    return _ARCHITECTURES[machine]


def _other(old: Lock | None, arch: str) -> bool:
    return old is not None and old.arch != arch


class _Resolver:
    """Resolves a part only when it was asked for something else, or anew on request."""

    def __init__(
        self, recipe: Recipe, arch: str, upgrade: bool, run: Run, old: Lock | None
    ) -> None:
        self.recipe, self.arch, self.run = recipe, arch, run
        self.old = old
        asked = dict(old.inputs) if old else {}
        wanted = dict(input_checksums(recipe))
        self.kept = {part for part in wanted if not upgrade and asked.get(part) == wanted[part]}

    def apt(self) -> tuple[DebLock, ...]:
        """Return the packages of a base."""
        if self.recipe.kind != "base":
            return ()
        if self.old and "apt" in self.kept:
            return self.old.apt
        with tempfile.TemporaryDirectory(prefix="bake-apt-") as folder:
            apt = Apt(folder, host_sources(self.recipe.suite), self.arch, self.run)
            return apt.resolve(self.recipe.apt)

    def python(self) -> tuple[WheelLock, ...]:
        """Return the wheels of an app."""
        if self.recipe.python is None:
            return ()
        if self.old and "python" in self.kept:
            return self.old.python
        version = self.recipe.python.version
        return resolve_wheels(requirements_path(self.recipe), version, self.arch, self.run)


def _lock_base(recipe: Recipe, output: str) -> BaseLock | None:
    if not recipe.base:
        return None
    record = Output(output).find_reference(recipe.base)
    diff_ids = tuple(layer.digest for layer in record.layers)
    return BaseLock(recipe.base, record.manifest_digest, record.image_id, diff_ids)


def _epoch(recipe: Recipe, old: Lock | None, given: int | None) -> int:
    if given is not None:
        return given
    if old is not None and old.recipe_checksum == recipe_checksum(recipe):
        return old.epoch
    return commit_time(recipe.path) or FALLBACK_EPOCH


def commit_time(path: str) -> int | None:
    """Return when a file was last committed; None outside of git."""
    folder, name = os.path.split(path)
    try:
        done = subprocess.run(
            ["git", "-C", folder, "log", "-1", "--format=%ct", "--", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None


def _describe(recipe: Recipe, old: Lock | None, new: Lock) -> t.Iterator[str]:
    if old is None:
        counts = f"{len(new.apt)} packages, {len(new.python)} wheels, {len(new.files)} files"
        yield f"lock {recipe.tag}: {counts}"
        return
    parts: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("package", {d.name: d.version for d in old.apt}, {d.name: d.version for d in new.apt}),
        (
            "wheel",
            {w.name: w.version for w in old.python},
            {w.name: w.version for w in new.python},
        ),
        ("file", {f.path: f.sha256 for f in old.files}, {f.path: f.sha256 for f in new.files}),
    ]
    for what, before, after in parts:
        for name in sorted(set(before) | set(after)):
            if before.get(name) != after.get(name):
                yield _change(recipe.tag, what, name, before.get(name), after.get(name))
    if replace(old, apt=new.apt, python=new.python, files=new.files) != new:
        yield f"lock {recipe.tag}: recipe, base or epoch"


def _change(tag: str, what: str, name: str, before: str | None, after: str | None) -> str:
    if before is None:
        return f"lock {tag}: add {what} {name}"
    if after is None:
        return f"lock {tag}: drop {what} {name}"
    versions = f" {before} -> {after}" if what != "file" else ""
    return f"lock {tag}: change {what} {name}{versions}"
