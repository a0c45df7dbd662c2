#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a release about."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_apply
short_description: Replace what runs by a release, without losing a request
version_added: 0.1.0
description:
  - Works towards the release by the steps that M(immutable.cutover.release_plan) shows. New replicas are started,
    found ready, registered and confirmed by the load balancer before an old one is drained; an old one is destroyed
    only when the load balancer routes nothing to it and no request is in flight there.
  - Re-plans from what it observes after every step, so it can be run again after it was killed at any moment.
  - Holds the deploy lease of the app. A step of a run that lost the lease is refused.
  - The plan is shown with the first progress, and before anything is done in check mode. Waits show progress at least
    every 10 seconds.
  - When a new replica does not become ready and C(strategy.on_failure) is V(rollback), the last completed release is
    brought back (old replicas are active again before new ones are drained) and the task fails.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._engine
  - immutable.cutover._release
  - immutable.cutover._lease
  - immutable.cutover._turn
seealso:
  - module: immutable.cutover.release_plan
  - module: immutable.cutover.lb_target
  - module: immutable.cutover.drain
"""

EXAMPLES = r"""
- name: Replace what runs by this release
  immutable.cutover.release_apply:
    spec: "{{ __release_spec }}"
    lease:
      wait: 300

- name: Go back to the release before
  immutable.cutover.release_apply:
    spec: "{{ __release_spec }}"
    to: previous
"""

RETURN = r"""
status:
  description:
    - V(done), V(failed), V(held) at a gate where somebody has to promote or abort, or V(planned) in check mode, with
      which come the results of M(immutable.cutover.release_plan).
  returned: always
  type: str
app:
  description: The app's name.
  returned: success
  type: str
release:
  description: ID of the release that was worked towards.
  returned: success
  type: str
version:
  description: Its version.
  returned: success
  type: str
image:
  description: The image of the release, as its spec names it.
  returned: success
  type: str
image_id:
  description: The ID of the image that its replicas run.
  returned: success
  type: str
seconds:
  description: How long it took, seen from the controller.
  returned: always
  type: float
lines:
  description: The plan as people read it, as made before the first step.
  returned: success
  type: list
  elements: str
actions:
  description: The steps that were done, in the order in which they ended.
  returned: success
  type: list
  elements: str
journal:
  description:
    - What happened, a row a step, as in the journal on the host. C(time) is seconds since the epoch, C(seconds) how
      long it took.
  returned: success
  type: list
  elements: dict
before:
  description: The replicas of each process before.
  returned: success
  type: dict
after:
  description: The replicas of each process after.
  returned: success
  type: dict
diff:
  description:
    - RV(before) and RV(after). In check mode a list, with the plan as C(prepared) before it.
  returned: success
  type: raw
epoch:
  description: The epoch of the lease that the steps were taken under; none where there was nothing to do.
  returned: when something was done
  type: int
hold:
  description: The gate it stands at, with C(gate), C(kind) and C(seconds); empty when it stands at none.
  returned: success
  type: dict
error:
  description: Why the step failed, as C(msg) has it too, with what comes of it and what to do next.
  returned: when a step failed
  type: str
failed_step:
  description: The step that failed, with C(verb) and C(replica); empty when it failed between two steps.
  returned: when a step failed
  type: dict
rolled_back:
  description: Whether the last completed release was brought back because this one failed.
  returned: on failure
  type: bool
error_details:
  description:
    - For a replica that failed, its last log lines, the probe history and the exit code.
    - The values of the release's secrets, of variables whose names look secret and the passwords in URLs are hidden in
      all of it, and in the journal. A value shorter than 4 characters is not, nor is what the app derives from one.
  returned: on failure
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.front import (
        apply_release,
        plan_release,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import APPLY_SPEC

    def work(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
        return plan_release(params) if check or params["turn"]["plan"] else apply_release(params)

    return APPLY_SPEC, work


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
