# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option C(lease) of the actions that take it, read before any call is made; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._lease_options import (
    TTL,
    WAIT,
    LeaseTimes,
    parse_lease,
)

RECOVERS = ("recover", "finish", "undo")


def lease_given(arguments: Mapping[str, Any]) -> tuple[LeaseTimes, dict[str, Any]]:
    """Return how the lease is to be taken, and, where that is refused, the result to fail with."""
    # Who recovers wants to know who is in the way, not to wait for whoever deploys.
    wait = 0 if arguments.get("to") in RECOVERS else WAIT
    if arguments.get("lease") in (None, {}):
        return LeaseTimes(wait, TTL), {}
    try:
        return parse_lease(arguments.get("lease"), wait=wait), {}
    except InvalidInput as refusal:
        told = {"msg": refusal.message, "path": refusal.path}
        return LeaseTimes(0, 0), {"failed": True, "status": "failed", "changed": False, **told}
