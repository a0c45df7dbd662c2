# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The app spec that the unit tests start from, and ways to spoil it."""

from __future__ import annotations

import copy
from typing import Any

IMAGE_ID = "sha256:" + "1" * 64
OTHER_IMAGE_ID = "sha256:" + "2" * 64
IMAGE = f"registry.example/shop/web@{IMAGE_ID}"

SPEC: dict[str, Any] = {
    "app": "shop",
    "image": IMAGE,
    "version": "1.0.0",
    "env": {"LOG_LEVEL": "info"},
    "processes": {"web": {"replicas": 2, "port": 8080}},
    "load_balancers": [
        {"driver": "haproxy", "socket": "/run/haproxy/admin.sock", "backend": "shop"}
    ],
}


def mapping(**options: object) -> dict[str, Any]:
    """Return the valid spec with other values at the top level."""
    return {**copy.deepcopy(SPEC), **options}


def with_option(path: str, value: object) -> dict[str, Any]:
    """Return the valid spec with another value at a dotted path; keys on the way are made."""
    spec = mapping()
    *way, last = path.split("/")
    place: Any = spec
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = value
    return spec


def without_option(path: str) -> dict[str, Any]:
    """Return the valid spec without one option."""
    spec = mapping()
    *way, last = path.split("/")
    place: Any = spec
    for key in way:
        place = place[key]
    del place[last]
    return spec
