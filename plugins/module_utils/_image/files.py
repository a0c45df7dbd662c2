# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a recipe: where they come from, where they go, what they are; private, no stability promised."""

from __future__ import annotations

import fnmatch
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_file
from ansible_collections.immutable.cutover.plugins.module_utils._image.modes import apply_mode
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    FileRule,
    Recipe,
)


@dataclass(frozen=True)
class FileInput:
    """One file as it will be in the image, and where its content is now."""

    path: str
    mode: int
    sha256: str
    source: str


def changed_meanwhile(source: str) -> CutoverError:
    """Return the refusal of a file that is not what was locked any more."""
    return CutoverError(f"{source}: changed while it was read; bake again")


def scan_files(recipe: Recipe) -> tuple[FileInput, ...]:
    """Return every file the recipe names, in the order of their path in the image."""
    found: dict[str, FileInput] = {}
    for number, rule in enumerate(recipe.files):
        for item in _scan_rule(recipe.context, rule, f"files[{number}].src"):
            if item.path in found:
                raise CutoverError(f"{recipe.path}: {item.path} comes from two places")
            found[item.path] = item
    return tuple(found[path] for path in sorted(found))


def _scan_rule(context: str, rule: FileRule, option: str) -> t.Iterator[FileInput]:
    source = os.path.join(context, rule.src.rstrip("/"))
    if not os.path.lexists(source):
        raise InvalidInput(option, source, "does not exist in the context")
    if os.path.realpath(source) != os.path.join(os.path.realpath(context), rule.src.strip("/")):
        raise InvalidInput(option, source, "is not a plain file inside the context")
    if os.path.isdir(source):
        count = 0
        for relative in _walk(source, rule.exclude):
            count += 1
            yield _file(
                os.path.join(source, relative), os.path.join(rule.dest, relative), rule, option
            )
        if not count:
            raise InvalidInput(option, source, "holds no file")
    else:
        dest = rule.dest
        if dest.endswith("/"):
            dest = os.path.join(dest, os.path.basename(source))
        yield _file(source, dest, rule, option)


def _walk(top: str, exclude: tuple[str, ...]) -> t.Iterator[str]:
    for folder, folders, names in os.walk(top):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [n for n in folders if n not in linked and not _excluded(n, exclude)]
        for name in [*names, *linked]:
            if not _excluded(name, exclude):
                yield os.path.relpath(os.path.join(folder, name), top)


def _excluded(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _file(source: str, dest: str, rule: FileRule, option: str) -> FileInput:
    state = os.lstat(source)
    if not stat.S_ISREG(state.st_mode):
        raise InvalidInput(option, source, "is not a plain file inside the context")
    executable = bool(state.st_mode & stat.S_IXUSR)
    return FileInput(
        path=os.path.normpath(dest),
        mode=apply_mode(rule.mode, executable),
        sha256=sha256_file(source),
        source=source,
    )
