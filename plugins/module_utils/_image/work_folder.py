# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders for the time of some work, gone afterwards even if the work is killed; private, no stability promised."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.build_owner import (
    is_dead,
    this_process,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    sha256_bytes,
)

# The name itself says whose a folder is, so that there is no moment at which it is nobody's. It is short, because apt
# makes the name of one file of the whole path of a repository.
_NAME = re.compile(r"\A[a-z.-]+-([0-9a-f]{8})\.(\d+)\.(\d+)\.\w+\Z")


@contextlib.contextmanager
def work_folder(prefix: str, parent: str | None = None) -> t.Iterator[str]:
    """Make a folder, and take away what killed processes of this boot and container left beside it."""
    where = parent or tempfile.gettempdir()
    _sweep(where)
    namespace, pid, started = this_process().split(" ")
    name = f"{prefix}{_short(namespace)}.{pid}.{started}."
    with tempfile.TemporaryDirectory(prefix=name, dir=where) as folder:
        yield folder


def _short(namespace: str) -> str:
    return sha256_bytes(namespace.encode())[:8]


def _sweep(where: str) -> None:
    namespace = this_process().partition(" ")[0]
    for name in os.listdir(where):
        match = _NAME.match(name)
        path = os.path.join(where, name)
        if not match or match[1] != _short(namespace) or not _is_own(path):
            continue
        if is_dead(f"{namespace} {match[2]} {match[3]}"):
            shutil.rmtree(path, ignore_errors=True)


def _is_own(path: str) -> bool:
    """Tell whether it is a folder of this user; in a place for everybody anyone may give a name."""
    try:
        state = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
