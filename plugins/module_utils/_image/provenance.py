# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provenance of an image: in-toto Statement v1 with the SLSA predicate v1; private, no stability promised.

Every input by its digest, and no clock: the same image from the same commit has the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import LABEL
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.sbom import (
    Distribution,
    deb_purl,
    distribution,
    wheel_purl,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.statement import statement

PROVENANCE_TYPE = "application/vnd.in-toto+json"
SLSA = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:immutable-cutover:bake:1"
BUILDER = "urn:immutable-cutover:image"


@dataclass(frozen=True)
class Source:
    """The last commit that touched a recipe's inputs, empty outside of git; dirty if they differ from it."""

    commit: str = ""
    dirty: bool = False

    def __str__(self) -> str:
        if not self.commit:
            return "not in git"
        return f"commit {self.commit}, changed since" if self.dirty else f"commit {self.commit}"


def provenance(output: Output, record: BakeRecord, recipe: Recipe, source: Source) -> bytes:
    """Return the provenance of an image in this folder."""
    lock = output.lock_of(record)
    distro = distribution(output.layout, record) if lock.apt else Distribution("")
    return statement(
        record,
        SLSA,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"recipe": recipe.baked_content},
                "internalParameters": {"arch": lock.arch, "epoch": lock.epoch},
                "resolvedDependencies": [
                    *_bases(output, lock, recipe),
                    *_dependencies(lock, distro, source),
                ],
            },
            "runDetails": {"builder": {"id": BUILDER}},
        },
    )


def source_of(recipe: Recipe) -> Source:
    """Return what git knows about the files of a recipe; what others commit beside them does not matter."""
    folder = os.path.dirname(recipe.path)
    paths = _paths(recipe)
    commit = _git(folder, "log", "-1", "--format=%H", "--", *paths)
    if not commit:
        return Source()
    changed = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", *paths)
    if changed is None:
        raise StateError(f"{recipe.path}: git cannot tell whether its files were changed")
    return Source(commit, bool(changed))


def _paths(recipe: Recipe) -> list[str]:
    paths = [recipe.path, recipe.lock_path]
    paths += [os.path.join(recipe.context, rule.src) for rule in recipe.files]
    paths += [os.path.join(recipe.context, path) for path in recipe.build.inputs]
    if recipe.build.play is not None:
        paths.append(os.path.join(recipe.context, recipe.build.play.folder))
    if recipe.build.docker is not None:
        paths.append(recipe.context)
    if recipe.python is not None:
        paths.append(os.path.join(recipe.context, recipe.python.requirements))
    return paths


def _git(folder: str, *arguments: str) -> str | None:
    """Return what git answers; None if there is no git, or no repository that holds all of this."""
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _bases(output: Output, lock: Lock, recipe: Recipe) -> t.Iterator[dict[str, t.Any]]:
    """Yield the image below, and the ones below the other stages of a Dockerfile."""
    if lock.base is not None:
        yield _input("base", lock.base.ref, lock.base.manifest.partition(":")[2])
    docker = recipe.build.docker
    for reference in dict.fromkeys(docker.content.origins if docker else ()):
        if lock.base is None or reference != lock.base.ref:
            manifest = output.find_reference(reference, "FROM").manifest_digest
            yield _input("stage", reference, manifest.partition(":")[2])


def _dependencies(lock: Lock, distro: Distribution, source: Source) -> t.Iterator[dict[str, t.Any]]:
    for deb in lock.apt:
        name = f"{deb.name}_{deb.version}_{deb.arch}.deb"
        yield {**_input("package", name, deb.sha256), "uri": deb_purl(deb, distro)}
    for wheel in lock.python:
        yield {**_input("wheel", wheel.filename, wheel.sha256), "uri": wheel_purl(wheel)}
    yield _input("recipe", "recipe", lock.recipe_checksum.partition(":")[2])
    yield _input("lock", "lock", sha256_bytes(lock.to_bytes()))
    if lock.files:
        listed = canonical_json([asdict(item) for item in lock.files])
        yield _input("files", "files", sha256_bytes(listed))
    if lock.build:
        listed = canonical_json([asdict(item) for item in lock.build])
        yield _input("build", "files of the build", sha256_bytes(listed))
    if source.commit:
        yield {
            "annotations": {LABEL + "input": "commit", LABEL + "dirty": source.dirty},
            "digest": {"gitCommit": source.commit},
            "name": "commit",
        }


def _input(kind: str, name: str, sha256: str) -> dict[str, t.Any]:
    return {"annotations": {LABEL + "input": kind}, "digest": {"sha256": sha256}, "name": name}
