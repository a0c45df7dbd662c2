# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock phase: resolve what a recipe asks for; the only phase that resolves; private, no stability promised."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.apt import (
    Apt,
    host_sources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_files import scan_build
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
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import (
    Run,
    find_tool,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
    recipe_checksum,
    requirements_path,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import (
    DEFAULT_STORE,
    ETC_APT,
    Store,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.wheels import resolve_wheels
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

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
    upgrade_packages: tuple[str, ...] = ()
    store: str = DEFAULT_STORE
    apt_sources: str = ETC_APT


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
    recipe = load_recipe(path, Output(options.output).known)
    files = scan_files(recipe)
    old = read_lock(recipe.lock_path)
    before = old.to_bytes().decode() if old else ""
    arch = options.arch or (old.arch if old else host_arch())
    resolver = _Resolver(recipe, arch, options, run, None if _other(old, arch) else old)
    lock = Lock(
        recipe_checksum=recipe_checksum(recipe),
        epoch=0,
        arch=arch,
        base=_lock_base(recipe, options.output),
        apt=resolver.apt(),
        python=resolver.python(),
        files=lock_files(files),
        inputs=input_checksums(recipe),
        build=lock_files(scan_build(recipe)),
    )
    lock = replace(lock, epoch=_epoch(recipe, old, lock, options.epoch))
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
        self, recipe: Recipe, arch: str, options: LockOptions, run: Run, old: Lock | None
    ) -> None:
        self.recipe, self.arch, self.run = recipe, arch, run
        self.options = options
        self.old = None if options.upgrade else old
        asked = dict(self.old.inputs) if self.old else {}
        wanted = dict(input_checksums(recipe))
        self.kept = {part for part in wanted if asked.get(part) == wanted[part]}

    def apt(self) -> tuple[DebLock, ...]:
        """Return the packages of a base."""
        if not self.recipe.suite:
            return ()
        moving: list[str] = []
        if self.old and "apt" in self.kept:
            moving = self._moving([deb.name for deb in self.old.apt])
            if not moving:
                return self.old.apt
            _refuse_pinned(self.recipe, moving)
        with work_folder("bake-apt-") as folder:
            sources = host_sources(self.recipe.suite, self.options.apt_sources)
            apt = Apt(folder, sources, self.arch, self.run)
            if self.old and moving:
                return apt.upgrade(moving, self.old.apt, self._stored_fields(self.old.apt))
            return apt.resolve(self.recipe.apt)

    def python(self) -> tuple[WheelLock, ...]:
        """Return the wheels of an app."""
        if self.recipe.python is None:
            return ()
        locked = self.old.python if self.old else ()
        moving = self._moving([wheel.name for wheel in locked])
        if self.old and "python" in self.kept and not moving:
            return self.old.python
        version = self.recipe.python.version
        path = requirements_path(self.recipe)
        return resolve_wheels(path, version, self.arch, self.run, locked, moving)

    def _moving(self, locked: t.Sequence[str]) -> list[str]:
        wanted = {package_name(name) for name in self.options.upgrade_packages}
        return [name for name in locked if package_name(name) in wanted]

    def _stored_fields(self, debs: t.Sequence[DebLock]) -> dict[str, str]:
        """Return the control fields of the packages that were fetched, by sha256."""
        store = Store(self.options.store)
        tool = find_tool("dpkg-deb", "dpkg")
        return {
            deb.sha256: self.run([tool, "--field", store.path(deb.sha256)], {"LC_ALL": "C.UTF-8"})
            for deb in debs
            if store.has(deb.sha256)
        }


def package_name(name: str) -> str:
    """Return a package name as indexes compare it; Debian's names are none the worse for it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _refuse_pinned(recipe: Recipe, names: t.Sequence[str]) -> None:
    for package in recipe.apt:
        name, pinned, version = package.partition("=")
        if pinned and name in names:
            raise InvalidInput("upgrade_packages", name, f"the recipe pins it to {version}")


def unknown_packages(paths: t.Sequence[str], names: t.Sequence[str]) -> list[str]:
    """Return the names that no lock of these recipes has: a typo, or a package of another recipe."""
    known: set[str] = set()
    for path in paths if names else ():
        lock = read_lock(load_recipe(path).lock_path)
        if lock is not None:
            known |= {package_name(deb.name) for deb in lock.apt}
            known |= {package_name(wheel.name) for wheel in lock.python}
    return [name for name in names if package_name(name) not in known]


def _lock_base(recipe: Recipe, output: str) -> BaseLock | None:
    if not recipe.base:
        return None
    record = Output(output).find_reference(recipe.base)
    diff_ids = tuple(layer.digest for layer in record.layers)
    return BaseLock(recipe.base, record.manifest_digest, record.image_id, diff_ids)


def _epoch(recipe: Recipe, old: Lock | None, new: Lock, given: int | None) -> int:
    """Return the time of what is in the image; it stays while that stays, so that layers can be reused."""
    if given is not None:
        return given
    if old is not None and old.recipe_checksum == new.recipe_checksum:
        return old.epoch
    if old is not None and _what_is_in_it(old) == _what_is_in_it(new):
        return old.epoch
    return commit_time(recipe.path) or FALLBACK_EPOCH


def _what_is_in_it(lock: Lock) -> tuple[object, ...]:
    return (lock.apt, lock.python, lock.files, lock.build)


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
        counts += f", {len(new.build)} files of the build" if new.build else ""
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
        (
            "build file",
            {f.path: f.sha256 for f in old.build},
            {f.path: f.sha256 for f in new.build},
        ),
    ]
    for what, before, after in parts:
        for name in sorted(set(before) | set(after)):
            if before.get(name) != after.get(name):
                yield _change(recipe.tag, what, name, before.get(name), after.get(name))
    kept = replace(old, apt=new.apt, python=new.python, files=new.files, build=new.build)
    if kept != new:
        yield f"lock {recipe.tag}: recipe, base or epoch"


def _change(tag: str, what: str, name: str, before: str | None, after: str | None) -> str:
    if before is None:
        return f"lock {tag}: add {what} {name}"
    if after is None:
        return f"lock {tag}: drop {what} {name}"
    versions = "" if what.endswith("file") else f" {before} -> {after}"
    return f"lock {tag}: change {what} {name}{versions}"
