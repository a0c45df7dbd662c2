# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that name load balancers; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """One entry per backend of a load balancer on the host that the module runs on."""

    DOCUMENTATION = r"""
options:
  load_balancers:
    description:
      - The backends to work on, each a backend of one load balancer. All are read before anything is changed at any.
      - HAProxy must be 2.5 or newer, and the backend must use a dynamic balance algorithm (C(roundrobin),
        C(leastconn), C(first) or
        C(random)).
    type: list
    elements: dict
    required: true
    suboptions:
      driver:
        description: What kind of load balancer it is.
        type: str
        choices: [haproxy]
        default: haproxy
      socket:
        description: Absolute path of HAProxy's stats socket; it must have C(level admin).
        type: path
        required: true
      backend:
        description: Name of the backend.
        type: str
        required: true
      master_socket:
        description:
          - Absolute path of HAProxy's master CLI socket.
          - Only the master shows what a worker still does that leaves after a reload. Without it, a reload while
            targets are waited
            for is a failure.
        type: path
        default: ''
      config:
        description:
          - Absolute path of the C(haproxy.cfg) whose managed part is kept in step with what runs, so that a restart
            of HAProxy finds
            the right targets. The managed part lies between the lines C(# BEGIN immutable.cutover targets of
            BACKEND) and
            C(# END immutable.cutover targets of BACKEND) in the backend's section; nothing else in the file is
            touched, and
            HAProxy is not reloaded.
          - Empty means that a restart of HAProxy forgets every target that was registered at run time.
        type: path
        default: ''
      container:
        description:
          - Name of the container that HAProxy runs in, to have the new O(load_balancers[].config) checked by
            C(haproxy -c) in it. The
            container must mount the directory of the file.
          - Empty uses the C(haproxy) of the host.
        type: str
        default: ''
      validate:
        description: Whether C(haproxy -c) must accept the new O(load_balancers[].config) before it takes the old
          one's place.
        type: bool
        default: true
      slow_start:
        description:
          - Seconds in which the share of a new target grows to that of the others, once its health check passes; for
            apps that are slow until their caches are warm.
          - V(0) gives it its full share at once. At most 3600. A restart of HAProxy gives every target its full share.
        type: int
        default: 0
"""
