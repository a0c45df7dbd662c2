# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fetch phase as its module sees it, with a registry to ask first; private, no stability promised."""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import BakeInputs
from ansible_collections.immutable.cutover.plugins.module_utils._image.front import (
    FETCH_SPEC,
    Params,
    fetch_images,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    REGISTRY_SPEC,
    registry_options,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store

FETCH_FROM_SPEC: dict[str, t.Any] = {
    **FETCH_SPEC,
    "registry": {"type": "dict", "options": REGISTRY_SPEC},
    "repository_prefix": {"type": "str", "default": ""},
}


def fetch_from(params: Params, check: bool) -> dict[str, t.Any]:
    """Fetch, from a registry what that has."""
    if not params["registry"]:
        return fetch_images(params, check)
    place = registry_options(params["registry"])
    # What only fetches from archives needs none of this.
    from ansible_collections.immutable.cutover.plugins.module_utils._image.inputs_artifact import (
        take_back,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._image.push_front import (
        repository_of,
        repository_prefix,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry

    prefix, registry = repository_prefix(params["repository_prefix"]), Registry(place)
    store = Store(params["store"])

    def first(item: BakeInputs) -> None:
        take_back(item.lock, store, registry, repository_of(prefix, item.recipe.name))

    return fetch_images(params, check, first)
