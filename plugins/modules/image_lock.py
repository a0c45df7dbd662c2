#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock phase of a bake."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_lock
short_description: Resolve what recipes ask for and write it down by hash
version_added: 0.1.0
description:
  - Resolves OS packages with C(apt) and wheels with C(uv), both with the host's own sources, index, trust and proxy,
    and writes them
    with their hashes to the lock beside each recipe. Files of the recipe, and those that only its build sees, are
    locked by mode and content, an app's base by its digests.
  - This is the only phase that resolves anything. M(immutable.cutover.image) bakes what is locked and nothing else.
  - A lock holds no clock, no host name and no mirror. Locking twice changes nothing.
  - Needs C(apt-get) on the host for recipes of the kind C(base), and C(uv) for recipes with wheels.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._image
options:
  upgrade:
    description:
      - Resolve everything anew, so that the lock gets the newest versions the recipe allows.
      - Without it a part is resolved only if the recipe asks for something else than the lock was made for. Wheels that
        are locked then stay at their version, if it fits.
    type: bool
    default: false
  upgrade_packages:
    description:
      - Move only these packages, OS packages or wheels, to the newest version that fits, and what that version needs.
        Everything else stays as it is locked, also if an archive has it no more.
    type: list
    elements: str
    default: []
  unknown_packages:
    description:
      - What becomes of a name in O(upgrade_packages) that no lock has. V(ignore) is for who locks bases and apps in
        several calls and looks at RV(unknown_packages) of all of them.
    type: str
    choices: [fail, ignore]
    default: fail
  store:
    description: Folder with the fetched inputs. What O(upgrade_packages) leaves alone is read here.
    type: path
    default: ~/.cache/immutable-cutover/store
  apt_sources:
    description:
      - Folder in the form of C(/etc/apt) whose C(sources.list) and C(sources.list.d) name the archives of the packages,
        for a mirror or an archive of one's own. Of these the sources that serve the suite of the recipe are used.
    type: path
    default: /etc/apt
  epoch:
    description:
      - The time that everything in the image is given at most, in seconds since 1970.
      - By default the lock's own while the recipe is the same, then the time the recipe was last committed to git,
        then V(1735689600)
        (the start of the year 2025). Never the time of the run.
    type: int
  arch:
    description:
      - Architecture to lock for, in Debian's words.
      - By default the lock's own, then the host's.
    type: str
    choices: [amd64, arm64]
seealso:
  - module: immutable.cutover.image
"""

EXAMPLES = r"""
- name: Lock the base and the app
  immutable.cutover.image_lock:
    recipes:
      - recipes/base/bake.yml
      - shop/bake.yml

- name: Show which packages a fixed base would get
  immutable.cutover.image_lock:
    recipes: [recipes/base/bake.yml]
    upgrade: true
  check_mode: true
  diff: true

- name: Take the fix of one package and nothing else
  immutable.cutover.image_lock:
    recipes: [recipes/base/bake.yml]
    upgrade_packages: [libssl3]
"""

RETURN = r"""
locks:
  description: One entry for each recipe, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    recipe:
      description: The recipe file.
      type: str
    path:
      description: The lock file.
      type: str
    changed:
      description: Whether the lock file differs, or would.
      type: bool
unknown_packages:
  description: The names in O(upgrade_packages) that no lock has.
  returned: success
  type: list
  elements: str
before:
  description: The text of each lock file before, by its path.
  returned: success
  type: dict
after:
  description: The text of each lock file after, by its path.
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
        LOCK_SPEC,
        lock_images,
    )

    return LOCK_SPEC, lock_images


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
