#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy lease."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lease
short_description: Take, renew or give back the deploy lease of an app
version_added: 0.1.0
description:
  - One run at a time may deploy an app on a host. Each holder gets an epoch that is one higher than the one before;
    steps of a run whose epoch is no longer current are refused.
  - M(immutable.cutover.release_apply) takes the lease itself. This module is for plays that put tasks of their own
    around it.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
options:
  app:
    description: The app's name.
    type: str
    required: true
  run:
    description: Name of the run that holds or wants the lease, the same in all its tasks.
    type: str
    required: true
  state:
    description:
      - V(acquired) takes the lease, or renews it when this run has it; a lease that another run holds is a failure
        that names it.
      - V(released) gives it back, and changes nothing when this run does not have it.
    type: str
    choices: [acquired, released]
    default: acquired
  ttl:
    description: Seconds after which the lease may be taken over if nobody renewed it, 5-86400.
    type: int
    default: 60
  wait:
    description: Seconds to wait for another run's lease, 0-86400.
    type: int
    default: 0
  user:
    description: Who deploys, for the message another run gets.
    type: str
    default: ''
  state_dir:
    description: Folder on the host with the lease, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.release_apply
"""

EXAMPLES = r"""
- name: Keep others from deploying while the database is moved
  immutable.cutover.lease:
    app: shop
    run: database-move-17
    ttl: 600

- name: Let them deploy again
  immutable.cutover.lease:
    app: shop
    run: database-move-17
    state: released
"""

RETURN = r"""
epoch:
  description: The epoch of the lease.
  returned: success
  type: int
before:
  description: The lease before, with C(epoch), C(holder) and C(ttl).
  returned: success
  type: dict
after:
  description: The lease after, in the same shape.
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

OPTIONS: dict[str, dict[str, Any]] = {
    "app": {"type": "str", "required": True},
    "run": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["acquired", "released"], "default": "acquired"},
    "ttl": {"type": "int", "default": 60},
    "wait": {"type": "int", "default": 0},
    "user": {"type": "str", "default": ""},
}


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import STATE_DIR_SPEC
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
    from ansible_collections.immutable.cutover.plugins.module_utils._lease_front import ensure_lease

    return (
        {**STATE_DIR_SPEC, **OPTIONS},
        lambda params, check: ensure_lease(params, SystemClock(), check=check),
    )


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
