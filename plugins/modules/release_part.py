#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host's part of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_part
short_description: Do one host's part of a release whose load balancers are on other hosts
version_added: 0.2.0
description:
  - The role P(immutable.cutover.release#role) calls it in turn on the host of the replicas and, delegated, on the hosts
    of their load balancers, until the first one says that all is done. It is not for plays of one's own; where load
    balancers are on the replicas' host, M(immutable.cutover.release_apply) does everything in one task.
  - Each host re-plans from what it observes itself and from what the others were seen to be, and takes the steps that
    are its own. The host of the replicas holds the deploy lease. A load balancer's host refuses a run whose epoch is
    below the highest it has seen of that host.
  - A replica is destroyed only after every load balancer's host has shown, to this run and under its own epoch, that it
    routes nothing there. One that cannot be reached ends the run, and nothing is destroyed.
  - The lease is granted for three times O(lease.ttl), because it is renewed only when the host of the replicas has its
    turn.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._engine
  - immutable.cutover._release
  - immutable.cutover._lease
  - immutable.cutover._turn
options:
  host:
    description:
      - The inventory name of the load balancer's host that the task is delegated to. Empty on the host of the replicas.
    type: str
    default: ""
  run:
    description:
      - RV(run) of the task before; empty in the first.
    type: dict
    default: {}
  part:
    description: Filled in by the action plugin for each call it makes; not for plays.
    type: dict
    default: {}
seealso:
  - module: immutable.cutover.release_apply
  - module: immutable.cutover.release_plan
"""

EXAMPLES = r"""
- name: Look at the load balancer
  immutable.cutover.release_part:
    spec: "{{ __release_spec }}"
    host: lb1
  delegate_to: lb1
  register: __release_part

- name: Do what is to be done on this host
  immutable.cutover.release_part:
    spec: "{{ __release_spec }}"
    run: "{{ __release_part.run }}"
  register: __release_part
"""

RETURN = r"""
run:
  description:
    - What the next task is given. C(run.status) is V(more), and V(done), V(held), V(failed) or V(planned) in the end.
  returned: always
  type: dict
status:
  description:
    - V(done), V(held) at a gate, V(failed) or V(planned), in the task that ends the run. With it come all results of
      M(immutable.cutover.release_apply).
  returned: at the end
  type: str
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.parts import run_part
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import PART_SPEC

    return PART_SPEC, run_part


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
