# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal as a drawing."""

from __future__ import annotations

DOCUMENTATION = r"""
name: timeline
short_description: Draw the journal of releases as an HTML page
version_added: 0.2.0
description:
  - Returns one HTML page that loads nothing from elsewhere. It shows in which state every replica was when, the gates
    at which everything waited, the share of requests that a canary had, the one-off tasks, and below them the verdicts,
    what failed, and how each run began and ended.
  - It draws every strategy, and one run or several, a promotion after a hold for instance.
author:
  - The immutable.cutover authors (@immutable-cutover)
options:
  _input:
    description: Rows of the journal, as V(rows) of M(immutable.cutover.journal_info) or C(journal) of a receipt.
    type: list
    elements: dict
    required: true
  title:
    description: The page's title; by default V(Timeline of APP).
    type: str
    default: ''
seealso:
  - plugin: immutable.cutover.journal_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Draw the last three runs
  ansible.builtin.copy:
    content: "{{ journal.rows | immutable.cutover.timeline }}"
    dest: /tmp/timeline.html
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def timeline(rows: Any, title: str = "") -> str:
    """Return the page."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise AnsibleFilterError("timeline: must be given a list of the journal's rows")
    # Late: Ansible reads every filter of a collection as soon as a playbook uses one of them.
    from ansible_collections.immutable.cutover.plugins.plugin_utils._timeline_page import page

    return page(rows, str(title))


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"timeline": timeline}
