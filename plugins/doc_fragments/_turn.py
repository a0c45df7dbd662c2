# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins fill in for each call of a module that works on a release; private."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of one turn of a run."""

    DOCUMENTATION = r"""
options:
  turn:
    description:
      - Filled in by the action plugin for each call it makes; not for plays.
    type: dict
    default: {}
    suboptions:
      holder:
        description: Who deploys.
        type: dict
        default: {}
      ttl:
        description: Seconds the lease is granted for.
        type: int
        default: 60
      seconds:
        description: Seconds to work for.
        type: float
        default: 10
      take_over:
        description: Epoch whose holder is known to be dead.
        type: int
        default: 0
      epoch:
        description: Epoch this run has had since its first call.
        type: int
        default: 0
      undo_follows:
        description: Keep the lease when this call fails.
        type: bool
        default: false
      retires:
        description: Release that this run has completed, when only what it replaced is left.
        type: str
        default: ""
      undoes:
        description: The failure of this run that is being undone.
        type: str
        default: ""
      waits:
        description: Seconds for which the run will go on asking for the lease.
        type: float
        default: 0
      gone:
        description: Runs in line for the lease that are known to be dead.
        type: list
        elements: str
        default: []
      ended:
        description: The result of a run that has failed, to fail with.
        type: dict
        default: {}
      plan:
        description: Return what M(immutable.cutover.release_plan) returns, and change nothing.
        type: bool
        default: false
      resume:
        description: What the call before handed on.
        type: dict
        default: {}
"""
