# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own files on a target host: private folders, whole files or none; private, no stability promised.

Nothing here decides what happens at a cutover: the truth is what the engine and the load balancer show.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    StateError,
    WaitTimeout,
)

DEFAULT_STATE_DIR = "/var/lib/immutable-cutover"
SCHEMA = 1


def private_folder(*parts: str) -> str:
    """Make a folder that only its owner may enter, refusing a link or somebody else's folder."""
    path = os.path.join(*parts)
    try:
        _make_private(path)
        found = os.lstat(path)
    except OSError as error:
        raise StateError(f"{path}: cannot make the state folder: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{path}: the state folder is not a plain folder")
    if found.st_uid != os.geteuid():
        raise StateError(f"{path}: the state folder belongs to uid {found.st_uid}, not to us")
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o700)
    return path


def _make_private(path: str) -> None:
    """Make a folder and its missing parents, all with mode 0700; C(os.makedirs) gives that to the last one only."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        _make_private(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode=0o700)


def read_json(path: str) -> dict[str, object] | None:
    """Read one of our files; None when it is absent, StateError when it cannot be trusted."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as stream:
            data = json.load(stream)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot be read: {error}; nothing was changed") from error
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise StateError(f"{path}: is not one of our state files; nothing was changed")
    if data["schema"] > SCHEMA:
        raise StateError(
            f"{path}: state schema {data['schema']}, this collection knows <= {SCHEMA}; nothing was changed"
        )
    return data


def write_json(path: str, data: Mapping[str, object]) -> None:
    """Replace a file so that a crash leaves the old or the new one, never half."""
    try:
        _replace(path, data)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror}") from error


def _replace(path: str, data: Mapping[str, object]) -> None:
    temporary = f"{path}.new.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as stream:
        json.dump({"schema": SCHEMA, **data}, stream, sort_keys=True, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def file_lock(path: str, *, shared: bool, clock: Clock, timeout: float = 120) -> Iterator[None]:
    """Hold a lock that the kernel frees when this process ends, however it ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"{path}: cannot open the lock file: {error.strerror}") from error
    try:
        _lock(descriptor, path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, clock, timeout)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str, kind: int, clock: Clock, timeout: float) -> None:
    deadline = clock.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{path}: a step of another run holds this lock for over {timeout:g} s"
                ) from None
            clock.sleep(0.02)
        except OSError as error:
            raise StateError(f"{path}: this file system has no locks: {error.strerror}") from error
        else:
            return
