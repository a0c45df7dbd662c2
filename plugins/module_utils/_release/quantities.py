# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as people write them, as numbers; private, no stability promised. Pure."""

from __future__ import annotations

import re

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput

MINIMUM_MEMORY = 6 * 1024 * 1024
"""What the Docker daemon refuses to go below."""

MAXIMUM_MEMORY = 1 << 50

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d{1,15})\s*([bkmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_MEMORY_ALLOWED = "must be a size such as 256m or 1g (binary units b, k, m, g, t)"


def parse_memory(value: object, path: str) -> int:
    """Return the bytes that C(value) says: a number of bytes, or a number with a unit."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidInput(path, value, _MEMORY_ALLOWED)
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise InvalidInput(path, value, _MEMORY_ALLOWED)
    size = int(match.group(1)) * _UNITS[match.group(2).lower()]
    if size < MINIMUM_MEMORY:
        raise InvalidInput(path, value, "memory below 6 MB (6m), the engine's minimum")
    if size > MAXIMUM_MEMORY:
        raise InvalidInput(path, value, _MEMORY_ALLOWED)
    return size
