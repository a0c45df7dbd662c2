# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rewriting haproxy.cfg: locked, validated, atomic; private, no stability promised."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)

VALID = ".valid"
"""Suffix of the file that remembers the shapes HAProxy has accepted."""
_REMEMBERED = 64

Validator = Callable[[Path], None]
"""Raises INVALID_CONFIG when HAProxy would not start with that file."""


class ConfigFile:
    """One haproxy.cfg that several processes may rewrite, each its own part."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        validate: Validator,
        *,
        shape: Callable[[str], str] | None = None,
        patience: float = 60.0,
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._validate = validate
        self._shape = shape
        self._patience = patience

    def beside(self, name: str) -> ConfigFile:
        """Return another file of its folder, which HAProxy has nothing to say about."""
        return ConfigFile(str(self.path.with_name(name)), self._clock, accept_all)

    def update(self, rewrite: Callable[[str], str], *, default: str | None = None) -> bool:
        """Replace the file by what C(rewrite) makes of it, locked; return whether bytes changed."""
        with self.locked():
            self._sweep()
            before = self._read(default)
            after = rewrite(before)
            if after == before and self.path.exists():
                return False
            self._replace(after)
            return True

    def read(self) -> str:
        """Return the file as it is now."""
        return self._read(None)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude threads and processes alike: each holder opens the lock file anew."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            handle = os.open(lock, flags, 0o600)
        except OSError as failure:
            raise self._failed(f"cannot open its lock {lock.name}", failure) from failure
        try:
            self._acquire(handle)
            yield
        finally:
            os.close(handle)

    def _acquire(self, handle: int) -> None:
        deadline = self._clock.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as failure:
                if failure.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                    raise self._failed("cannot lock it", failure) from failure
            if self._clock.monotonic() >= deadline:
                raise LoadBalancerError(
                    Kind.PERSIST_FAILED,
                    f"{self.path}: another process has held its lock for {self._patience:g} s",
                )
            self._clock.sleep(0.01)

    def _read(self, default: str | None) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError as failure:
            if default is not None:
                return default
            raise self._failed("cannot read it", failure) from failure
        except (OSError, UnicodeDecodeError) as failure:
            raise self._failed("cannot read it", failure) from failure

    def _sweep(self) -> None:
        """Remove what a process that was killed while it wrote has left: nobody else writes now."""
        for name in (f".{self.path.name}.new", f".{self.path.name}{VALID}.new"):
            try:
                self.path.with_name(name).unlink(missing_ok=True)
            except OSError as failure:
                raise self._failed(f"cannot remove {name}", failure) from failure

    def _replace(self, text: str) -> None:
        """Write beside the file, validate, rename: the file is whole and valid at any moment."""
        draft = self.path.with_name(f".{self.path.name}.new")
        try:
            self._write(draft, text)
            self._validate_shape(draft, text)
            os.replace(draft, self.path)
            _sync_directory(self.path.parent)
        except OSError as failure:
            raise self._failed("cannot write it", failure) from failure
        finally:
            draft.unlink(missing_ok=True)

    def _validate_shape(self, draft: Path, text: str) -> None:
        """Ask HAProxy, unless it has accepted a file that differs only in names and numbers of ours.

        Asking takes a quarter of a second in a container, and a release writes the file several times.
        """
        if self._shape is None:
            self._validate(draft)
            return
        digest = hashlib.sha256(self._shape(text).encode()).hexdigest()
        known = self.path.with_name(f".{self.path.name}{VALID}")
        accepted = known.read_text().split() if known.exists() else []
        if digest in accepted:
            return
        self._validate(draft)
        kept = "\n".join([*accepted[1 - _REMEMBERED :], digest]) + "\n"
        fresh = known.with_name(f"{known.name}.new")
        self._write(fresh, kept)
        os.replace(fresh, known)

    def _write(self, draft: Path, text: str) -> None:
        draft.unlink(missing_ok=True)
        mode, owner = self._mode_and_owner()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
            os.fchmod(out.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(out.fileno(), *owner)
            out.flush()
            os.fsync(out.fileno())

    def _mode_and_owner(self) -> tuple[int, tuple[int, int]]:
        """Return those of the file, or for a new one those its directory suggests."""
        try:
            found = os.stat(self.path)
            return stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        except FileNotFoundError:
            parent = os.stat(self.path.parent)
            return 0o640, (parent.st_uid, parent.st_gid)

    def _failed(self, what: str, failure: Exception) -> LoadBalancerError:
        reason = (
            failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
        )
        return LoadBalancerError(Kind.PERSIST_FAILED, f"{self.path}: {what}", reason)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def accept_all(_draft: Path) -> None:
    """Validate nothing: the caller was told so explicitly."""


def validate_on_host(draft: Path) -> None:
    """Let the host's own HAProxy read the draft."""
    binary = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise LoadBalancerError(
            Kind.INVALID_CONFIG,
            "no haproxy on this host to validate the configuration with; name the container it"
            " runs in (container) or set validate to false",
        )
    done = subprocess.run(
        [binary, "-c", "-f", str(draft)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise rejected(draft, done.stdout + done.stderr)


def rejected(draft: Path, answer: str) -> LoadBalancerError:
    """Make the error for a draft that HAProxy refuses, naming the file that was to be replaced."""
    alerts = "\n".join(line for line in answer.splitlines() if not line.startswith("[NOTICE]"))
    name = draft.name.removeprefix(".").removesuffix(".new")
    return LoadBalancerError(
        Kind.INVALID_CONFIG,
        f"HAProxy rejects the new {draft.with_name(name)}, which was left as it is",
        alerts,
    )
