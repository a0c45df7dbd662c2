# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locked inputs on disk, by their hash; private, no stability promised."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import tempfile
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.apt import (
    ETC_APT,
    Apt,
    host_sources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_file
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    DebLock,
    Lock,
    WheelLock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe

DEFAULT_STORE = "~/.cache/immutable-cutover/store"
_DOWNLOADS = 6
_TIMEOUT = 120
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

    def workspace(self) -> tempfile.TemporaryDirectory[str]:
        """Return a folder on the same file system, for downloads that may turn out wrong."""
        os.makedirs(self.folder, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self.root, prefix="fetch-")

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


def fetch(
    recipe: Recipe, lock: Lock, store: Store, run: Run, apt_sources: str = ETC_APT
) -> list[str]:
    """Bring every locked input into the store; return the names of what was missing."""
    missing = missing_inputs(lock, store)
    if not missing.names:
        return []
    with store.workspace() as folder:
        if missing.debs:
            sources = host_sources(recipe.suite, apt_sources)
            _fetch_debs(
                Apt(os.path.join(folder, "apt"), sources, lock.arch, run), missing.debs, store
            )
        if missing.wheels and recipe.python is not None:
            from ansible_collections.immutable.cutover.plugins.module_utils._image.wheels import (
                locate_wheels,
            )

            urls = locate_wheels(missing.wheels, recipe.python.version, lock.arch, run)
            _fetch_wheels(missing.wheels, urls, store, folder)
    return missing.names


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


def _fetch_debs(apt: Apt, debs: t.Sequence[DebLock], store: Store) -> None:
    downloads = os.path.join(apt.root, "debs")
    os.makedirs(downloads)
    failure = apt.download(debs, downloads)
    for deb in debs:
        path = os.path.join(downloads, deb.sha256)
        if not os.path.exists(path):
            raise CutoverError(
                f"{deb.name}={deb.version}: no apt source of this host has {deb.path} "
                f"with sha256 {deb.sha256}; lock again with upgrade",
                answer=failure,
            )
        store.adopt(path, deb.sha256, deb.name)


def _fetch_wheels(
    wheels: t.Sequence[WheelLock], urls: t.Mapping[str, str], store: Store, folder: str
) -> None:
    def one(wheel: WheelLock) -> None:
        url = urls.get(wheel.filename)
        if url is None:
            raise CutoverError(f"{wheel.name}=={wheel.version} not in index: no {wheel.filename}")
        path = os.path.join(folder, wheel.sha256)
        _download(url, path, wheel.filename)
        store.adopt(path, wheel.sha256, wheel.filename)

    with concurrent.futures.ThreadPoolExecutor(_DOWNLOADS) as pool:
        for done in [pool.submit(one, wheel) for wheel in wheels]:
            done.result()


def _download(url: str, path: str, name: str) -> None:
    # Importing this takes as long as baking what is there: only a download needs it.
    from ansible.module_utils.urls import open_url

    try:
        with open_url(url, timeout=_TIMEOUT) as answer, open(path, "wb") as stream:
            shutil.copyfileobj(answer, stream)
    except OSError as error:
        raise CutoverError(f"{name}: download failed: {error}") from error
