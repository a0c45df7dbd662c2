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

# The name itself says whose a folder is, so that there is no moment at which it is nobody's.
_OWNER = re.compile(r"\A([0-9a-f-]+)/pid:\[(\d+)\] (\d+) (\d+)\Z")
_NAME = re.compile(r"\A[a-z.-]+-([0-9a-f-]{36})\.(\d+)\.(\d+)\.(\d+)\.\w+\Z")


@contextlib.contextmanager
def work_folder(prefix: str, parent: str | None = None) -> t.Iterator[str]:
    """Make a folder, and take away what killed processes of this boot and container left beside it."""
    where = parent or tempfile.gettempdir()
    _sweep(where)
    owner = _OWNER.sub(r"\1.\2.\3.\4", this_process())
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{owner}.", dir=where) as folder:
        yield folder


def _sweep(where: str) -> None:
    for name in os.listdir(where):
        match = _NAME.match(name)
        path = os.path.join(where, name)
        if match and is_dead("{}/pid:[{}] {} {}".format(*match.groups())) and _is_own(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_own(path: str) -> bool:
    """Tell whether it is a folder of this user; in a place for everybody anyone may give a name."""
    try:
        state = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
