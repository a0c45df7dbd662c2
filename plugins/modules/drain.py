#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draining."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drain
short_description: Drain targets and wait until they have nothing left in flight
version_added: 0.1.0
description:
  - Gives the targets nothing new at every backend given, sees each load balancer confirm it, and waits until nothing
    is in flight and
    nothing is queued for them in three looks in a row, over all processes of the load balancer.
  - When the time is over it fails and names who is still busy with how many requests. The targets stay draining;
    nothing is cut.
  - A target that somebody makes active again while it is waited for is a failure, since its zero would mean nothing.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._load_balancer
  - immutable.cutover._wait
options:
  names:
    description: Names of the targets; each must exist at every backend.
    type: list
    elements: str
    required: true
  allow_last_target:
    description: Whether the last target that serves may be drained.
    type: bool
    default: false
seealso:
  - module: immutable.cutover.lb_target
"""

EXAMPLES = r"""
- name: Let one replica finish its work before maintenance
  immutable.cutover.drain:
    load_balancers:
      - socket: /run/immutable-cutover/lb/admin.sock
        master_socket: /run/immutable-cutover/lb/master.sock
        backend: shop
        config: /etc/immutable-cutover/lb/haproxy.cfg
        container: lb
    names: [shop-web-1]
    wait:
      timeout: 300
"""

RETURN = r"""
before:
  description: For each backend, in the order given, the targets with their intent.
  returned: success
  type: list
  elements: dict
  contains:
    load_balancer:
      description: The load balancer and its backend.
      type: str
    targets:
      description: Name, address, port, state and weight of each target.
      type: list
      elements: dict
after:
  description: The same, afterwards; in check mode as it would be.
  returned: success
  type: list
  elements: dict
actions:
  description: What was done, for a person to read.
  returned: success
  type: list
  elements: str
drained:
  description: How each target became idle; empty in check mode, which does not wait.
  returned: success
  type: list
  elements: dict
  contains:
    load_balancer:
      description: The load balancer and its backend.
      type: str
    name:
      description: The target.
      type: str
    seconds:
      description: Seconds until it was idle.
      type: float
    peak:
      description: The most requests that were seen in flight meanwhile.
      type: int
busy:
  description: What each target still had in flight, by name.
  returned: when the time was over
  type: dict
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.lb_front import (
        DRAIN_SPEC,
        drain_targets,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock

    return DRAIN_SPEC, lambda params, check: drain_targets(params, SystemClock(), check=check)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
