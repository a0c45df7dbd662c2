#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One-off tasks of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: task_run
short_description: Run one-off tasks in containers of a release's own image
version_added: 0.2.0
description:
  - A migration, for example. A task gets what a replica gets, which is the image by its ID, the environment, the
    secrets, the network and the hardening; it has no port and no load balancer knows it.
  - With O(when) it runs the tasks of O(spec) that have not run for this release yet, in the order of their names, each
    once. What ran is noted on this host, so all hosts of an app must delegate to the same one. It holds the deploy
    lease of the app on this host meanwhile, so two runs never run a task twice.
  - A task that a killed run has left is found by its name, and waited for. Tasks of other releases that are still under
    way are waited for first.
  - With O(command) it runs one command in the image of the release that runs, as often as it is asked. That needs no
    lease and keeps nobody from deploying.
  - A task that fails, or is not done within its timeout, is removed, and ends the module with its exit code and the
    last 20 lines of its log, in which secrets are hidden. It runs again the next time.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._engine
  - immutable.cutover._lease
  - immutable.cutover._turn
options:
  spec:
    description: The app spec, as in M(immutable.cutover.release_apply). Its key C(tasks) has the tasks.
    type: dict
    required: true
  when:
    description:
      - Which tasks. V(before_traffic) are for before the first new replica starts. V(after) are for when the release is
        complete and no replica of another image is left on this host; before that nothing is run, and RV(lines) says
        why.
      - Either this or O(command).
    type: str
    choices: ['', before_traffic, after]
    default: ''
  command:
    description: Program and arguments to run once.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds after which O(command) is stopped and has failed. Tasks of the spec have their own.
    type: int
    default: 300
  state_dir:
    description: Folder on the host for the lease, the journal and what ran, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.release_apply
"""

EXAMPLES = r"""
- name: Run what comes before traffic, once for all hosts
  immutable.cutover.task_run:
    spec: "{{ __release_spec }}"
    when: before_traffic
  delegate_to: web1
  run_once: true

- name: Count the orders, in the image that runs
  immutable.cutover.task_run:
    spec: "{{ __release_spec }}"
    command: [python, -m, shop.count]
  register: counted
"""

RETURN = r"""
tasks:
  description:
    - The tasks that this run has seen end, each with C(name), C(release), C(when), C(outcome) (V(ok) or V(failed)),
      C(host), C(began) (seconds since the epoch), C(seconds), C(exit_code), C(message) (of one that failed) and C(log),
      the last 20 lines.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: migrate, release: 3f2a9c1b, when: before_traffic, outcome: ok, host: web1, began: 1795700000.0,
       seconds: 3.2, exit_code: 0, message: "", log: [applied 0042_orders]}
release:
  description: ID of the release they ran for.
  returned: success
  type: str
lines:
  description: What would be run, or why nothing was.
  returned: success
  type: list
  elements: str
actions:
  description: What was done, for a person to read.
  returned: success
  type: list
  elements: str
  sample: [run task migrate]
log:
  description: The last 20 lines of the task that failed.
  returned: when a task failed
  type: list
  elements: str
exit_code:
  description: Its exit code; none when it was stopped because its time was over.
  returned: when a task failed
  type: int
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.task_front import (
        run_tasks,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import TASK_RUN_SPEC

    return TASK_RUN_SPEC, run_tasks


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
