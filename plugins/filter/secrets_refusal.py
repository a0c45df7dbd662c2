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

import os
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFileNotFound
from ansible.parsing.dataloader import DataLoader

from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN, InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_env_name

NO_FILE = "must be a file on the controller that can be read"


def secrets_refusal(secrets: object, search_path: Sequence[str]) -> str:
    """Return the first mistake as one line."""
    try:
        for name, value in Fields({"release_secrets": secrets}, "").pairs("release_secrets"):
            path = f"release_secrets.{name}"
            check_env_name(name, path)
            _check(value, path, list(search_path))
    except InvalidInput as refusal:
        return refusal.message
    return ""


def _check(value: object, path: str, search_path: list[str]) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInput(path, HIDDEN, "must be a mapping with file, a path on the controller")
    fields = Fields(value, path)
    if not fields.has("file"):
        raise InvalidInput(fields.path("file"), None, NO_FILE)
    name = fields.text("file", None, "(?s).+", NO_FILE, shown=False)
    fields.finish()
    if not _readable(_found(name, search_path)):
        shown = os.path.dirname(name) and os.path.isdir(_found(os.path.dirname(name), search_path))
        raise InvalidInput(fields.path("file"), name if shown else HIDDEN, NO_FILE)


def _found(name: str, search_path: list[str]) -> str:
    """Return where Ansible's own lookup of a file finds it; empty where it does not."""
    loader = DataLoader()
    loader.set_basedir(search_path[-1] if search_path else ".")
    try:
        return str(loader.path_dwim_relative_stack(search_path, "files", name))
    except (AnsibleFileNotFound, ValueError):  # a NUL in it
        return ""


def _readable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return them by name."""
        return {"secrets_refusal": secrets_refusal}
