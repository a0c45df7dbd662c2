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
seealso:
  - module: immutable.cutover.image
"""

EXAMPLES = r"""
- name: Which versions of the shop are on this host
  immutable.cutover.image_info:
    name: shop/web
  register: shop_images

- name: Show their references
  ansible.builtin.debug:
    msg: "{{ shop_images.records | map(attribute='reference') }}"
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
unreadable:
  description: Records that could not be read, and why.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.immutable.cutover.plugins.module_utils._argspec import failure
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.front import (
    INFO_SPEC,
    list_images,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=INFO_SPEC, supports_check_mode=True)
    try:
        result = list_images(module.params)
    except CutoverError as error:
        module.fail_json(**failure(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
