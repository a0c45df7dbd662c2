#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Show what runs, which releases are kept, and who deploys
version_added: 0.1.0
description:
  - Reads the container engine, the load balancers and this host's records of one app. It changes nothing.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes.info_module
  - immutable.cutover._engine
options:
  app:
    description: The app's name.
    type: str
    required: true
  spec:
    description:
      - The app spec, as M(immutable.cutover.release_plan) takes it, for its load balancers.
      - Without it, the record of the release that runs tells which load balancers to ask.
    type: dict
  last:
    description: How many journal rows to return.
    type: int
    default: 50
  show:
    description: Also print RV(lines) as they are.
    type: bool
    default: false
  state_dir:
    description: Folder on the host with the lease, the journal and the release records.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.release_plan
"""

EXAMPLES = r"""
- name: See what runs
  immutable.cutover.release_info:
    app: shop
  register: shop

- name: Show it
  ansible.builtin.debug:
    msg: "{{ shop.processes }}"
"""

RETURN = r"""
app:
  description: The app's name.
  returned: success
  type: str
current:
  description: ID of the release that was completed last, empty where there is none.
  returned: success
  type: str
version:
  description: Its version.
  returned: success
  type: str
processes:
  description:
    - The replicas of each process type, each with C(name), C(release), C(version), C(state), C(address), C(health) (the
      load balancer's last check), C(in_flight) (requests) and C(age) (seconds).
    - C(state) is one of V(started), V(standby), V(serving), V(unhealthy), V(misaddressed), V(dead) and V(missing), or
      V(unknown) when the load balancer does not answer.
  returned: success
  type: dict
releases:
  description: The releases that are kept, oldest first, each with C(id), C(version), C(image) and C(image_id).
  returned: success
  type: list
  elements: dict
under_way:
  description:
    - The release that was begun and is not completed, with C(release), C(to), C(passed) (gates it was let through) and
      C(held) (the gate where it waits for somebody, or empty). Empty where there is none.
  returned: success
  type: dict
lease:
  description:
    - The deploy lease, with C(epoch), C(holder), C(acquired) and C(renewed) (seconds since the epoch), C(ttl)
      (seconds), C(expired), C(dead) (whether its holder is known to be) and C(line), who waits for it.
  returned: success
  type: dict
wanted:
  description: How many replicas each process type should have.
  returned: success
  type: dict
problems:
  description: What load balancers that do not answer say.
  returned: success
  type: list
  elements: str
next:
  description: What to do now, empty where all is well.
  returned: success
  type: list
  elements: str
journal:
  description: The last journal rows, oldest first.
  returned: success
  type: list
  elements: dict
lines:
  description: The same for a person to read.
  returned: success
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module

OPTIONS: dict[str, dict[str, Any]] = {
    "app": {"type": "str", "required": True},
    "spec": {"type": "dict"},
    "last": {"type": "int", "default": 50},
    "show": {"type": "bool", "default": False},
}


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.info import release_info
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import HOST_SPEC
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
    from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory

    def work(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
        wanted = {key: params[key] for key in ("app", "spec", "state_dir", "last")}
        engine = factory.connect(params["engine"])
        found = release_info(**wanted, engine=engine, clock=SystemClock())
        return {"changed": False, "shown": params["show"], **found}

    return {**HOST_SPEC, **OPTIONS}, work


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
