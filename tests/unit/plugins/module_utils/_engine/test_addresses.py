# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._engine.addresses import (
    dynamic_range,
    fixed_range,
    pick_address,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError


@pytest.mark.parametrize(
    ("subnet", "ip_range", "free"),
    [
        ("172.18.0.0/16", "172.18.0.0/17", "172.18.128.0/17"),
        ("10.0.0.0/29", "10.0.0.0/30", "10.0.0.4/30"),
        ("172.18.0.0/16", "", None),
        ("172.18.0.0/16", "172.18.0.0/16", None),
        ("172.18.0.0/16", "172.18.128.0/24", None),
        ("10.0.0.0/30", "10.0.0.0/31", None),
        ("fd00::/64", "fd00::/65", None),
        ("", "", None),
    ],
)
def test_where_fixed_addresses_may_be(subnet: str, ip_range: str, free: str | None) -> None:
    found = fixed_range(subnet, ip_range)
    assert (str(found) if found else None) == free


@given(st.integers(16, 29), st.integers(0, 255))
def test_the_two_halves_never_meet(prefix: int, third: int) -> None:
    subnet = str(ipaddress.ip_network(f"10.1.{third}.0/{prefix}", strict=False))
    free = fixed_range(subnet, dynamic_range(subnet))
    assert free is not None
    assert not free.overlaps(ipaddress.IPv4Network(dynamic_range(subnet)))


@given(st.text(max_size=20), st.sets(st.integers(8, 14), max_size=6))
def test_what_is_picked_is_free_and_no_broadcast(key: str, taken: set[int]) -> None:
    used = {f"10.0.0.{number}" for number in taken}
    address = pick_address(ipaddress.IPv4Network("10.0.0.8/29"), used, key)
    assert address not in used
    assert address != "10.0.0.15"
    assert ipaddress.ip_address(address) in ipaddress.ip_network("10.0.0.8/29")


def test_a_full_range_is_an_error_and_no_endless_search() -> None:
    used = {f"10.0.0.{number}" for number in range(8, 15)}
    with pytest.raises(EngineError, match="no free fixed address"):
        pick_address(ipaddress.IPv4Network("10.0.0.8/29"), used, "x")
