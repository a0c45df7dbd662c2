# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes and shares as people write them, as numbers; private, no stability promised. Pure."""

from __future__ import annotations

import re

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput

MINIMUM_MEMORY = 6 * 1024 * 1024
"""What the Docker daemon refuses to go below."""

MAXIMUM_MEMORY = 1 << 50
MINIMUM_CPUS = 0.01
MAXIMUM_PIDS = 32768

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


def parse_cpus(value: object, path: str, available: int | None = None) -> float:
    """Return the cores that C(value) says; C(available) are the host's, where they are known."""
    allowed = "must be a number of cores such as 0.5"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InvalidInput(path, value, allowed)
    try:
        cores = float(value)
    except ValueError:
        raise InvalidInput(path, value, allowed) from None
    if not MINIMUM_CPUS <= cores < float("inf"):
        raise InvalidInput(path, value, f"{allowed}, at least {MINIMUM_CPUS:g}")
    if available is not None and cores > available:
        raise InvalidInput(path, value, f"cpus above the host's {available}")
    return cores


def parse_pids(value: object, path: str) -> int:
    """Return how many processes C(value) allows."""
    allowed = f"must be an integer 1-{MAXIMUM_PIDS}"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidInput(path, value, allowed)
    text = str(value).strip()
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not 1 <= int(text) <= MAXIMUM_PIDS:
        raise InvalidInput(path, value, allowed)
    return int(text)
