# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes moved to a fixed base, in bulk: two lines of each recipe and its lock; private, no stability promised."""

from __future__ import annotations

import functools
import os
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import (
    Bake,
    BakeInputs,
    BakeOptions,
    BakeResult,
    read_inputs,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import write_atomic
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    BaseLock,
    recipe_hash,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
    recipe_checksum,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    parse_reference,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
        EngineImages,
    )

BUMPS = ("patch", "minor", "major")
_LINE = (
    r"(?m)^(?P<key>%s:[ \t]*)(?P<value>'[^'\n]*'|\"[^\"\n]*\"|[^ \t#\n]+)(?P<rest>[ \t]*(?:#.*)?)$"
)


@dataclass(frozen=True)
class Rebase:
    """One recipe on its way to another base: what it was, what it becomes, and the text that says so."""

    old: BakeInputs
    new: BakeInputs
    text: str


@dataclass(frozen=True)
class Rebased:
    """What became of one recipe; result is None if it was left alone, and why says why."""

    recipe: Recipe
    old: BakeRecord | None
    result: BakeResult | None
    why: str = ""


def find_base(output: Output, reference: str) -> BakeRecord:
    """Return the record of the base to move to."""
    parse_reference(reference, "base", output.known)
    record = output.find_reference(reference)
    if record.kind != "base":
        raise InvalidInput("base", reference, "must be an image of kind: base")
    return record


def plan_rebase(path: str, base: BakeRecord, output: Output, bump: str) -> Rebase | Rebased:
    """Return how a recipe moves to this base, or why it does not; changes nothing."""
    recipe = load_recipe(path)
    if recipe.kind != "app":
        return Rebased(recipe, None, None, "it is a base")
    standing = parse_reference(recipe.base, "base")
    if standing.name != base.name:
        return Rebased(recipe, None, None, f"it stands on {standing.name}")
    if recipe.build.docker is not None:
        why = f"its base is FROM in {recipe.build.docker.path}: change it there, lock and bake"
        return Rebased(recipe, output.find(recipe.name, recipe.version), None, why)
    old = read_inputs(path)
    if old.lock.base is not None and old.lock.base.manifest == base.manifest_digest:
        return Rebased(recipe, output.find(recipe.name, recipe.version), None, "it stands on it")
    version = recipe.version
    while True:
        version = bumped(version, bump)
        planned = _move(old, base, version)
        taken = output.find(recipe.name, version)
        if taken is None or taken.recipe_hash == planned.new.hash:
            return planned


def _move(old: BakeInputs, base: BakeRecord, version: str) -> Rebase:
    with open(old.recipe.path, encoding="utf-8") as stream:
        before = stream.read()
    text = _edited(old.recipe, before, {"base": base.reference, "version": version})
    recipe = _reread(old.recipe, text)
    diff_ids = tuple(layer.digest for layer in base.layers)
    lock = replace(
        old.lock,
        recipe_checksum=recipe_checksum(recipe),
        base=BaseLock(base.reference, base.manifest_digest, base.image_id, diff_ids),
    )
    return Rebase(
        old, BakeInputs(recipe, old.files, lock, recipe_hash(recipe, lock), old.build), text
    )


def _edited(recipe: Recipe, text: str, values: t.Mapping[str, str]) -> str:
    for key, value in values.items():
        found = re.findall(_LINE % key, text)
        if len(found) != 1:
            raise CutoverError(
                f"{recipe.path}: {key} is not one plain line 'key: value', so it cannot be rewritten: set it to {value}"
            )
        # A version like 1.10.0 is text, but who wrote quotes shall keep them.
        text = re.sub(_LINE % key, functools.partial(_line, value=value), text)
    return text


def _line(match: re.Match[str], *, value: str) -> str:
    quote = match["value"][0] if match["value"][0] in "'\"" else ""
    return f"{match['key']}{quote}{value}{quote}{match['rest']}"


def _reread(old: Recipe, text: str) -> Recipe:
    """Return the recipe that the edited text is, after checking that nothing else in it changed."""
    with work_folder("rebase-") as folder:
        path = os.path.join(folder, os.path.basename(old.path))
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        new = replace(load_recipe(path), path=old.path, context=old.context)
    changed = {
        key for key in {*old.content, *new.content} if old.content.get(key) != new.content.get(key)
    }
    if changed - {"base", "version"}:
        raise CutoverError(f"{old.path}: rewriting base and version would change {sorted(changed)}")
    return new


def bumped(version: str, bump: str) -> str:
    """Return the next version; what comes after a pre-release is its next one."""
    core, dash, pre = version.partition("-")
    if dash:
        head, dot, last = pre.rpartition(".")
        following = str(int(last) + 1) if last.isdigit() else f"{last}.1"
        return f"{core}-{head}{dot}{following}"
    major, minor, patch = (int(part) for part in core.split("."))
    bumps = {
        "major": f"{major + 1}.0.0",
        "minor": f"{major}.{minor + 1}.0",
        "patch": f"{major}.{minor}.{patch + 1}",
    }
    return bumps[bump]


def carry_out(
    planned: Rebase, options: BakeOptions, engine: EngineImages | None, run: Run
) -> Rebased:
    """Bake the moved recipe, and only when that is done write it and its lock."""
    output = Output(options.output)
    recipe = planned.old.recipe
    result = Bake(planned.new, options, engine, run).ensure()
    if not options.check:
        mode = os.stat(recipe.path).st_mode & 0o777
        write_atomic(recipe.path, planned.text.encode(), mode)
        write_atomic(recipe.lock_path, planned.new.lock.to_bytes())
    return Rebased(planned.new.recipe, output.find(recipe.name, recipe.version), result, result.why)
