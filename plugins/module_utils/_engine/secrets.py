# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Per-container copies of secrets on the engine's host; private, no stability promised.

Each container has a directory of its own, so that a start that loses a race for a name never
touches the files of the winner. Files are read-only for exactly one numeric user; the directory is
closed to all but root.
"""

from __future__ import annotations

import os
import re
import secrets as randomness
import shutil
import stat
from collections.abc import Collection
from pathlib import Path

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    SecretFile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_config import (
    SecretMount,
    User,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

MAXIMUM_SIZE = 1 << 20
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}", re.ASCII)


def place(spec: ContainerSpec, user: User) -> tuple[Path, tuple[SecretMount, ...]]:
    """Copy the secrets of one container; return its new directory and what to mount."""
    if not spec.secrets_dir:
        raise EngineError(f"start {spec.name}: it has secrets but no secrets directory")
    for name in (spec.name, *(secret.name for secret in spec.secrets)):
        if not _FILE_NAME.fullmatch(name):
            raise EngineError(f"start {spec.name}: {name!r} cannot be a file name")
    directory = Path(spec.secrets_dir) / f"{spec.name}.{randomness.token_hex(4)}"
    try:
        _private_directory(Path(spec.secrets_dir))
        directory.mkdir(mode=0o700)
        return directory, tuple(_copy(secret, directory, user) for secret in spec.secrets)
    except OSError as error:
        discard(directory)
        raise EngineError(
            f"start {spec.name}: place its secrets in {directory}: "
            f"{error.strerror}: {error.filename}"
        ) from error
    except EngineError:
        discard(directory)
        raise


def discard(directory: Path) -> None:
    """Remove a directory that place() made."""
    shutil.rmtree(directory, ignore_errors=True)


def discard_mounted(sources: Collection[str], container_name: str) -> None:
    """Remove the copies a container had, by its mounts, and nothing that does not look ours."""
    for source in sources:
        directory = Path(source).parent
        if not directory.name.startswith(f"{container_name}."):
            continue
        try:
            found = directory.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077:
            discard(directory)


def entries(secrets_dir: str) -> list[Path]:
    """Return what lies there."""
    try:
        return sorted(Path(secrets_dir).iterdir())
    except OSError:
        return []


def sweep(secrets_dir: str, in_use: Collection[str], *, look: bool = False) -> tuple[str, ...]:
    """Remove copies that no container mounts (left by a killed start); return their names."""
    used = {str(Path(source).parent) for source in in_use}
    left = [
        entry for entry in entries(secrets_dir) if str(entry) not in used and not entry.is_symlink()
    ]
    for entry in left if not look else ():
        discard(entry)
    return tuple(entry.name for entry in left)


def _private_directory(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
        raise EngineError(f"{path} must be a directory of our own with mode 0700")


def _copy(secret: SecretFile, directory: Path, user: User) -> SecretMount:
    content = _read(secret)
    target = directory / secret.name
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    try:
        os.fchmod(descriptor, 0o400)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fchown(descriptor, user.uid, user.gid)
    finally:
        os.close(descriptor)
    return SecretMount(secret.name, str(target))


def _read(secret: SecretFile) -> bytes:
    descriptor = os.open(secret.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise EngineError(f"secret {secret.name}: {secret.source} is not a plain file")
        if found.st_size > MAXIMUM_SIZE:
            raise EngineError(f"secret {secret.name}: {secret.source} is larger than 1 MB")
        return _read_all(descriptor)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    parts: list[bytes] = []
    while part := os.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)
