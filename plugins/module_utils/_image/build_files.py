# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a build sees and an image need not have: contexts, plays, inputs; private, no stability promised.

They are locked like every other input, and a build gets copies of exactly what was locked, never the folder itself.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_file
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import (
    FileInput,
    changed_meanwhile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe

CONTEXT, PLAY, INPUTS = "context", "play", "inputs"
IGNORE_FILE = ".dockerignore"
_NEVER = frozenset({".git", "__pycache__", ".DS_Store"})


@dataclass(frozen=True)
class _Ignored:
    """One line of a .dockerignore: what it matches, and whether that is left out or brought back."""

    pattern: re.Pattern[str]
    leave_out: bool


def scan_build(recipe: Recipe) -> tuple[FileInput, ...]:
    """Return every file that the build of a recipe sees, by the place it sees it at."""
    build = recipe.build
    found: list[FileInput] = []
    if build.docker is not None:
        found += _scan_context(recipe, build.docker.path)
    if build.play is not None:
        found += _scan_folder(recipe, build.play.folder, PLAY, "play.playbook")
        wanted = f"{PLAY}/{os.path.basename(build.play.playbook)}"
        if wanted not in {item.path for item in found}:
            where = os.path.join(recipe.context, build.play.playbook)
            raise InvalidInput("play.playbook", where, "is not a plain file inside the context")
    for number, path in enumerate(build.inputs):
        found += _scan_input(recipe, path, f"inputs[{number}]")
    by_path = {item.path: item for item in found}
    if len(by_path) != len(found):
        raise InvalidInput("inputs", list(build.inputs), "must not name a file twice")
    return tuple(by_path[path] for path in sorted(by_path))


def _scan_context(recipe: Recipe, dockerfile: str) -> t.Iterator[FileInput]:
    ignored = _read_ignored(os.path.join(recipe.context, IGNORE_FILE))
    own = {recipe.path, recipe.lock_path}
    for relative in _walk(recipe.context):
        source = os.path.join(recipe.context, relative)
        if source not in own and relative != IGNORE_FILE and not is_ignored(relative, ignored):
            yield _file(recipe, source, f"{CONTEXT}/{relative}", "context")
    source = os.path.join(recipe.context, dockerfile)
    yield _file(recipe, source, "Dockerfile", "dockerfile.path")


def _scan_input(recipe: Recipe, path: str, option: str) -> t.Iterator[FileInput]:
    source = os.path.join(recipe.context, path)
    if os.path.isdir(source):
        yield from _scan_folder(recipe, path, f"{INPUTS}/{os.path.basename(path)}", option)
        return
    if not os.path.lexists(source):
        raise InvalidInput(option, source, "does not exist in the context")
    yield _file(recipe, source, f"{INPUTS}/{os.path.basename(path)}", option)


def _scan_folder(recipe: Recipe, path: str, place: str, option: str) -> t.Iterator[FileInput]:
    top = os.path.join(recipe.context, path)
    if os.path.realpath(top) != os.path.join(os.path.realpath(recipe.context), path):
        raise InvalidInput(option, top, "is not a plain folder inside the context")
    for relative in _walk(top):
        yield _file(recipe, os.path.join(top, relative), f"{place}/{relative}", option)


def _walk(top: str) -> t.Iterator[str]:
    for folder, folders, names in os.walk(top):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if name not in linked and name not in _NEVER]
        for name in [*names, *linked]:
            if name not in _NEVER:
                yield os.path.relpath(os.path.join(folder, name), top)


def _file(recipe: Recipe, source: str, path: str, option: str) -> FileInput:
    """Lock one file; a refusal names it as the recipe does, since the end of a long path would be cut off."""
    shown = os.path.relpath(source, recipe.context)
    try:
        state = os.lstat(source)
    except OSError as error:
        raise InvalidInput(option, shown, f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(state.st_mode):
        raise InvalidInput(option, shown, "is not a plain file inside the context")
    mode = 0o755 if state.st_mode & stat.S_IXUSR else 0o644
    return FileInput(path, mode, sha256_file(source), source)


def _read_ignored(path: str) -> list[_Ignored]:
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8") as stream:
        return ignored_by(stream.read())


def ignored_by(text: str) -> list[_Ignored]:
    """Return the patterns of a .dockerignore; the last one that matches a path decides."""
    found = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        leave_out = not line.startswith("!")
        path = os.path.normpath(line.lstrip("!").strip()).strip("/")
        found.append(_Ignored(_pattern(path), leave_out))
    return found


def _pattern(path: str) -> re.Pattern[str]:
    """Return a pattern for a path and for everything below it."""
    parts = []
    for part in re.split(r"(\*\*/?|\*|\?|\[[^]]+\])", path):
        if part.startswith("**"):
            parts.append(".*" if part == "**" else "(?:.*/)?")
        elif part == "*":
            parts.append("[^/]*")
        elif part == "?":
            parts.append("[^/]")
        elif len(part) > 2 and part.startswith("[") and part.endswith("]"):
            parts.append(part.replace("\\", r"\\"))
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts) + r"(?:/.*)?\Z")


def is_ignored(relative: str, ignored: t.Sequence[_Ignored]) -> bool:
    """Tell whether a path is left out of the context."""
    for item in reversed(ignored):
        if item.pattern.match(relative):
            return item.leave_out
    return False


def stage_files(files: t.Sequence[FileInput], folder: str) -> None:
    """Copy what was locked to a folder of the build's own, after checking that it still is what was locked."""
    for item in files:
        target = os.path.join(folder, item.path)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        shutil.copyfile(item.source, target, follow_symlinks=False)
        os.chmod(target, item.mode)
        if sha256_file(target) != item.sha256:
            raise changed_meanwhile(item.source)
    for parent, folders, _names in os.walk(folder):
        for name in folders:
            # Whatever the caller's mask: a step may run as somebody else.
            os.chmod(os.path.join(parent, name), 0o755)
