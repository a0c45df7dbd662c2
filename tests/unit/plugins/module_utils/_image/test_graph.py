# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the graph: what stands on which base."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import graph as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord


def image(tag: str, digit: str, base: str = "") -> BakeRecord:
    """Return a record."""
    name, _colon, version = tag.partition(":")
    return BakeRecord(
        name=name,
        version=version,
        kind="app" if base else "base",
        arch="amd64",
        image_id="sha256:" + digit * 63 + "0",
        manifest_digest="sha256:" + digit * 64,
        recipe_hash="",
        base=base,
        epoch=0,
        size=0,
        layers=(),
    )


OLD, NEW = image("base/a:1.9.0", "1"), image("base/a:1.10.0", "2")
SHOP = image("shop/web:1.0.0", "3", OLD.reference)
SHOP_NEW = image("shop/web:1.0.1", "4", f"base/a@{NEW.image_id}")
LOST = image("x/y:1.0.0", "5", "base/b@sha256:" + "6" * 64)


def tags(**changes: str) -> dict[str, list[str]]:
    """Return the tags below each base."""
    found = subject.graph([SHOP_NEW, NEW, OLD, LOST], [SHOP, OLD], **changes)
    return {base["tag"]: [item["tag"] for item in base["images"]] for base in found}


def test_every_base_with_what_stands_on_it() -> None:
    expected = {
        "base/a:1.9.0": ["shop/web:1.0.0"],
        "base/a:1.10.0": ["shop/web:1.0.1"],
        "base/b": ["x/y:1.0.0"],
    }
    assert tags() == expected
    assert list(tags()) == list(expected)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("base/a", ["base/a:1.9.0", "base/a:1.10.0"]),
        ("base/a:1.9.0", ["base/a:1.9.0"]),
        (NEW.reference, ["base/a:1.10.0"]),
        (f"base/a@{NEW.image_id}", ["base/a:1.10.0"]),
        ("base/b", ["base/b"]),
    ],
)
def test_one_base(base: str, expected: list[str]) -> None:
    assert list(tags(base=base)) == expected


SLIM = image("debian/slim:sha256-7", "7")
SITE = dataclasses.replace(image("base/site:1.0.0", "8", SLIM.reference), kind="base")
EMPTY = dataclasses.replace(image("base/empty:1.0.0", "a", SITE.reference), kind="base")
DEEP = image("shop/deep:1.0.0", "9", SITE.reference)
FLAT = image("shop/flat:1.0.0", "b", SLIM.reference)
DEEP_LINES = [
    "debian/slim:sha256-7 sha256:777777777777 (output)",
    "├── base/site:1.0.0 sha256:888888888888 (output)",
    "│   ├── base/empty:1.0.0 sha256:aaaaaaaaaaaa (output)",
    "│   └── shop/deep:1.0.0 sha256:999999999999 (output)",
    "└── shop/flat:1.0.0 sha256:bbbbbbbbbbbb (output)",
]
INNER_LINES = [
    "base/site:1.0.0 sha256:888888888888 (output)",
    "├── base/empty:1.0.0 sha256:aaaaaaaaaaaa (output)",
    "└── shop/deep:1.0.0 sha256:999999999999 (output)",
]


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("", DEEP_LINES),
        ("debian/slim", DEEP_LINES),
        ("base/site", INNER_LINES),
        (SITE.reference, INNER_LINES),
        ("base/empty:1.0.0", ["base/empty:1.0.0 sha256:aaaaaaaaaaaa (output)"]),
    ],
)
def test_what_stands_on_a_base_that_stands_on_a_base(base: str, expected: list[str]) -> None:
    bases = subject.graph([SITE, DEEP, SLIM, FLAT, EMPTY], [], base=base)
    assert subject.lines(bases) == expected
    assert all("images" in image for image in bases)


def test_an_app_that_nothing_stands_on_is_no_base() -> None:
    with pytest.raises(CutoverError, match=r"\(base/empty:1.0.0, base/site:1.0.0, debian/slim:"):
        subject.graph([SITE, DEEP, SLIM, EMPTY], [], base="shop/deep")


def test_a_base_that_nobody_knows_is_refused() -> None:
    with pytest.raises(
        CutoverError, match=r"base: must be a base .*\(base/a:1.10.0, base/a:1.9.0, base/b\)"
    ):
        tags(base="base/c")


def test_lines_say_where_an_image_is() -> None:
    found = subject.lines(subject.graph([SHOP_NEW, NEW, OLD, LOST], [SHOP, OLD]))
    assert found == [
        "base/a:1.9.0 sha256:111111111111 (output, host)",
        "└── shop/web:1.0.0 sha256:333333333333 (host)",
        "base/a:1.10.0 sha256:222222222222 (output)",
        "└── shop/web:1.0.1 sha256:444444444444 (output)",
        "base/b sha256:666666666666 (not here)",
        "└── x/y:1.0.0 sha256:555555555555 (output)",
    ]
