#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attest phase."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_attest
short_description: Describe baked images and sign them
version_added: 0.1.0
description:
  - Attaches to the image of each recipe a bill of materials (CycloneDX 1.6), a provenance (in-toto Statement v1 with
    the SLSA predicate v1), the lock and, with O(key), a signature (DSSE) that covers the image and all of them.
  - They are attached as OCI referrers in O(output), so the digests of the image never move. Each kind is attached
    once; a newer one takes the place of the older.
  - The documents are made from the locks, not by a scan, and hold no clock. Attesting again changes nothing until an
    input, or the commit of the recipe's files, is another one.
  - Works without a network. Without O(key) the images stay unsigned, which the result says.
  - The provenance claims SLSA Build L1 and no more.
  - Needs C(cyclonedx-python-lib), C(packageurl-python) and, with O(key), C(cryptography).
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._image
options:
  key:
    description:
      - File with the private key that signs, ed25519 or ECDSA P-256 in PEM. Only its owner may be able to read it.
      - An image that this key has signed already is not signed again.
    type: path
  key_passphrase:
    description: What decrypts O(key), at least four characters.
    type: str
  load:
    description: Whether the signature is also left in O(state_dir), where a release on this host that must verify its
      image looks for it.
    type: bool
    default: true
  state_dir:
    description: Folder on the host with the records of loaded images, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.image
"""

EXAMPLES = r"""
- name: Describe and sign the shop
  immutable.cutover.image_attest:
    recipes: [shop/bake.yml]
    key: ~/keys/bake.pem
  register: attested

- name: Show what is attached
  ansible.builtin.debug:
    msg: "{{ attested.images | map(attribute='attachments') }}"
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
    changed:
      description: Whether there was anything to do for this image.
      type: bool
    name:
      description: The repository.
      type: str
    version:
      description: The version, also the tag.
      type: str
    reference:
      description: What a spec names, V(name@sha256:...). Empty in check mode if the image was not baked yet.
      type: str
    image_id:
      description: What an engine calls the image. Empty in check mode if it was not baked yet.
      type: str
    source:
      description: The last commit of the recipe's files and whether they were changed since, or that they are not in
        git.
      type: str
    signed:
      description: Whether the image is signed, or in check mode would be.
      type: bool
    signers:
      description: The IDs of the keys that signed, each the sha256 of the public key in DER.
      type: list
      elements: str
    attachments:
      description: What is attached, each with C(artifact_type), C(media_type), C(manifest_digest), C(payload_digest)
        and C(size) in bytes. In check mode what was attached before.
      type: list
      elements: dict
before:
  description: For each tag the digests of C(sbom), C(provenance), C(lock) and what was C(signed), its C(signers), and
    whether the signature is C(on_host).
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
        ATTEST_SPEC,
        attest_images,
    )

    return ATTEST_SPEC, attest_images


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
