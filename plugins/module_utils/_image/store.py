# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locked inputs on disk, by their hash; private, no stability promised."""

from __future__ import annotations

import os
import shutil
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_file
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    DebLock,
    Lock,
    WheelLock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe

ETC_APT = "/etc/apt"
DEFAULT_STORE = "~/.cache/immutable-cutover/store"
_NAMED = 5


class Store:
    """A folder of files named by their sha256; a file of another content never gets in or out."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self.folder = os.path.join(self.root, "sha256")

    def path(self, digest: str) -> str:
        """Return where the content of this hash is or would be."""
        return os.path.join(self.folder, digest)

    def has(self, digest: str) -> bool:
        """Tell whether the content is here."""
        return os.path.isfile(self.path(digest))

    def verified(self, digest: str, name: str) -> str:
        """Return the path of a content after checking it is still what its name says."""
        path = self.path(digest)
        if not self.has(digest):
            raise CutoverError(f"{name}: not in the store {self.root}; fetch it first")
        found = sha256_file(path)
        if found != digest:
            raise CutoverError(f"{name}: hash mismatch: expected {digest} got {found}", path=path)
        return path

    def workspace(self) -> t.ContextManager[str]:
        """Return a folder on the same file system, for downloads that may turn out wrong."""
        # Only a fetch needs it, and every call that finds all baked imports this file.
        from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
            work_folder,
        )

        os.makedirs(self.folder, exist_ok=True)
        return work_folder("fetch-", self.root)

    def adopt(self, path: str, digest: str, name: str) -> None:
        """Move a download in if it is what was locked."""
        if os.path.islink(path):
            # apt links to the files of a source that is a folder; the store must outlive that folder.
            path = shutil.copyfile(path, f"{path}.copy")
        found = sha256_file(path)
        if found != digest:
            raise CutoverError(f"{name}: hash mismatch: expected {digest} got {found}")
        os.chmod(path, 0o644)
        os.replace(path, self.path(digest))


@dataclass(frozen=True)
class Missing:
    """Locked inputs that are not in the store."""

    debs: tuple[DebLock, ...]
    wheels: tuple[WheelLock, ...]

    @property
    def names(self) -> list[str]:
        """Return them as a person knows them."""
        return [deb.name for deb in self.debs] + [wheel.filename for wheel in self.wheels]


def missing_inputs(lock: Lock, store: Store) -> Missing:
    """Return what a bake of this lock would still have to fetch."""
    return Missing(
        tuple(deb for deb in lock.apt if not store.has(deb.sha256)),
        tuple(wheel for wheel in lock.python if not store.has(wheel.sha256)),
    )


def require_fetched(recipe: Recipe, lock: Lock, store: Store) -> None:
    """Fail, naming every locked input that the store lacks: who bakes without a network fetches before."""
    names = missing_inputs(lock, store).names
    if names:
        raise CutoverError(
            f"{recipe.tag}: {len(names)} locked inputs are not in the store {store.root}: "
            f"{_shortened(names)}; run the phase fetch (module image_fetch) first",
            missing=names,
        )


def _shortened(names: t.Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
