# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.quantities import (
    MINIMUM_MEMORY,
    parse_cpus,
    parse_memory,
    parse_pids,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("256m", 256 << 20),
        ("256M", 256 << 20),
        ("256MB", 256 << 20),
        ("256MiB", 256 << 20),
        (" 1g ", 1 << 30),
        ("6144k", MINIMUM_MEMORY),
        (MINIMUM_MEMORY, MINIMUM_MEMORY),
        (str(MINIMUM_MEMORY), MINIMUM_MEMORY),
        ("8000000b", 8_000_000),
        ("1t", 1 << 40),
    ],
)
def test_sizes(value: object, expected: int) -> None:
    assert parse_memory(value, "resources.memory") == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("1m", "memory below 6 MB"),
        (0, "memory below 6 MB"),
        (MINIMUM_MEMORY - 1, "memory below 6 MB"),
        ("-256m", "must be a size"),
        ("256 parsecs", "must be a size"),
        ("1.5g", "must be a size"),
        ("", "must be a size"),
        ("m", "must be a size"),
        ("٣٢m", "must be a size"),
        ("256m\n256m", "must be a size"),
        ("999999999999999t", "must be a size"),
        (True, "boolean true"),
        (None, "nothing"),
        ([1], "list"),
        (2.5e8, "must be a size"),
    ],
)
def test_b30_bad_sizes(value: object, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_memory(value, "web.resources.memory")
    assert caught.value.message.startswith("web.resources.memory: "), caught.value.message
    assert says in caught.value.message


@given(st.integers(6, 1 << 20))
def test_a_size_in_megabytes_is_that_many_bytes(size: int) -> None:
    assert parse_memory(f"{size}m", "p") == parse_memory(size << 20, "p") == size << 20


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, 0.5), ("0.5", 0.5), (2, 2.0), ("2", 2.0), (0.01, 0.01)]
)
def test_cpus(value: object, expected: float) -> None:
    assert parse_cpus(value, "resources.cpus", 2) == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (900, "cpus above the host's 2"),
        (2.01, "cpus above the host's 2"),
        (0, "at least 0.01"),
        (-1, "at least 0.01"),
        ("nan", "at least 0.01"),
        ("inf", "at least 0.01"),
        ("many", "number of cores"),
        (True, "boolean true"),
        (None, "nothing"),
    ],
)
def test_b31_bad_cpus(value: object, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_cpus(value, "web.resources.cpus", 2)
    assert caught.value.message.startswith("web.resources.cpus: "), caught.value.message
    assert says in caught.value.message


def test_cpus_of_an_unknown_host_have_no_upper_bound() -> None:
    assert parse_cpus(900, "p") == 900.0


@pytest.mark.parametrize("value", [1, "128", 32768])
def test_pids(value: object) -> None:
    assert parse_pids(value, "p") == int(str(value))


@pytest.mark.parametrize("value", [0, -1, 1.5, "x", True, None, 32769, "9999999"])
def test_bad_pids(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"resources\.pids: must be an integer 1-32768"):
        parse_pids(value, "resources.pids")
