#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was baked, and what of it is on the engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_info
short_description: List baked images and their records
version_added: 0.1.0
description:
  - Lists the images of the engine that M(immutable.cutover.image) made, by their labels, and the bake records of the
    host.
  - Changes nothing.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes.info_module
  - immutable.cutover._engine
options:
  name:
    description: List only this repository, by default all.
    type: str
    default: ''
  state_dir:
    description: Folder on the host with the records of loaded images.
    type: path
    default: /var/lib/immutable-cutover
  graph:
    description:
      - Return which images stand on which base, from the records in O(output) and O(state_dir). The engine is not asked
        then, and RV(images) is empty.
    type: bool
    default: false
  base:
    description:
      - With O(graph=true), only what stands on this base, named C(repository), C(repository:version) or
        C(repository@sha256:...). By default all.
    type: str
    default: ''
  output:
    description: Folder with everything that was baked on this host, for O(graph).
    type: path
    default: ~/.cache/immutable-cutover/images
seealso:
  - module: immutable.cutover.image
  - module: immutable.cutover.image_rebase
"""

EXAMPLES = r"""
- name: Which versions of the shop are on this host
  immutable.cutover.image_info:
    name: shop/web
  register: shop_images

- name: Show their references
  ansible.builtin.debug:
    msg: "{{ shop_images.records | map(attribute='reference') }}"

- name: Look what stands on a base that has to be fixed
  immutable.cutover.image_info:
    graph: true
    base: base/py311
  register: standing

- name: Show it
  ansible.builtin.debug:
    msg: "{{ standing.graph_lines }}"
"""

RETURN = r"""
images:
  description: What the engine has, in the order of name and version.
  returned: success
  type: list
  elements: dict
  contains:
    image_id:
      description: What the engine calls the image.
      type: str
    tags:
      description: Its human names.
      type: list
      elements: str
    name:
      description: The repository it was baked as.
      type: str
    version:
      description: The version it was baked as.
      type: str
    kind:
      description: V(base) or V(app).
      type: str
    recipe_hash:
      description: The hash of its inputs.
      type: str
    size:
      description: Bytes on the engine.
      type: int
records:
  description: The bake records of the host, as M(immutable.cutover.image) returns them, whether or not the engine
    still has the image.
  returned: success
  type: list
  elements: dict
graph:
  description:
    - Every image that stands on no other with what stands on it, by name and version. With O(base), that base.
  returned: with O(graph=true)
  type: list
  elements: dict
  contains:
    reference:
      description: The base, V(name@sha256:...).
      type: str
    tag:
      description: Its human name. Only the repository if its record is in neither place.
      type: str
    image_id:
      description: Its image ID. Empty if its record is in neither place.
      type: str
    output:
      description: Whether it is in O(output).
      type: bool
    host:
      description: Whether it was loaded on this host.
      type: bool
    images:
      description: What stands on it, each with the same keys, so with what stands on that in turn.
      type: list
      elements: dict
graph_lines:
  description: The same for a person to read.
  returned: with O(graph=true)
  type: list
  elements: str
unreadable:
  description: Records that could not be read, and why.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._image.front import (
        INFO_SPEC,
        list_images,
    )

    return INFO_SPEC, lambda params, check: list_images(params)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
