#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The push phase."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_push
short_description: Push baked images to a registry, by digest
version_added: 0.1.0
description:
  - Makes sure that a registry has the baked image of each recipe and everything that refers to it, such as the bill of
    materials, the provenance and the signature. The tag is set last, so a tag never names half an image.
  - No container engine is needed or touched. Blobs that the registry has are not sent again, and those of the base are
    mounted from the base's repository.
  - An image that is there is left alone after one request, or after two or three if something refers to it. A tag that
    names another image is a failure, because a version never changes.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._registry
options:
  recipes:
    description: Recipe files whose images were baked into O(output) before. What was baked from other content than the
      recipe now has is refused.
    type: list
    elements: path
    required: true
  output:
    description: Folder with everything that was baked.
    type: path
    default: ~/.cache/immutable-cutover/images
  tags:
    description: Whether the version is also set as a tag. Without tags nothing stops two images of one version.
    type: bool
    default: true
  compression:
    description:
      - V(none) pushes the layers as they were baked, and the manifest digest stays the one of the bake record.
      - V(gzip) pushes compressed layers with a manifest of their own. Its digest depends on the zlib of this machine;
        the image ID does not change. RV(images[].pushed_digest) is what the registry knows the image by; the bake
        record keeps it among C(compressed_digests), so that specs may name the image by it. What refers to the image
        still refers to the digest of the uncompressed manifest.
      - If the tag already names the same image, compressed or not, that is left as it is.
    type: str
    choices: [none, gzip]
    default: none
  inputs:
    description:
      - Whether the packages and wheels that the image was baked from are pushed too, as one artifact that refers to
        the image. An archive keeps the newest versions only; with these M(immutable.cutover.image_fetch) can fetch
        what is locked as long as the registry keeps the image.
      - They must be in O(store). The image's digest does not change.
    type: bool
    default: false
  store:
    description: Folder with the fetched inputs, each named by its sha256. Only looked into with O(inputs=true).
    type: path
    default: ~/.cache/immutable-cutover/store
seealso:
  - module: immutable.cutover.image
  - module: immutable.cutover.image_pull
  - module: immutable.cutover.image_load
"""

EXAMPLES = r"""
- name: Push the base and the app that stands on it
  immutable.cutover.image_push:
    recipes: [recipes/base/bake.yml, shop/bake.yml]
    registry:
      host: registry.example:5000
      username: ci
      password: "{{ registry_password }}"
      ca_file: /etc/ssl/our-ca.pem
    repository_prefix: team
  register: pushed

- name: Show what a spec names
  ansible.builtin.debug:
    msg: "{{ pushed.images | map(attribute='registry_reference') }}"
"""

RETURN = r"""
images:
  description: One entry for each recipe, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    recipe:
      description: The recipe file.
      type: str
    name:
      description: The repository it was baked as.
      type: str
    version:
      description: The version, also the tag.
      type: str
    changed:
      description: Whether there was anything to do for this image.
      type: bool
    reference:
      description: The image as every registry would have it, V(name@sha256:...). Empty in check mode if it is not in
        the registry yet.
      type: str
    registry_reference:
      description: The same with the registry's host and the prefix. Empty in check mode if it is not in the registry
        yet.
      type: str
    manifest_digest:
      description: The digest of the bake record.
      type: str
    pushed_digest:
      description: The digest of the manifest in the registry, which with O(compression=gzip) is another. Empty in
        check mode if it is not in the registry yet.
      type: str
    image_id:
      description: The digest of the configuration, what an engine calls the image.
      type: str
    transfer:
      description: How many blobs of the image were C(uploaded), C(mounted) from the base's repository and C(present)
        before, and the C(bytes) that were uploaded. All zero in check mode.
      type: dict
before:
  description: Whether each image was in the registry, its tag, and how much referred to it, by name and version.
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
    from ansible_collections.immutable.cutover.plugins.module_utils._image.push_front import (
        PUSH_SPEC,
        push_images,
    )

    return PUSH_SPEC, push_images


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
