# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring locked inputs into the store; only what has to download imports this. Private, no stability promised."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import typing as t

from ansible.module_utils.urls import open_url

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.apt import (
    Apt,
    host_sources,
    received_instead,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    DebLock,
    Lock,
    WheelLock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import (
    ETC_APT,
    Store,
    missing_inputs,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.wheels import locate_wheels

_DOWNLOADS = 6
_TIMEOUT = 120


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
            urls = locate_wheels(missing.wheels, recipe, lock.arch, run)
            _fetch_wheels(missing.wheels, urls, store, folder)
    return missing.names


def _fetch_debs(apt: Apt, debs: t.Sequence[DebLock], store: Store) -> None:
    downloads = os.path.join(apt.root, "debs")
    os.makedirs(downloads)
    failure = apt.download(debs, downloads)
    for deb in debs:
        path = os.path.join(downloads, deb.sha256)
        other = received_instead(failure, deb.sha256)
        if not os.path.exists(path) and other:
            raise CutoverError(
                f"{deb.name}={deb.version}: hash mismatch: expected {deb.sha256} got {other}: an apt source of this "
                f"host has another file as {deb.path}",
                answer=failure,
            )
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
    try:
        with open_url(url, timeout=_TIMEOUT) as answer, open(path, "wb") as stream:
            shutil.copyfileobj(answer, stream)
    except OSError as error:
        raise CutoverError(f"{name}: download failed: {error}") from error
