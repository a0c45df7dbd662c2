# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the secrets of a release; private, no stability promised."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFileNotFound
from ansible.parsing.dataloader import DataLoader

from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN, InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_env_name

NO_FILE = "must be a file on the controller that can be read"


def refusal_of(secrets: object, search_path: Sequence[str]) -> str:
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
