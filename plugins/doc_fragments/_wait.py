# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options for waiting; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """How long to wait; running out of time is a failure."""

    DOCUMENTATION = r"""
options:
  wait:
    description: How long to wait for health and for work in flight.
    type: dict
    default: {}
    suboptions:
      timeout:
        description: Seconds for each target. Running out of time is a failure that names who was waited for.
        type: int
        default: 60
"""
