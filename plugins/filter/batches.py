# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many hosts at a time, checked before a play begins with them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
short_description: Check the sizes of batches of hosts
version_added: 0.2.0
description:
  - Returns what a play's C(serial) takes, or fails in one line. Ansible itself takes 0 and negative numbers for all
    hosts at once, and ends with a stack trace for a word.
author:
  - The immutable.cutover authors (@immutable-cutover)
options:
  _input:
    description: A number of hosts, a share of them such as V(25%), or a list of these for one batch after another.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Go over the hosts
  hosts: all
  serial: "{{ cutover_serial | default([1, '25%']) | immutable.cutover.batches }}"
"""

RETURN = r"""
_value:
  description: The sizes, one for each batch; the last one is that of all further ones.
  type: list
  elements: raw
"""

import re
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

_SIZE = re.compile(r"[1-9][0-9]{0,5}|([1-9][0-9]?|100)%", re.ASCII)


def batches(value: Any) -> list[Any]:
    """Return the sizes as a list."""
    sizes = value if isinstance(value, list) else [value]
    if not sizes:
        raise AnsibleFilterError(_refusal(value))
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, str)):
            raise AnsibleFilterError(_refusal(size))
        if not _SIZE.fullmatch(str(size)):
            raise AnsibleFilterError(_refusal(size))
    return list(sizes)


def _refusal(found: object) -> str:
    return (
        "cutover_serial: must be a number of hosts above 0, a share such as 25%, or a list of these, "
        f"found {found!r}"
    )


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"batches": batches}
