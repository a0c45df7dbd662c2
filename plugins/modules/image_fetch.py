#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fetch phase of a bake."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_fetch
short_description: Bring the locked inputs of recipes into the content store
version_added: 0.1.0
description:
  - Downloads every OS package and wheel that the locks name and O(store) lacks, with the host's own sources, index,
    trust and proxy, and checks each by its sha256. What has another hash never gets into the store.
  - After it M(immutable.cutover.image) bakes with O(immutable.cutover.image#module:fetch=false), without a network.
  - With O(registry) what the repository of the image has of them comes from there, as M(immutable.cutover.image_push)
    with O(immutable.cutover.image_push#module:inputs=true) left it, and only the rest from an archive or index.
  - Resolves nothing. A lock that does not match its recipe is a failure.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._image
  - immutable.cutover._registry.optional
options:
  output:
    description: Not used by this module. It is there so that all phases take the same options.
  store:
    description: Folder with the fetched inputs, each named by its sha256.
    type: path
    default: ~/.cache/immutable-cutover/store
  apt_sources:
    description:
      - Folder in the form of C(/etc/apt) whose C(sources.list) and C(sources.list.d) name the archives of the packages,
        for a mirror or an archive of one's own. Of these the sources that serve the suite of the recipe are used.
    type: path
    default: /etc/apt
seealso:
  - module: immutable.cutover.image_lock
  - module: immutable.cutover.image
"""

EXAMPLES = r"""
- name: Fetch what the bakes need, while there is a network
  immutable.cutover.image_fetch:
    recipes:
      - recipes/base/bake.yml
      - shop/bake.yml

- name: Fetch what an image of last year was baked from
  immutable.cutover.image_fetch:
    recipes: [shop/bake.yml]
    registry: {host: registry.example}

- name: Show what is missing in the store
  immutable.cutover.image_fetch:
    recipes: [shop/bake.yml]
  check_mode: true
  diff: true
"""

RETURN = r"""
inputs:
  description: One entry for each recipe, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    recipe:
      description: The recipe file.
      type: str
    changed:
      description: Whether anything was missing.
      type: bool
    fetched:
      description: What was missing and is there now, or in check mode what is missing.
      type: list
      elements: str
before:
  description: What was missing for each image before, by tag.
  returned: success
  type: dict
after:
  description: The same afterwards, nothing.
  returned: success
  type: dict
actions:
  description: What was done, for a person to read.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._image.fetch_front import (
        FETCH_FROM_SPEC,
        fetch_from,
    )

    return FETCH_FROM_SPEC, fetch_from


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
