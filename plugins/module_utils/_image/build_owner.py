# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process a build's leftovers are of, and whether it is still there; private, no stability promised."""

from __future__ import annotations

import os

from ansible_collections.immutable.cutover.plugins.module_utils._process import (
    has_ended,
    identity,
)

_WORDS = 3
"""Of which the name of a process is made."""


def this_process() -> str:
    """Return what no other process of this or another machine, container or boot is called."""
    return identity(os.getpid())


def is_dead(owner: str) -> bool:
    """Tell whether that process is gone; of other machines and other containers this is not known.

    Behind its name an owner may have more, which tells the builds of one process apart.
    """
    return has_ended(" ".join(owner.split(" ")[:_WORDS]))
