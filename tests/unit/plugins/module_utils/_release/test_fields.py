# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    HIDDEN,
    InvalidInput,
    describe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
READERS: dict[str, Callable[[Fields], object]] = {
    "integer": lambda fields: fields.integer("key", 1, 5, 3),
    "seconds": lambda fields: fields.seconds("key", 7),
    "number": lambda fields: fields.number("key", 0.5, 2, 1),
    "boolean": lambda fields: fields.boolean("key", True),
    "text": lambda fields: fields.text("key", "x", "[a-z]", "must be a letter"),
    "choice": lambda fields: fields.choice("key", ("one", "two"), "one"),
    "strings": lambda fields: fields.strings("key", ("a",)),
    "items": lambda fields: fields.items("key"),
    "fields": lambda fields: fields.fields("key").path("below"),
    "pairs": lambda fields: fields.pairs("key"),
}
DEFAULTS: dict[str, object] = {
    "integer": 3,
    "seconds": 7,
    "number": 1.0,
    "boolean": True,
    "text": "x",
    "choice": "one",
    "strings": ("a",),
    "items": (),
    "fields": "top.key.below",
    "pairs": (),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("given_value", [{}, {"key": None}, None])
def test_what_is_not_given_reads_as_the_default(reader: str, given_value: object) -> None:
    assert READERS[reader](Fields(given_value, "top")) == DEFAULTS[reader]


@pytest.mark.parametrize("reader", READERS)
@given(value=VALUES)
def test_any_value_is_read_or_refused_by_name(reader: str, value: object) -> None:
    try:
        READERS[reader](Fields({"key": value}, "top"))
    except InvalidInput as error:
        assert error.message.startswith("top.key"), error.message
        assert error.message.isprintable()
        assert ", found " in error.message


@pytest.mark.parametrize(
    ("reader", "value", "expected"),
    [
        ("integer", 5, 5),
        ("number", 2, 2.0),
        ("seconds", 86400, 86400),
        ("text", "q", "q"),
        ("choice", "two", "two"),
        ("strings", ("a", "b"), ("a", "b")),
        ("items", [1, "a"], (1, "a")),
        ("pairs", {"b": 1, "a": 2}, (("a", 2), ("b", 1))),
    ],
)
def test_good_values(reader: str, value: object, expected: object) -> None:
    assert READERS[reader](Fields({"key": value}, "")) == expected


def test_finish_refuses_the_first_key_nothing_asked_for() -> None:
    fields = Fields({"name": "x", "nmae": "y"}, "top")
    fields.text("name")
    with pytest.raises(InvalidInput) as caught:
        fields.finish()
    assert (
        caught.value.message
        == "top.nmae: is an unknown option; did you mean name?, found string 'nmae'"
    )


def test_has() -> None:
    fields = Fields({"a": 1, "b": None}, "")
    assert (fields.has("a"), fields.has("b"), fields.has("c")) == (True, False, False)


def test_a_hidden_text_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        Fields({"key": "hunter2"}, "").text("key", None, "[0-9]+", "must be digits", shown=False)
    assert caught.value.message == "key: must be digits, found something that is not shown"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "string 'a'"),
        ("\n", r"string '\n'"),
        ("x" * 100, "string '" + "x" * 76 + "..."),
        (None, "nothing"),
        (False, "boolean false"),
        ([1], "list"),
        ((1,), "list"),
        ({}, "mapping"),
        (1.5, "1.5"),
        (HIDDEN, "something that is not shown"),
    ],
)
def test_how_values_are_described(value: Any, shown: str) -> None:
    assert describe(value) == shown
