# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run waits for the deploy lease and how long it lasts; pure, private, no stability promised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

WAIT, TTL = 900, 60
"""Seconds, where nothing else is said."""
SHORTEST_TTL = 5
"""Seconds. A lease has to outlive the start of the next call, which renews it; else any other run takes it over."""


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds to wait for another run's lease, and seconds after which one that nobody renewed may be taken over."""

    wait: int
    ttl: int


def parse_lease(value: object, path: str = "lease", wait: int = WAIT) -> LeaseTimes:
    """Validate the option C(lease); as in other options of Ansible's, a number may be written as a string."""
    # Late: most runs say nothing here, and the controller compiles what it imports in each of them.
    from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields

    if isinstance(value, Mapping):
        value = {key: _number(item) for key, item in value.items()}
    fields = Fields(value, path, "must be a mapping with wait and ttl")
    times = LeaseTimes(
        wait=fields.seconds("wait", wait, 0), ttl=fields.seconds("ttl", TTL, SHORTEST_TTL)
    )
    fields.finish()
    return times


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
