# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixed addresses on a container network; private, no stability promised. Pure.

A restarted container must keep the address its load balancer target has. So our networks let the
engine hand out the lower half of the subnet only, and we give fixed addresses from the upper half.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection

from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError


def dynamic_range(subnet: str) -> str:
    """Return the half of the subnet that the engine may hand out by itself."""
    return str(next(ipaddress.IPv4Network(subnet).subnets(prefixlen_diff=1)))


def fixed_range(subnet: str, ip_range: str) -> ipaddress.IPv4Network | None:
    """Return the half free for fixed addresses; None where the engine might hand them out."""
    if not subnet or not ip_range or ":" in subnet:
        return None
    network = ipaddress.IPv4Network(subnet)
    if network.prefixlen > 29:
        return None
    upper = list(network.subnets(prefixlen_diff=1))[1]
    return None if upper.overlaps(ipaddress.IPv4Network(ip_range, strict=False)) else upper


def pick_address(free: ipaddress.IPv4Network, used: Collection[str], key: str) -> str:
    """Return an unused address; where to begin depends on C(key), so that racing processes rarely meet.

    The last address of the range is the subnet's broadcast address and never given.
    """
    usable = free.num_addresses - 1
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % usable
    first = int(free.network_address)
    for offset in range(usable):
        address = str(ipaddress.IPv4Address(first + (start + offset) % usable))
        if address not in used:
            return address
    raise EngineError(f"no free fixed address left in {free}", kind="no_address")
