# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import (
    MAX_NAME,
    NAME_PATTERN,
    check_env_name,
    check_name,
    check_name_pair,
    is_replica_name,
    release_of_name,
    replica_name,
)

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)
PARTS = st.from_regex("[a-b][a-b_.-]{0,5}", fullmatch=True)
"""Short names of few letters: two of them often make one and the same text."""
RELEASES = st.from_regex("[0-9a-f]{8}", fullmatch=True)
SLOTS = st.integers(1, 100)


@pytest.mark.parametrize("name", ["a", "9", "A_b.c-d", "a" * 63])
def test_names(name: str) -> None:
    assert check_name(name, "app") == name


@given(st.text())
def test_every_text_is_a_name_or_refused_in_one_line(text: str) -> None:
    try:
        assert check_name(text, "app").isascii()
    except InvalidInput as error:
        assert error.message.isprintable()
        assert error.message.startswith("app: ")


@pytest.mark.parametrize("name", ["A", "_a", "A_1", "a" * 200])
def test_env_names(name: str) -> None:
    assert check_env_name(name, "env") == name


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A=", "A ", "Ä", "A\n", None, 1])
def test_bad_env_names(name: object) -> None:
    with pytest.raises(InvalidInput, match="env name must match"):
        check_env_name(name, "env")


def allowed(app: str, process: str) -> bool:
    try:
        check_name_pair(app, process)
    except InvalidInput:
        return False
    return True


PAIRS = st.tuples(PARTS, PARTS).filter(lambda pair: allowed(*pair))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("shop", "web-x"), ("shop-web", "x")),
        (("shop", "a-b-c"), ("shop-a", "b-c")),
        (("shop-a", "b-c"), ("shop-a-b", "c")),
        (("shop", "web-x"), ("shop", "web_x")),
        (("shop-", "x"), ("shop", "x")),
        (("shop-web__x", "y"), ("shop", "web-x-y")),
    ],
)
def test_two_processes_never_have_one_name(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert allowed(*first) and allowed(*second)
    name = replica_name(*first, "01234567", 1)
    assert name != replica_name(*second, "01234567", 1)
    assert is_replica_name(name, *first)
    assert not is_replica_name(name, *second)


@given(PAIRS, PAIRS, RELEASES, SLOTS)
def test_a_name_belongs_to_one_app_and_process(
    first: tuple[str, str], second: tuple[str, str], release: str, slot: int
) -> None:
    name = replica_name(*first, release, slot)
    assert is_replica_name(name, *second) is (first == second)
    assert (name == replica_name(*second, release, slot)) is (first == second)


def test_no_two_of_all_short_names_are_one() -> None:
    """Everything that letters, dashes and underscores can be up to four characters, and so every way to collide."""
    parts = ["a" + "".join(rest) for size in range(4) for rest in product("a-_", repeat=size)]
    pairs = [pair for pair in product(parts, parts) if allowed(*pair)]
    found: dict[str, tuple[str, str]] = {}
    for pair in pairs:
        name = replica_name(*pair, "01234567", 1)
        assert found.setdefault(name, pair) == pair
    assert len(pairs) > 900


def test_a_name_stays_readable() -> None:
    assert replica_name("shop", "web", "3f2a9c1b", 2) == "shop-web-3f2a9c1b-2"
    assert replica_name("shop", "web-x", "3f2a9c1b", 2) == "shop-web__x-3f2a9c1b-2"


@given(NAMES, NAMES, RELEASES, SLOTS)
def test_a_replica_name_is_recognised_and_split(
    app: str, process: str, release: str, slot: int
) -> None:
    name = replica_name(app, process, release, slot)
    assert is_replica_name(name, app, process)
    assert release_of_name(name) == (release, slot)


@given(NAMES, NAMES)
def test_a_pair_that_is_allowed_makes_names_that_fit(app: str, process: str) -> None:
    longest = replica_name(app, process, "0" * 8, 100)
    try:
        check_name_pair(app, process)
    except InvalidInput as error:
        unclear = any(pair in process for pair in ("__", "-_", "_-"))
        assert unclear or len(longest) > MAX_NAME
        assert error.path == f"processes.{process}"
    else:
        assert check_name(longest, "replica") == longest


@pytest.mark.parametrize(
    "name",
    [
        "shop-web-0123456-1",
        "shop-web-0123456g-1",
        "shop-web-01234567-",
        "shop-web-01234567-1000",
        "shop-web-01234567-1x",
        "shop-web-01234567-1\n",
        "xshop-web-01234567-1",
        "shop-worker-01234567-1",
        "shopXweb-01234567-1",
        "legacy",
        "",
    ],
)
def test_what_others_named_is_not_ours(name: str) -> None:
    assert not is_replica_name(name, "shop", "web")


def test_a_dot_in_an_app_name_matches_only_itself() -> None:
    assert is_replica_name("a.b-web-01234567-1", "a.b", "web")
    assert not is_replica_name("axb-web-01234567-1", "a.b", "web")
