# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bake has to know about building before anything is built; private, no stability promised.

Most bakes build nothing: this imports nothing that only builds need.
"""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import FileInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.making import Builder

# What bakes: what the recipe asks for, or, if it only adds files, an engine for comparison.
BACKENDS = ("auto", "run", "dockerfile")


def build_files_of(recipe: Recipe) -> tuple[FileInput, ...]:
    """Return every file that the build of a recipe sees; none if it builds nothing."""
    if not recipe.build.purpose:
        return ()
    from ansible_collections.immutable.cutover.plugins.module_utils._image.build_files import (
        scan_build,
    )

    return scan_build(recipe)


def refuse_build(recipe: Recipe, builder: Builder) -> None:
    """Refuse, before anything is changed, what a build would be lacking."""
    if recipe.build.secrets:
        from ansible_collections.immutable.cutover.plugins.module_utils._image.build_secrets import (
            read_secrets,
        )

        read_secrets(recipe.build.secrets, builder.secrets, recipe.tag)
    if builder.backend != BACKENDS[0] and (recipe.build.purpose or recipe.kind != "app"):
        rule = f"must be {BACKENDS[0]} for {recipe.tag}: no other can do what it asks for"
        raise InvalidInput("backend", builder.backend, rule)
