#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image from the controller to a host, without a registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_load
short_description: Load images of the controller into the engine of a host
version_added: 0.1.0
description:
  - Makes sure that the engine of the host has each image that was baked on the controller, and that the host's records
    know it and its signature, so that a release can name it. No registry is needed.
  - Only layers the host lacks are sent, over the connection that Ansible has anyway. An engine that refuses such a thin
    archive gets the whole image.
  - The image ID that the engine then shows must be the one that was baked.
  - Runs by its action plugin only.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._engine
options:
  images:
    description: What to load, each as V(name@sha256:...) with either digest. A tag is refused.
    type: list
    elements: str
    required: true
  output:
    description: Folder on the controller with everything that was baked.
    type: path
    default: ~/.cache/immutable-cutover/images
  state_dir:
    description: Folder on the host with the records of loaded images, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
  turn:
    description:
      - Filled in by the action plugin for each call it makes; not for plays.
    type: dict
    default: {}
    suboptions:
      records:
        description: The bake records of the images.
        type: list
        elements: dict
        default: []
      signatures:
        description: The signature of each image, or nothing.
        type: list
        elements: str
        default: []
      archive:
        description: Where on the host the archive is.
        type: path
        default: ''
      whole:
        description: Whether the archive has every layer, so that the engine must take it.
        type: bool
        default: false
      look:
        description: Whether to look only.
        type: bool
        default: true
seealso:
  - module: immutable.cutover.image
  - module: immutable.cutover.image_pull
"""

EXAMPLES = r"""
- name: Give every host the image that was baked here
  immutable.cutover.image_load:
    images: ["{{ bake_images['shop/web'].reference }}"]
"""

RETURN = r"""
images:
  description: One entry for each image, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    reference:
      description: What was asked for.
      type: str
    changed:
      description: Whether there was anything to do for this image.
      type: bool
    image_id:
      description: What the engine calls the image.
      type: str
    manifest_digest:
      description: The digest of its manifest.
      type: str
    layers_sent:
      description: How many layers were sent. Zero in check mode.
      type: int
    bytes_sent:
      description: The size of what was sent. Zero in check mode.
      type: int
before:
  description: Whether the engine had each image, and the records knew it, by reference.
  returned: success
  type: dict
after:
  description: The same afterwards.
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
    from ansible_collections.immutable.cutover.plugins.module_utils._image.host_load import (
        LOAD_SPEC,
        load_turn,
    )

    return LOAD_SPEC, lambda params, check: load_turn(params)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
