#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check phase."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_check
short_description: Judge images by a policy, baked ones and foreign ones
version_added: 0.1.0
description:
  - Looks into each image, its configuration and every layer, and asks thirteen rules. Fails with one line for each
    finding, after all images were looked at. Nothing is unpacked, started or changed.
  - 'V(P1): the base is named by digest and is really below the image (factor II Dependencies).'
  - 'V(P2): the version is a SemVer, not C(latest) and no word for an environment (factor V Build, release, run).'
  - 'V(P3): the lock is fresh, and the packages, wheels and files in the image are exactly those of its lock and of
    the locks of its bases (factor II Dependencies). Files of a wheel are compared with the locked wheel in O(store); if
    that is not there, with what the wheel recorded in the image, and that is a note.'
  - 'V(P4): the user is a number and not root. For a recipe of the kind C(base) without a user that is only a note.'
  - 'V(P5): no setuid or setgid file and no file capability; an app has those of its base, a base those of Debian''s
    essential packages.'
  - 'V(P6): no secret in a file of any layer, known by its form or by its entropy in an assignment. A file that a Debian
    package brought unchanged is public and not searched (factor III Config).'
  - 'V(P7): no C(.env) file, no file for credentials, no variable whose name has C(PASSWORD), C(TOKEN), C(SECRET) or
    C(KEY) with a value, except the path of a file in a variable that ends in C(_FILE) (factor III Config).'
  - 'V(P8): no package manager ran in an app (factor V Build, release, run).'
  - 'V(P9): no log file, and no configuration that logs to one (factor XI Logs).'
  - 'V(P10): the size of all layers and their number are within C(policy.max_size), by default 512 MiB, and
    C(policy.max_layers), by default 20.'
  - 'V(P11): no licence that C(policy.licences.deny) names. What declares no licence is a note.'
  - 'V(P12): what C(config.env_required) names has no value in the image (factor III Config).'
  - 'V(P13): no CA, proxy, token or password of the build site in configuration, history or files (factor III Config).'
  - A recipe waives a finding under C(policy.waivers) by C(rule), C(reason) and C(expires), the last day of the waiver,
    and narrows that with C(path), where C(*) stands for anything, and with C(sha256) of the file. A waiver of V(P6)
    needs C(sha256). After its last day a waiver no longer counts. A waiver that matches nothing is a note.
  - The policy of a recipe is no part of what is baked. Changing it changes neither the lock nor the digests.
  - Needs python-debian. Needs the Docker SDK for Python if O(images[].image) is used.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes.info_module
  - immutable.cutover._engine
options:
  recipes:
    description:
      - Recipe files of baked images. Each is checked together with its lock and its bases.
      - At least one of O(recipes) and O(images) must name something.
    type: list
    elements: path
    default: []
  output:
    description: Folder with everything that was baked, as in M(immutable.cutover.image).
    type: path
    default: ~/.cache/immutable-cutover/images
  store:
    description: Folder with the fetched inputs, as in M(immutable.cutover.image).
    type: path
    default: ~/.cache/immutable-cutover/store
  concurrency:
    description: How many images are looked at at the same time, V(1) to V(16).
    type: int
    default: 2
  images:
    description:
      - Images that somebody else built. Without a recipe there is no lock, and that is a finding of V(P3).
      - An archive or a layout may hold several; all of them are checked.
    type: list
    elements: dict
    default: []
    suboptions:
      archive:
        description: File that C(docker save) or another tool wrote, compressed by gzip or not.
        type: path
      layout:
        description: OCI image layout, a folder or a tar archive of one.
        type: path
      image:
        description: Image of the engine O(engine), by tag, digest or ID.
        type: str
      policy:
        description: What a recipe has under C(policy), with C(waivers), C(max_size), C(max_layers) and C(licences).
        type: dict
  fail_on:
    description: Rules whose findings fail. Findings of the others are only returned.
    type: list
    elements: str
    choices: [P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13]
    default: [P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13]
seealso:
  - module: immutable.cutover.image
"""

EXAMPLES = r"""
- name: Check what was baked
  immutable.cutover.image_check:
    recipes:
      - recipes/base/bake.yml
      - shop/bake.yml

- name: Look for secrets and for root in an image from elsewhere
  immutable.cutover.image_check:
    images:
      - archive: vendor-3.2.1.tar
        policy:
          waivers:
            - rule: P4
              reason: the vendor drops root itself, ticket 4711
              expires: '2027-01-01'
    fail_on: [P4, P6, P7, P13]
"""

RETURN = r"""
images:
  description: One entry for each image, the recipes first, each in the order given. Also returned on failure.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: The recipe, archive, layout or reference it comes from.
      type: str
    name:
      description: Its tag, or its image ID if it has none.
      type: str
    image_id:
      description: The digest of its configuration.
      type: str
    passed:
      description: Whether no finding of a rule in O(fail_on) is left.
      type: bool
    findings:
      description: What the rules found, in the order of the rules.
      type: list
      elements: dict
      contains:
        rule:
          description: V(P1) to V(P13).
          type: str
        title:
          description: What the rule asks for.
          type: str
        factor:
          description: The factor of the twelve-factor app behind the rule, with its number. Empty if there is none.
          type: str
        level:
          description: V(failure), V(waived) or V(note). A note never fails.
          type: str
        what:
          description: The finding in one line. A secret is never shown.
          type: str
        path:
          description: The file it is about, if it is about one.
          type: str
        sha256:
          description: The hash of that file, for a waiver.
          type: str
        waived_by:
          description: C(reason) and C(expires) of the waiver, empty without one.
          type: dict
errors:
  description: Why an image could not be looked at, each with C(message).
  returned: failure
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._image.check import (
        CHECK_SPEC,
        check_images,
    )

    return CHECK_SPEC, lambda params, check: check_images(params)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
