# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.quantities import (
    MINIMUM_MEMORY,
    parse_memory,
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
