# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that a build sees as files, and that nothing keeps; private, no stability promised."""

from __future__ import annotations

import base64
import contextlib
import mmap
import os
import shutil
import tarfile
import tempfile
import typing as t
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_owner import (
    is_dead,
    this_process,
)

PLACE = "/run/secrets"
MEMORY = "/dev/shm"
_PREFIX, _OWNER = "immutable-cutover-secrets-", ".owner"
# Shorter ones would be found by chance.
_SHORTEST, _SHORTEST_LINE = 8, 4
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Secrets:
    """The files of a build's secrets, and the values that must not be found anywhere afterwards."""

    files: t.Mapping[str, str] = field(default_factory=dict)
    values: t.Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def scrub(self, text: str) -> str:
        """Return a text without the values of the secrets, as they are and line by line."""
        for value in self.values.values():
            for piece in sorted({value, *value.split(b"\n")}, key=len, reverse=True):
                word = piece.strip().decode("utf-8", "replace")
                if len(word) >= _SHORTEST_LINE:
                    text = text.replace(word, "********")
        return text


def read_secrets(wanted: t.Collection[str], given: t.Mapping[str, str], recipe: str) -> Secrets:
    """Read the files of the secrets that a recipe names; every name must have one."""
    values = {}
    for name in sorted(wanted):
        if not isinstance(given.get(name), str):
            rule = f"{recipe} needs this secret: must name a file on this host"
            raise InvalidInput(f"secrets.{name}", given.get(name), rule)
        values[name] = _read(name, given[name])
    return Secrets({name: os.path.abspath(given[name]) for name in values}, values)


def _read(name: str, path: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            value = stream.read(_LONGEST + 1)
    except OSError as error:
        raise InvalidInput(f"secrets.{name}", path, f"cannot be read: {error.strerror}") from error
    if not _SHORTEST <= len(value.strip()) <= _LONGEST:
        raise InvalidInput(
            f"secrets.{name}", path, f"must be a file with {_SHORTEST}-{_LONGEST} bytes"
        )
    return value


@contextlib.contextmanager
def secrets_folder(parent: str = MEMORY) -> t.Iterator[str]:
    """Make a folder for secrets, in memory if there is any to be had, and take away what killed builds left there."""
    where = parent if os.access(parent, os.W_OK) else tempfile.gettempdir()
    for name in os.listdir(where):
        if name.startswith(_PREFIX) and is_dead(_owner(os.path.join(where, name))):
            shutil.rmtree(os.path.join(where, name), ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=where) as folder:
        with open(os.path.join(folder, _OWNER), "w", encoding="utf-8") as stream:
            stream.write(this_process())
        yield folder


def _owner(folder: str) -> str:
    try:
        with open(os.path.join(folder, _OWNER), encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def stage_secrets(secrets: Secrets, folder: str) -> dict[str, str]:
    """Copy the secrets to files that only root can read; by name."""
    staged = {}
    for name, value in secrets.values.items():
        path = os.path.join(folder, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(value)
        staged[name] = path
    return staged


def refuse_secrets(secrets: Secrets, layer: str, recipe: str) -> None:
    """Refuse a layer in which the value of a secret is found, as it is or in base64, and remove it."""
    if not secrets.values:
        return
    with open(layer, "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as data:
        found = [
            (name, position)
            for name, value in secrets.values.items()
            for form in forms(value)
            if (position := data.find(form)) >= 0
        ]
    if not found:
        return
    name, position = found[0]
    path = _path_at(layer, position)
    os.unlink(layer)
    raise CutoverError(
        f"{recipe}: secret {name} would be in the image, in {path}: nothing was kept"
    )


def forms(value: bytes) -> list[bytes]:
    """Return how a value may be written: without its last newline, and as base64 of it alone."""
    plain = value.strip()
    found = [plain]
    for form in (plain, value):
        encoded = base64.b64encode(form).rstrip(b"=")
        # The last letters depend on what follows.
        found.append(encoded[: len(encoded) // 4 * 4])
    return [form for form in found if len(form) >= _SHORTEST]


def _path_at(layer: str, position: int) -> str:
    with tarfile.open(layer, "r:", encoding="utf-8") as archive:
        last = ""
        for member in archive:
            if member.offset > position:
                break
            last = member.name
    return f"/{last}"
