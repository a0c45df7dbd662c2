# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled once for each host, not in each call; private, no stability promised.

Ansible sends a module and what it imports as sources in a zip file, and Python compiles every file of a zip anew, even
twice (CPython's zipimport compiles a module to find its file name, and again to run it). For a module that imports
fifty files that is a third of its time. So the first call leaves the collection's part of the zip with its bytecode in
a cache folder, and later calls import from there. Its name is the hash of what the zip's directory says of each source,
name, size and CRC, so that a call that finds everything unpacks nothing; the folder is the user's alone. Where it is
can be said in the environment that the module finds on its host.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile

PACKAGE = __name__.rpartition(".")[0]
FOLDER = "~/.cache/immutable-cutover/bytecode"
VARIABLE = "IMMUTABLE_CUTOVER_BYTECODE"
UNUSED = 7 * 86400
"""Seconds after which sources that no call used are removed; a call that lasts finds its own until it ends."""


def use_cache(folder: str = "") -> None:
    """Have what is imported from now on come from the cache; without a zip or a private folder, change nothing."""
    archive = getattr(globals().get("__loader__"), "archive", "")
    if archive:
        folder = folder or os.environ.get(VARIABLE) or FOLDER
        with contextlib.suppress(OSError):
            _redirect(archive, _filled(archive, os.path.expanduser(folder)))


def _redirect(archive: str, root: str) -> None:
    """Point every package of ours that is imported already to the same folder below the cache."""
    for name, module in list(sys.modules.items()):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            paths = getattr(module, "__path__", None)
            if paths is not None:
                module.__path__ = [path.replace(archive, root, 1) for path in paths]


def _filled(archive: str, folder: str) -> str:
    """Return the folder of exactly these sources, compiled; made if it is not there."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if os.path.islink(folder) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError(f"{folder}: others could write there")
    prefix = PACKAGE.replace(".", "/") + "/"
    with zipfile.ZipFile(archive) as opened:
        sources = sorted(
            (found.filename, found.file_size, found.CRC)
            for found in opened.infolist()
            if found.filename.startswith(prefix)
        )
        name = hashlib.sha256(f"{sys.version} {sources}".encode()).hexdigest()[:40]
        root = os.path.join(folder, name)
        if not os.path.isdir(root):
            _fill({source[0]: opened.read(source[0]) for source in sources}, folder, root)
    os.utime(root)
    _prune(folder, os.path.getmtime(root))
    return root


def _fill(sources: dict[str, bytes], folder: str, root: str) -> None:
    """Write and compile into a folder of its own that takes its name when it is complete."""
    import py_compile  # once for each host

    work = tempfile.mkdtemp(dir=folder, prefix="new-")
    try:
        for name, data in sources.items():
            path = os.path.join(work, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(data)
            py_compile.compile(
                path,
                dfile=os.path.join(root, name),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        with contextlib.suppress(OSError):  # another call was quicker
            os.rename(work, root)
    except py_compile.PyCompileError as error:
        raise OSError(str(error)) from error  # the import that follows says more of it
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _prune(folder: str, now: float) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if now - os.path.getmtime(path) > UNUSED:
            shutil.rmtree(path, ignore_errors=True)
