#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets behind load balancers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_target
short_description: Register, drain and deregister targets at load balancers
version_added: 0.1.0
description:
  - Brings many targets to their wanted states, at once and at every backend given, and sees each load balancer
    confirm it.
  - A new target is registered without traffic, has to pass the load balancer's own health check, and only then gets
    traffic. A target
    that goes away is drained first and deregistered when it has nothing left in flight; nothing is ever cut.
  - Every backend is probed and read before anything is changed. New targets are brought in before others are taken
    out.
  - Nothing here counts replicas. M(immutable.cutover.release_apply) does, and keeps the capacity of a release while
    it replaces it.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._load_balancer
  - immutable.cutover._wait
options:
  targets:
    description: The targets, each name once. Targets that are not listed are left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name, which becomes the server name in HAProxy.
        type: str
        required: true
      address:
        description:
          - IPv4 or IPv6 address. Needed with O(targets[].state=present) and O(targets[].state=standby).
          - A target that exists with another address is a failure; it is never given a new address.
        type: str
      port:
        description: Port. Needed with O(targets[].state=present) and O(targets[].state=standby).
        type: int
      state:
        description:
          - V(present) is registered, healthy and gets traffic.
          - V(standby) is registered and health-checked and gets none; HAProxy shows it as drained.
          - V(draining) gets nothing new and goes on with what it has; the module does not wait for that,
            M(immutable.cutover.drain) does.
          - V(maintenance) also stops health checks and cookie-sticky clients.
          - V(absent) is drained, waited for and deregistered.
        type: str
        choices: [present, standby, draining, maintenance, absent]
        default: present
      weight:
        description: Its weight, from 1 to 256. Left as it is when not given; a new target has 1.
        type: int
  allow_last_target:
    description: Whether the last target that serves may be taken out of a backend.
    type: bool
    default: false
seealso:
  - module: immutable.cutover.drain
  - module: immutable.cutover.lb_target_info
"""

EXAMPLES = r"""
- name: Replace one target by another
  immutable.cutover.lb_target:
    load_balancers:
      - socket: /run/immutable-cutover/lb/admin.sock
        master_socket: /run/immutable-cutover/lb/master.sock
        backend: shop
        config: /etc/immutable-cutover/lb/haproxy.cfg
        container: lb
    targets:
      - name: shop-web-2
        address: 172.30.0.12
        port: 8080
      - name: shop-web-1
        state: absent
    wait:
      timeout: 120
"""

RETURN = r"""
before:
  description: For each backend, in the order given, the listed targets that it had, with their intent and not what
    changes by itself.
  returned: success
  type: list
  elements: dict
  contains:
    load_balancer:
      description: The load balancer and its backend.
      type: str
    targets:
      description: Name, address, port, state (V(active), V(standby), V(draining) or V(maintenance)) and weight of
        each target.
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
  sample: ["haproxy /run/immutable-cutover/lb/admin.sock backend shop: set shop-web-2 active"]
kind:
  description: What kind of failure it was, such as V(not_healthy), V(drain_timeout), V(conflict), V(last_target) or
    V(partial).
  returned: failure at a load balancer
  type: str
errors:
  description: Each failure with its message, when there was more than one target to work on.
  returned: failure of several targets
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.lb_front import (
        LB_TARGET_SPEC,
        ensure_targets,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock

    return LB_TARGET_SPEC, lambda params, check: ensure_targets(params, SystemClock(), check=check)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
