#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replicas of a process on one host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: replica
short_description: Start replicas until they are ready, or stop them gracefully
version_added: 0.1.0
description:
  - Starts many replicas at once, hardened (read-only root file system, no capabilities, no new privileges,
    non-root user, limits, an init), at addresses that they keep when they are restarted, and waits until each is
    ready.
  - A replica that does not start or does not become ready is removed again. The failure has its last log lines,
    what the probe saw and its exit code; in these, values of secrets and of variables named like one are hidden.
  - A running replica is never changed. One that runs with another image or configuration under the same name is a
    failure.
  - Stops replicas by container ID, with a signal and a grace period, and refuses while a load balancer still knows
    them.
  - M(immutable.cutover.release_apply) does all this itself, under a lease. This module is for plays that order the
    steps on their own.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
  - immutable.cutover._engine
  - immutable.cutover._load_balancer_optional
options:
  app:
    description: Name of the app. Only containers that carry it in the label C(immutable.cutover.app) are ever
      touched.
    type: str
    required: true
  state:
    description:
      - V(present) starts what does not run, and waits until all are ready.
      - V(absent) stops and removes. Only O(replicas[].name) and O(replicas[].stop) count then. A replica that one of
        O(load_balancers) still knows is a failure, and nothing is stopped; the load balancers themselves are never
        changed.
    type: str
    choices: [present, absent]
    default: present
  replicas:
    description: The replicas, each name once. Others are left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the replica, its container and its host name.
        type: str
        required: true
      image:
        description:
          - The image, as C(name@sha256:) and a digest that a bake recorded on this host, or C(sha256:) and an
            image ID. Never a tag.
          - Needed with O(state=present).
        type: str
        default: ''
      port:
        description: The port it listens on. It gets it as the environment variable E(PORT). It is not published on
          the host.
        type: int
        default: 8080
      command:
        description: Replaces the image's command when not empty.
        type: list
        elements: str
        default: []
      env:
        description: Its configuration. Secrets belong into O(replicas[].secrets).
        type: dict
        default: {}
      secrets:
        description: Files it sees as C(/run/secrets/NAME), mode 0400, readable for its user only.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the secret.
            type: str
            required: true
          source:
            description: Absolute path of the file on the host, which only root should be able to read.
            type: path
            required: true
      labels:
        description: Labels of the container. The prefix C(immutable.cutover.) is reserved.
        type: dict
        default: {}
      network:
        description: The network, which must exist. On networks that the collection made, addresses are fixed.
        type: str
        default: cutover
      readiness:
        description: When it counts as ready. Asked of its own address; redirects are not followed.
        type: dict
        default: {}
        suboptions:
          path:
            description: Path of a GET request.
            type: str
            default: /readyz
          status:
            description: HTTP statuses that pass.
            type: list
            elements: int
            default: [200]
          expect:
            description: JMESPath expression that must be V(true) of the JSON body. Needs the Python library
              C(jmespath) on the host.
            type: str
            default: ''
          interval:
            description:
              - Seconds between two looks once one has passed.
              - Before that it looks more often, after a tenth of the time waited so far, 0.05 seconds at least.
            type: int
            default: 1
          successes:
            description: How many looks in a row must pass.
            type: int
            default: 2
          timeout:
            description: Seconds after which it has failed.
            type: int
            default: 60
      warm_up:
        description: Paths of GET requests to send in order once it is ready. No answer or a status of 500 and
          above is a failure.
        type: list
        elements: str
        default: []
      resources:
        description: Its limits.
        type: dict
        default: {}
        suboptions:
          memory:
            description: Bytes, or a number with V(k), V(m), V(g) or V(t), binary. At least V(6m). It gets no swap.
            type: str
            default: 256m
          cpus:
            description: Cores, 0.01-1024 and at most the host's.
            type: float
            default: 1
          pids:
            description: Processes and threads, 8-1000000.
            type: int
            default: 128
      stop:
        description: How it is ended.
        type: dict
        default: {}
        suboptions:
          signal:
            description: The signal that asks it to end.
            type: str
            choices: [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH]
            default: SIGTERM
          grace_period:
            description: Seconds it then has before it is killed.
            type: int
            default: 30
  state_dir:
    description: Folder on the host with bake records and copies of secrets, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
seealso:
  - module: immutable.cutover.release_apply
  - module: immutable.cutover.lb_target
"""

EXAMPLES = r"""
- name: Start two replicas
  immutable.cutover.replica:
    app: reports
    replicas:
      - name: reports-1
        image: "{{ reports_image }}"
        secrets:
          - name: DATABASE_URL
            source: /etc/reports/database_url
        readiness:
          expect: status == 'ok'
      - name: reports-2
        image: "{{ reports_image }}"
        resources:
          memory: 512m

- name: Take one away that no load balancer knows any more
  immutable.cutover.replica:
    app: reports
    state: absent
    load_balancers:
      - socket: /run/immutable-cutover/lb/admin.sock
        backend: reports
    replicas:
      - name: reports-1
        stop:
          grace_period: 60
"""

RETURN = r"""
before:
  description: For each replica, in the order given, its name and state (V(absent), or the engine's word), its
    image ID and a digest of its configuration.
  returned: success
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
  sample: [start reports-1, start reports-2]
replicas:
  description: For each replica, what only a real run can know; empty in check mode.
  returned: success, or failure of some
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    id:
      description: Container ID.
      type: str
    address:
      description: Its address on its network, with O(state=present).
      type: str
    port:
      description: Its port, with O(state=present).
      type: int
    ready_after:
      description: Seconds from the first look to the last, with O(state=present).
      type: float
    exit_code:
      description: How it ended, with O(state=absent).
      type: int
    killed:
      description: Whether it had to be killed, with O(state=absent).
      type: bool
    cause:
      description: Why it was killed.
      type: str
errors:
  description: For each replica that failed its name and message, and where a container was, C(state),
    C(exit_code), C(cause), C(log) (its last 20 lines) and C(probe_history).
  returned: failure of some
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.replica_front import (
        MODULE_SPEC,
        ensure_replicas,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock

    return MODULE_SPEC, lambda params, check: ensure_replicas(params, SystemClock(), check=check)


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
