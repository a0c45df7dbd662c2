#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proof that an image is what its recipe and lock say."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_verify
short_description: Bake images again and name the first difference
version_added: 0.1.0
description:
  - Bakes each recipe again from its lock and O(store) in a temporary folder where nothing of it is, and compares every
    layer, the configuration and both digests with what O(output) has. What is stored is compared byte for byte, so a
    damaged layer is found, too.
  - A difference is a failure. It names the first one, a path in a layer or a key of the configuration.
  - Changes nothing and uses no network. Every input must be in O(store), see M(immutable.cutover.image_fetch). Recipes
    that run something are built again on O(engine), which keeps nothing of it.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes.info_module
  - immutable.cutover._build
  - immutable.cutover._build.backend
  - immutable.cutover._engine
  - immutable.cutover._image
options:
  store:
    description: Folder with the fetched inputs, each named by its sha256.
    type: path
    default: ~/.cache/immutable-cutover/store
seealso:
  - module: immutable.cutover.image
  - module: immutable.cutover.image_fetch
"""

EXAMPLES = r"""
- name: Prove that the images are what their recipes say
  immutable.cutover.image_verify:
    recipes:
      - recipes/base/bake.yml
      - shop/bake.yml

- name: Prove that it does not matter what bakes an app
  immutable.cutover.image_verify:
    recipes: [shop/bake.yml]
    backend: "{{ item }}"
  loop: [run, dockerfile]
"""

RETURN = r"""
images:
  description: One entry for each recipe, in the order given.
  returned: always, unless a recipe could not be baked again
  type: list
  elements: dict
  contains:
    tag:
      description: Name and version.
      type: str
    reference:
      description: What O(output) has.
      type: str
    again:
      description: What the second bake gave.
      type: str
    same:
      description: Whether nothing differs.
      type: bool
    difference:
      description: The first difference, with the layer and the path in it, or the key of the configuration. Empty if
        there is none.
      type: str
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._image.reproduce_front import (
        VERIFY_SPEC,
        verify_images,
    )

    return VERIFY_SPEC, lambda params, check: verify_images(params)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
