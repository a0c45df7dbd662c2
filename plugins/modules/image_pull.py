#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image from a registry to a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull
short_description: Pull images from a registry by digest, and load them
version_added: 0.1.0
description:
  - Makes sure that the engine of the host has each image, and that the host's records know it, so that a release can
    name it.
  - Manifest, configuration and layers are checked against their digests while they come, and the engine's image ID
    against the configuration. Nothing is loaded that is not what was asked for.
  - Layers the engine has are not downloaded. An image that is there is left alone without asking the registry,
    except for O(refresh_signatures).
  - Pulls only images that were baked by this collection, unless O(foreign=true), with layers as
    M(immutable.cutover.image_push) or C(docker push) send them.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._engine
  - immutable.cutover._registry
options:
  images:
    description: What to pull, each as V(name@sha256:...), with or without the registry's host. A name without the host
      gets O(repository_prefix) before it. A tag is refused.
    type: list
    elements: str
    required: true
  load:
    description: Whether the images are loaded into the engine O(engine) and noted in O(state_dir).
    type: bool
    default: true
  output:
    description: Folder that also gets the images, as M(immutable.cutover.image) would bake them there, for example to
      hand them on with M(immutable.cutover.image_load), or to bake an app on a base. Needed with O(load=false).
    type: path
    default: ''
  foreign:
    description:
      - Whether an image that this collection did not bake is pulled too, into O(output), for recipes to stand on. Needs
        O(load=false), because what a release starts was baked by this collection.
      - It is named by the digest of the image for one architecture, not by that of an index of several. Its version is
        V(0.0.0-) and the first twelve digits of the digest.
      - Nothing but its digest says what it is made of. A bill of materials takes what is in it from its own databases
        (dpkg, Python), without hashes.
    type: bool
    default: false
  refresh_signatures:
    description:
      - Whether the registry is asked for the signature of an image that is there already, for example after a change of
        keys. The host takes it if it differs, unless it is shorter and therefore has fewer signatures than the host's.
      - What is taken is only kept. Whether a release may start is decided by its own keys each time.
    type: bool
    default: false
  state_dir:
    description: Folder on the host with the records of loaded images, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.image_push
  - module: immutable.cutover.image_load
"""

EXAMPLES = r"""
- name: Pull the shop by the digest that the push returned
  immutable.cutover.image_pull:
    images: ["{{ pushed.images[1].registry_reference }}"]
    registry:
      host: registry.example:5000
      auth_file: ~/.docker/config.json
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
      description: What the engine calls the image. Empty in check mode if it is not there yet.
      type: str
    manifest_digest:
      description: The digest of the manifest with uncompressed layers. Empty in check mode if the image is not there
        yet.
      type: str
    record:
      description: The bake record, as M(immutable.cutover.image) returns it. Empty in check mode if the image is not
        there yet.
      type: dict
    downloaded:
      description: How many layers were downloaded.
      type: int
    bytes:
      description: Their size on the wire.
      type: int
before:
  description: Whether the engine, and O(output), had each image, by reference.
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
    from ansible_collections.immutable.cutover.plugins.module_utils._image.pull_front import (
        PULL_SPEC,
        pull_images,
    )

    return PULL_SPEC, pull_images


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
