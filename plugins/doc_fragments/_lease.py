# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option C(lease); private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """How the deploy lease is taken."""

    DOCUMENTATION = r"""
options:
  lease:
    description:
      - How the deploy lease of the app is taken. An unknown key or a number out of bounds is refused before anything
        changes, with check mode too.
    type: dict
    default: {}
    suboptions:
      wait:
        description:
          - Seconds to wait for another run's lease before giving up, 0-86400. Who waits is served first come, first
            served.
          - A recovery waits only if this is given.
        type: int
        default: 900
      ttl:
        description:
          - Seconds after which a lease that nobody renewed may be taken over, 5-86400. A holder on the same controller
            that is found dead is taken over from at once.
        type: int
        default: 60
"""
