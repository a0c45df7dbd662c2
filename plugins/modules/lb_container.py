#!/usr/bin/python
# Copyright (c) 2026, the immutable.cutover authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy in a container."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_container
short_description: Run HAProxy in a container
version_added: 0.1.0
description:
  - Writes C(haproxy.cfg), runs HAProxy on it in a hardened container, and reloads it when the file changed. The role
    P(immutable.cutover.load_balancer#role) renders the file and uses this module.
  - The parts of the file between the marker lines of M(immutable.cutover.lb_target) are taken over from the file as
    it is, and
    before a reload brought in step with what runs, so that no target is lost.
  - The container is made anew only when image, directories or user differ, or when the first port below the host's
    C(net.ipv4.ip_unprivileged_port_start) comes or the last one goes. A change of the file, its ports too, is a reload,
    in which no request is lost.
  - The container shares the host's network, so that clients reach HAProxy itself and nothing of the engine stands in
    between that could die alone.
author:
  - The immutable.cutover authors (@immutable-cutover)
extends_documentation_fragment:
  - immutable.cutover._attributes
options:
  name:
    description: Name of the container.
    type: str
    required: true
  state:
    description: Whether it shall run. V(absent) leaves the directories.
    type: str
    choices: [present, absent]
    default: present
  image:
    description:
      - The image, as V(name@sha256:...) or by ID; a tag is refused. It must be on the host and have
        C(/usr/sbin/haproxy), 2.5 or newer.
    type: str
    default: ''
  config:
    description: Text of C(haproxy.cfg), with empty managed parts. It is validated by the image before it is used.
    type: str
    default: ''
  config_dir:
    description: Directory on the host with C(haproxy.cfg), mounted read-only at C(/etc/haproxy/cfg). It must exist.
    type: path
    required: true
  socket_dir:
    description:
      - Directory on the host for the sockets, mounted at C(/run/haproxy). It must exist and belong to O(user).
      - The file must put its stats socket at C(/run/haproxy/admin.sock); the master's is C(master.sock).
    type: path
    required: true
  network:
    description: Network of what it balances, made with room for fixed addresses when it is not there.
    type: str
    default: cutover
  bind:
    description:
      - Where the frontends in O(config) listen on the host, as V(ADDRESS:PORT). Each once.
      - If one is a port that only root may bind, HAProxy's master runs as root with the capabilities to bind it and
        to change the user of its workers, and no other.
    type: list
    elements: str
    default: []
  user:
    description: Numeric user that HAProxy runs as.
    type: int
    default: 10002
  group:
    description: Numeric group that HAProxy runs as, and that may use its sockets.
    type: int
    default: 10002
  state_dir:
    description: Folder on the host with the records of baked images, which tell what V(name@sha256:...) is here.
    type: path
    default: /var/lib/immutable-cutover
  engine:
    description: The container engine on the host.
    type: dict
    default: {}
    suboptions:
      driver:
        description: What kind of engine it is.
        type: str
        choices: [docker]
        default: docker
      host:
        description: Its unix socket.
        type: str
        default: unix:///var/run/docker.sock
      timeout:
        description: Seconds that one call may take.
        type: int
        default: 60
  timeout:
    description: Seconds until a started or reloaded HAProxy must answer on its socket.
    type: int
    default: 30
seealso:
  - module: immutable.cutover.lb_target
"""

EXAMPLES = r"""
- name: Run the load balancer
  immutable.cutover.lb_container:
    name: lb
    image: "{{ load_balancer_image }}"
    config: "{{ lookup('ansible.builtin.template', 'haproxy.cfg.j2') }}"
    config_dir: /etc/immutable-cutover/lb
    socket_dir: /run/immutable-cutover/lb
    bind: ["127.0.0.1:8080"]
"""

RETURN = r"""
before:
  description: C(container) (name, image, state) and C(config), the text of the file; C(container) may be null.
  returned: success
  type: dict
after:
  description: The same, afterwards.
  returned: success
  type: dict
actions:
  description: What was done, for a person to read.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/immutable-cutover/lb/haproxy.cfg", "reload container lb"]
"""

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._main import Work, run_module


def load() -> tuple[dict[str, Any], Work]:
    """Import the module's options and what works on them."""
    from ansible_collections.immutable.cutover.plugins.module_utils._apply.lb_container import (
        LB_CONTAINER_SPEC,
        ensure_container,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock

    return LB_CONTAINER_SPEC, lambda params, check: ensure_container(
        params, SystemClock(), check=check
    )


def main() -> None:
    """Run the module."""
    run_module(load)


if __name__ == "__main__":
    main()
