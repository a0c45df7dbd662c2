# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of what is sent to a balancer; private, no stability promised. Refused, never escaped."""

from __future__ import annotations

import ipaddress

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_name


def checked_name(option: str, value: object) -> str:
    """Return the name, or raise InvalidInput."""
    return check_name(value, option)


def checked_address(option: str, value: object) -> str:
    """Return an IP address in its canonical form, or raise InvalidInput."""
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    raise InvalidInput(option, value, "an IPv4 or IPv6 address")


def checked_number(option: str, value: object, lowest: int, highest: int) -> int:
    """Return the number if it lies between the bounds, or raise InvalidInput."""
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
        return value
    raise InvalidInput(option, value, f"a number from {lowest} to {highest}")


def checked_port(option: str, value: object) -> int:
    """Return the port, or raise InvalidInput."""
    return checked_number(option, value, 1, 65535)


def joined(address: str, port: int) -> str:
    """Write address and port as one word, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
