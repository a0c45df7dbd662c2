#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what a release would do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_plan
short_description: Show what replacing a release would do, step by step
version_added: 0.1.0
description:
  - Validates the whole app spec, observes the container engine and every load balancer, and returns the ordered plan
    that M(immutable.cutover.release_apply) would work off. It changes nothing, with and without check mode.
  - The plan is a function of the spec and of what is observed, never of a stored step number.
  - It takes no lease. O(lease) is only checked, so that what is wrong with it is known before anything is done.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes.info_module
  - immutable.cutover._engine
  - immutable.cutover._lease
  - immutable.cutover._release
seealso:
  - module: immutable.cutover.release_apply
  - module: immutable.cutover.release_info
"""

EXAMPLES = r"""
- name: Show what deploying this release would do
  immutable.cutover.release_plan:
    spec: "{{ __release_spec }}"
  register: plan

- name: Show what going back to the previous release would do
  immutable.cutover.release_plan:
    spec: "{{ __release_spec }}"
    to: previous
"""

RETURN = r"""
needed:
  description: Whether anything has to be done.
  returned: success
  type: bool
app:
  description: The app's name.
  returned: success
  type: str
release:
  description: ID of the wanted release, 8 hex digits of a digest over image and configuration.
  returned: success
  type: str
version:
  description: Version of the wanted release.
  returned: success
  type: str
image_id:
  description: The image ID that its replicas run, V(sha256:) and 64 hex digits.
  returned: success
  type: str
lines:
  description: The ordered plan for a person to read, with the capacity on the way.
  returned: success
  type: list
  elements: str
summary:
  description: What is started, registered, drained and destroyed, a line for each.
  returned: success
  type: list
  elements: str
batches:
  description:
    - Batches in order, each with the replicas that serve when it begins and its steps.
    - A step has C(verb), C(process), C(replica), C(release) and C(executor).
    - C(hold) is the gate before which everything waits, with C(gate), C(kind) and C(seconds), or empty.
  returned: success
  type: list
  elements: dict
hold:
  description: The gate at which an earlier run has left it, where nothing else is to be done before; else empty.
  returned: success
  type: dict
stages:
  description: How many module calls on which host the plan takes.
  returned: success
  type: list
  elements: dict
capacity:
  description: Replicas that serve, by process, before, at the lowest point, and after.
  returned: success
  type: dict
irreversible:
  description: Replicas that are destroyed. A later rollback starts new ones from the image that is kept.
  returned: success
  type: list
  elements: str
before:
  description: The replicas of each process as they are.
  returned: success
  type: dict
after:
  description: The replicas of each process as they will be.
  returned: success
  type: dict
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.front import plan_release
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import PLAN_SPEC

    return PLAN_SPEC, lambda params, check: plan_release(params)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
