#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fetch and bake phases."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Bake images from locked recipes, once
version_added: 0.1.0
description:
  - Makes sure that the image of each recipe exists. An image that was baked from the same inputs is left as it is,
    within
    milliseconds. The same version with other inputs is a failure, because a version never changes.
  - First brings every locked input into O(store) and checks its hash, unless O(fetch=false), then bakes without a
    network. Recipes of the
    kind C(base) are
    bootstrapped by C(mmdebstrap) from the locked packages, recipes of the kind C(app) are assembled on their base
    without a daemon.
  - Layers that another version of an app in O(output) has from the same inputs are not written again. They are taken
    over to another base only if the ABI of both bases is equal (the label C(immutable.cutover.abi)) and no layer of
    the app touches a package database.
  - What a recipe runs, its steps, its play or its Dockerfile, is run on O(engine) without a network, and what that
    changed becomes one layer.
  - Both digests, the manifest's and the image ID, depend on nothing but the locked inputs. How far that is true of
    what a recipe runs, is up to what it runs.
  - Needs root for recipes of the kind C(base). Needs the Docker SDK for Python if O(load=true), and also Docker's
    command line for recipes that run something, and C(ansible-playbook) for those with a play, on the host.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._build
  - immutable.cutover._build.backend
  - immutable.cutover._engine
  - immutable.cutover._image
options:
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
  fetch:
    description:
      - Whether inputs that O(store) lacks are fetched first, for the convenience of one call.
      - With V(false) the whole bake uses no network, and an input that M(immutable.cutover.image_fetch) did not
        bring is a failure that names it.
    type: bool
    default: true
  load:
    description:
      - Whether the images are loaded into the engine O(engine), and noted in O(state_dir) so that a release can name
        them by either digest. Only layers that the engine lacks are sent.
    type: bool
    default: true
  archive:
    description: Whether O(output) also gets a file for each image that C(docker load) reads.
    type: bool
    default: false
  state_dir:
    description: Folder on the host with the records of loaded images, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.image_lock
  - module: immutable.cutover.image_fetch
  - module: immutable.cutover.image_info
"""

EXAMPLES = r"""
- name: Bake the base and HAProxy, and load them
  immutable.cutover.image:
    recipes:
      - recipes/base/bake.yml
      - recipes/haproxy/bake.yml
  register: baked

- name: Show what a spec names
  ansible.builtin.debug:
    msg: "{{ baked.images | map(attribute='reference') }}"

- name: Bake an app into a file for a host without a registry
  immutable.cutover.image:
    recipes: [shop/bake.yml]
    load: false
    archive: true

- name: Bake an app whose build needs a licence
  immutable.cutover.image:
    recipes: [reports/bake.yml]
    secrets:
      licence: /etc/reports/licence.key
"""

RETURN = r"""
images:
  description: One entry for each recipe, in the order given. When some fail, for each of the others.
  returned: when the recipes are valid
  type: list
  elements: dict
  contains:
    recipe:
      description: The recipe file.
      type: str
    changed:
      description: Whether there was anything to do for this image.
      type: bool
    how:
      description:
        - V(unchanged), V(baked), V(rebased) if all layers of the app were taken over from another version to another
          base, or V(reused) if they were taken over and the base is the same. The digests are those that a full bake
          gives.
      type: str
    why:
      description: Why an app that could have been rebased was baked in full, else empty.
      type: str
    name:
      description: The repository.
      type: str
    version:
      description: The version, also the tag.
      type: str
    recipe_hash:
      description: The hash of all inputs, also a label of the image.
      type: str
    reference:
      description: What a spec names, V(name@sha256:...) with the manifest digest. Empty in check mode if the image
        was not baked yet.
      type: str
    manifest_digest:
      description: The digest of the manifest. Empty in check mode if the image was not baked yet.
      type: str
    image_id:
      description: The digest of the configuration, what an engine calls the image. Empty in check mode if it was not
        baked yet.
      type: str
    record:
      description:
        - The whole bake record, with C(layers), C(size) in bytes, C(base), C(epoch), C(arch), C(layout) and
          C(archive).
        - Empty in check mode if the image was not baked yet.
      type: dict
before:
  description: Whether each image was baked and loaded before, by tag.
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
    from ansible_collections.immutable.cutover.plugins.module_utils._image.front import (
        IMAGE_SPEC,
        bake_images,
    )

    return IMAGE_SPEC, bake_images


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
