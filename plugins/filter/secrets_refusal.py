# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the secrets of a release, said before a task reads them that may show nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
name: secrets_refusal
short_description: Say what is wrong with the secrets of a release
version_added: 0.2.0
description:
  - Returns one line that names the option, what is allowed and what was found, or nothing when each secret is a file
    on the controller that can be read.
  - What stands in the place of a file may be the secret itself. It is shown only when it is in a folder that exists.
author:
  - The immutable.cutover authors (@immutable-cutover)
options:
  _input:
    description: The secrets as in the variable C(release_secrets) of the role P(immutable.cutover.release#role).
    type: dict
    required: true
  search_path:
    description: Folders in which files are looked for, as in C(ansible_search_path). The last one is the playbook's.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Refuse what is no file
  ansible.builtin.assert:
    that: release_secrets | immutable.cutover.secrets_refusal(ansible_search_path) | length == 0
    fail_msg: "{{ release_secrets | immutable.cutover.secrets_refusal(ansible_search_path) }}"
"""

RETURN = r"""
_value:
  description: What is wrong, empty when nothing is.
  type: str
"""

from collections.abc import Callable, Sequence


def secrets_refusal(secrets: object, search_path: Sequence[str]) -> str:
    """Return the first mistake as one line."""
    # Late: Ansible reads every filter of a collection as soon as a playbook uses one of them.
    from ansible_collections.immutable.cutover.plugins.plugin_utils._secrets_given import (
        refusal_of,
    )

    return refusal_of(secrets, search_path)


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return them by name."""
        return {"secrets_refusal": secrets_refusal}
