# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root file system from exactly the locked packages, without a network; private, no stability promised."""

from __future__ import annotations

import concurrent.futures
import os
import shutil

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Layer,
    normalise,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import DebLock, Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import (
    Run,
    find_tool,
    without_network,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store

_PACKAGE = "mmdebstrap (Debian package mmdebstrap; the role bake installs it)"
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
)
# Packages of a merged-/usr suite refuse to be unpacked before the links exist.
_SETUP = """#!/bin/sh
set -e
for folder in bin sbin lib lib64; do
    mkdir -p "$1/usr/$folder"
    ln -s "usr/$folder" "$1/$folder"
done
"""


def bootstrap(suite: str, lock: Lock, store: Store, folder: str, run: Run) -> Layer:
    """Install the locked packages into an empty root and return it as one layer."""
    repository = os.path.join(folder, "repository")
    if os.geteuid() != 0:
        # Others' files need more user IDs than a namespace of one user without a network has.
        raise CutoverError(
            f"installing packages (bootstrap) must have no network and many users' files: bake this base as root, "
            f"not as user {os.geteuid()}"
        )
    _write_repository(suite, lock, store, repository, run)
    setup = os.path.join(folder, "setup.sh")
    with open(setup, "w", encoding="utf-8") as stream:
        stream.write(_SETUP)
    os.chmod(setup, 0o755)
    raw = os.path.join(folder, "root.tar")
    work = os.path.join(folder, "work")
    os.makedirs(work)
    run(_command(suite, lock, repository, setup, raw), _environment(lock.epoch, work))
    return normalise(raw, os.path.join(folder, "layer.tar"), lock.epoch)


def _environment(epoch: int, work: str) -> dict[str, str]:
    return {
        "SOURCE_DATE_EPOCH": str(epoch),
        "TMPDIR": work,
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
    }


def _command(suite: str, lock: Lock, repository: str, setup: str, raw: str) -> list[str]:
    return [
        *without_network("installing packages"),
        find_tool("mmdebstrap", _PACKAGE),
        "--quiet",
        "--variant=essential",
        f"--architectures={lock.arch}",
        f'--setup-hook={setup} "$1"',
        f"--include={','.join(deb.name for deb in lock.apt)}",
        *[f"--dpkgopt={option}" for option in _DPKG_OPTIONS],
        suite,
        raw,
        f"deb [trusted=yes] copy:{repository} ./",
    ]


def _write_repository(suite: str, lock: Lock, store: Store, repository: str, run: Run) -> None:
    os.makedirs(repository)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        paragraphs = list(pool.map(lambda deb: _add_package(deb, store, repository, run), lock.apt))
    packages = "\n".join(paragraphs).encode()
    with open(os.path.join(repository, "Packages"), "wb") as stream:
        stream.write(packages)
    release = f"Suite: {suite}\nCodename: {suite}\nSHA256:\n"
    release += f" {sha256_bytes(packages)} {len(packages)} Packages\n"
    with open(os.path.join(repository, "Release"), "w", encoding="utf-8") as release_stream:
        release_stream.write(release)


def _add_package(deb: DebLock, store: Store, repository: str, run: Run) -> str:
    stored = store.verified(deb.sha256, deb.name)
    filename = f"{deb.sha256}.deb"
    _link_or_copy(stored, os.path.join(repository, filename))
    control = run([find_tool("dpkg-deb", "dpkg"), "--field", stored], {"LC_ALL": "C.UTF-8"})
    fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line[1:])
    if (fields.get("Package"), fields.get("Version")) != (deb.name, deb.version):
        raise CutoverError(
            f"{deb.name}={deb.version}: the file is {fields.get('Package')}={fields.get('Version')}"
        )
    return (
        f"{control.rstrip()}\nFilename: ./{filename}\n"
        f"Size: {os.stat(stored).st_size}\nSHA256: {deb.sha256}\n"
    )


def _link_or_copy(source: str, dest: str) -> None:
    try:
        os.link(source, dest)
    except OSError:
        shutil.copyfile(source, dest)
