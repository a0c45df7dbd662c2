#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps put on a fixed base, in bulk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_rebase
short_description: Put app images on a fixed base without building them again
version_added: 0.1.0
description:
  - For each recipe that stands on another version of the repository of O(base), writes the new base and the next
    version into the recipe and its lock, and bakes it. Nothing is resolved and nothing is fetched. The rest of the
    recipe stays as it was written, with its comments.
  - An app keeps its own layers and gets those of the new base below them, within a fraction of a second. The digest
    is the one that a full bake of the same recipe gives.
  - That is safe if the label C(immutable.cutover.abi) of both bases is equal (architecture, suite, version of libc and
    of Python), no layer of the app touches a package database, and the folders that its files go into are the same in
    both (links, mode and owner). Otherwise the app is baked in full from its lock, and RV(images[].why) says why.
  - What an app runs is run again on the new base. A recipe with a Dockerfile is left alone, because its base is in
    there.
  - A recipe that stands on O(base) already is left alone, and so is one that stands on another repository.
  - The recipe must match its lock. Recipe and lock are written after the image was baked, so a run that died is
    repeated as a whole.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._build
  - immutable.cutover._engine
  - immutable.cutover._image
options:
  base:
    description: The base to move to, V(name@sha256:...), which is in O(output).
    type: str
    required: true
  bump:
    description:
      - Which part of the version is raised, because a version never changes its content. A version that was baked
        already from something else is passed over. Of a pre-release the next pre-release is made.
    type: str
    choices: [patch, minor, major]
    default: patch
  store:
    description: Folder with the fetched inputs, each named by its sha256.
    type: path
    default: ~/.cache/immutable-cutover/store
  fetch:
    description:
      - Whether inputs that O(store) lacks are fetched if an app must be baked in full.
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
  - module: immutable.cutover.image
  - module: immutable.cutover.image_info
"""

EXAMPLES = r"""
- name: Take the fix of one package into the base
  immutable.cutover.image_lock:
    recipes: [recipes/base/bake.yml]
    upgrade_packages: [libssl3]

- name: Bake the base under its next version
  immutable.cutover.image:
    recipes: [recipes/base/bake.yml]
  register: fixed

- name: Put every app on it
  immutable.cutover.image_rebase:
    recipes: "{{ query('ansible.builtin.fileglob', 'apps/*/bake.yml') }}"
    base: "{{ fixed.images[0].reference }}"
  register: rebased

- name: Show what replaces what
  ansible.builtin.debug:
    msg: "{{ dict(rebased.images | map(attribute='old') | zip(rebased.images | map(attribute='reference'))) }}"
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
      description: The repository.
      type: str
    version:
      description: The version now.
      type: str
    how:
      description: V(rebased), V(rebuilt) or V(unchanged).
      type: str
    why:
      description: Why it was rebuilt or left alone, else empty.
      type: str
    old:
      description: The reference before. Empty if that image is not in O(output).
      type: str
    reference:
      description: The reference now. Empty in check mode.
      type: str
    image_id:
      description: The image ID now. Empty in check mode.
      type: str
before:
  description: Version and base of each recipe before, by its path.
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
    from ansible_collections.immutable.cutover.plugins.module_utils._image.rebase_front import (
        REBASE_SPEC,
        rebase_images,
    )

    return REBASE_SPEC, rebase_images


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
