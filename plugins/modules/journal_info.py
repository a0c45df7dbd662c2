#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what runs did."""

from __future__ import annotations

DOCUMENTATION = r"""
module: journal_info
short_description: Show who deployed what, when, and how it ended
version_added: 0.1.0
description:
  - Reads the journal that every run leaves on the host. It changes nothing, whether in check mode or not.
  - A line that a crash has cut is left out and counted. A row that a newer version of this collection wrote is refused.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes.info_module
options:
  app:
    description: The app's name.
    type: str
    required: true
  run:
    description: Only this run.
    type: str
  release:
    description: Only runs that worked towards this release, by ID or version.
    type: str
  last:
    description: How many runs to return, the newest ones.
    type: int
    default: 10
  show:
    description: Also print RV(lines) as they are, or with C(-v) RV(details).
    type: bool
    default: false
  state_dir:
    description: Folder on the host with the journal.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.release_info
"""

EXAMPLES = r"""
- name: See the last three runs
  immutable.cutover.journal_info:
    app: shop
    last: 3
    show: true

- name: Find out who deployed 1.4.2
  immutable.cutover.journal_info:
    app: shop
    release: 1.4.2
  register: deployed
"""

RETURN = r"""
app:
  description: The app's name.
  returned: success
  type: str
file:
  description: The journal on the host, one JSON object a line.
  returned: success
  type: str
unreadable:
  description: How many lines are no rows, because a crash has cut them.
  returned: success
  type: int
runs:
  description:
    - The runs, oldest first. Each has C(run), C(kind) (V(replace), V(rollback), V(recover), V(abort), V(promote),
      V(tasks), V(command) that a person ran in the image, or V(run) where nothing tells), C(outcome), C(began)
      (seconds since the epoch), C(seconds), C(epoch), C(release), C(version), C(image), C(image_id), C(before)
      (C(release) and C(version)), C(holder) (C(user), C(host), C(job), C(url), C(run), C(process)), C(message),
      C(rolled_back), C(replicas), the steps of each replica, and C(events), what happened at gates and what became of
      tasks.
    - C(outcome) is V(done), V(failed), V(fenced) (another run had taken the lease), V(interrupted) (it died, and the
      run after it found it so), V(held) (at a gate), V(delayed) (what was replaced is kept for a while), V(under way),
      or V(no end recorded).
  returned: success
  type: list
  elements: dict
rows:
  description: The journal rows of these runs as they are.
  returned: success
  type: list
  elements: dict
lines:
  description: The runs for a person to read.
  returned: success
  type: list
  elements: str
details:
  description: The same, with the steps of each replica.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module

OPTIONS: dict[str, dict[str, Any]] = {
    "app": {"type": "str", "required": True},
    "run": {"type": "str"},
    "release": {"type": "str"},
    "last": {"type": "int", "default": 10},
    "show": {"type": "bool", "default": False},
}


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.journal_front import (
        journal_info,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import STATE_DIR_SPEC
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock

    return (
        {**STATE_DIR_SPEC, **OPTIONS},
        lambda params, check: {"changed": False, **journal_info(params, SystemClock())},
    )


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
