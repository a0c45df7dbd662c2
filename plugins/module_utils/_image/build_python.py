# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python for builds that is no part of an image; private, no stability promised.

It is the one that runs this, with everything it needs in one folder.

It is mounted read-only into build containers. It brings its own loader and libraries, so that an image may have another
C library, an older one or none, and no variable makes the image's own programs load what is here.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    locked,
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import (
    Run,
    find_tool,
)

PLACE = "/run/bake/python"
INTERPRETER = f"{PLACE}/bin/python3"
_VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_REAL = f"{PLACE}/bin/{_VERSION}.real"
_LOADER = f"{PLACE}/libs/loader"
_LEFT_OUT = shutil.ignore_patterns(
    *("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "tkinter"),
    *("turtledemo", "ensurepip", "_tkinter*", "_test*", "config-*", "*.opt-?.pyc", "*.a"),
)
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_IS_LOADER = re.compile(r"/ld[-.][^/]*\.so[^/]*\Z")


def command(*arguments: str) -> list[str]:
    """Return the words that start this Python in a build container, whatever its image has."""
    libraries = ["--library-path", f"{PLACE}/libs", "--argv0", INTERPRETER]
    return [_LOADER, *libraries, _REAL, "-B", *arguments]


def build_python(root: str, run: Run) -> str:
    """Return the folder to be mounted; it is made once for each Python of the host."""
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    state = os.stat(executable)
    key = sha256_bytes(f"1 {executable} {sys.version} {state.st_mtime_ns}".encode())[:16]
    parent = os.path.join(os.path.abspath(os.path.expanduser(root)), "build-python")
    folder = os.path.join(parent, key)
    os.makedirs(parent, exist_ok=True)
    with locked(os.path.join(parent, ".lock")):
        if not os.path.isdir(folder):
            fresh = f"{folder}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            _collect(executable, fresh, run)
            os.rename(fresh, folder)
    return folder


def _collect(executable: str, folder: str, run: Run) -> None:
    for name in ("bin", "libs", "lib"):
        os.makedirs(os.path.join(folder, name), mode=0o755)
    shutil.copy2(executable, os.path.join(folder, "bin", f"{_VERSION}.real"))
    stdlib = os.path.join(folder, "lib", _VERSION)
    shutil.copytree(
        sysconfig.get_path("stdlib"), stdlib, ignore=_LEFT_OUT, ignore_dangling_symlinks=True
    )
    modules = os.path.join(stdlib, "lib-dynload")
    binaries = [os.path.join(modules, name) for name in sorted(os.listdir(modules))]
    for path in _libraries([executable, *binaries], run):
        name = "loader" if _IS_LOADER.search(path) else os.path.basename(path)
        shutil.copy2(path, os.path.join(folder, "libs", name))
    if not os.path.exists(os.path.join(folder, "libs", "loader")):
        raise CutoverError(
            f"{executable}: names no loader; a build needs a dynamically linked Python"
        )
    interpreter = os.path.join(folder, "bin", "python3")
    with open(interpreter, "w", encoding="utf-8") as stream:
        stream.write(f'#!/bin/sh\nexec {" ".join(command())} "$@"\n')
    os.chmod(interpreter, 0o755)


def _libraries(binaries: t.Sequence[str], run: Run) -> list[str]:
    """Return every library that these need, as the host's own loader finds them."""
    printed = run([find_tool("ldd", "libc-bin"), *binaries], {"LC_ALL": "C"})
    return sorted(set(_LIBRARY.findall(printed)))
