#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What load balancers show of their targets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_target_info
short_description: Show the targets of load balancers
version_added: 0.1.0
description:
  - Shows every target of the backends given as the load balancer itself shows it, whoever registered it.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes.info_module
  - immutable.cutover._load_balancer
options:
  names:
    description: Only these targets; one that does not exist is a failure. Empty shows all.
    type: list
    elements: str
    default: []
seealso:
  - module: immutable.cutover.lb_target
"""

EXAMPLES = r"""
- name: Look at the shop
  immutable.cutover.lb_target_info:
    load_balancers:
      - socket: /run/immutable-cutover/lb/admin.sock
        backend: shop
  register: shop
"""

RETURN = r"""
load_balancers:
  description: One entry per backend, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    load_balancer:
      description: The load balancer and its backend.
      type: str
    driver:
      description: The kind of load balancer.
      type: str
    version:
      description: Its version.
      type: str
    persisted:
      description: Whether a restart of the load balancer would find the targets as they are now.
      type: bool
    targets:
      description: The targets in the load balancer's order.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
        address:
          description: Its address.
          type: str
        port:
          description: Its port.
          type: int
        state:
          description: The intent, one of V(active), V(standby), V(draining), V(maintenance).
          type: str
        weight:
          description: Its weight.
          type: int
        health:
          description: What the load balancer's own check says, one of V(up), V(down), V(starting), V(unknown).
          type: str
        check:
          description: The last result of that check, in the load balancer's words.
          type: str
        serving:
          description: Whether new requests may be routed to it now.
          type: bool
        in_flight:
          description: Requests that it works on, over all processes of the load balancer.
          type: int
        queued:
          description: Requests that wait for it in the load balancer.
          type: int
        in_flight_quality:
          description: V(exact), or V(none) where there are no figures that can be trusted.
          type: str
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.lb_front import (
        LB_TARGET_INFO_SPEC,
        look_at_targets,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock

    return LB_TARGET_INFO_SPEC, lambda params, check: look_at_targets(params, SystemClock())


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
