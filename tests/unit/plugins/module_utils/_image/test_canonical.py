# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of canonical JSON and atomic files."""

from __future__ import annotations

import json
import os
import pathlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._image import canonical as subject

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    reordered = dict(reversed(list(value.items())))
    for write in (subject.canonical_json, subject.readable_json):
        assert write(value) == write(reordered)
        assert json.loads(write(value)) == value
        assert write(value).isascii()


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        subject.canonical_json(float("nan"))


def test_hash_of_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * (subject.CHUNK + 1))
    assert subject.sha256_file(str(path)) == subject.sha256_bytes(path.read_bytes())


def test_replacing_a_file_leaves_nothing_else(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    subject.write_atomic(str(path), b"1")
    subject.write_atomic(str(path), b"2", 0o600)
    assert path.read_bytes() == b"2"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_a_failed_write_leaves_nothing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="directory"):
        subject.write_atomic(str(tmp_path / "x"), b"1")
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_a_lock_is_held_by_one(tmp_path: pathlib.Path) -> None:
    entered = threading.Event()

    def other() -> None:
        with subject.locked(str(tmp_path / "lock")):
            entered.set()

    thread = threading.Thread(target=other)
    with subject.locked(str(tmp_path / "lock")):
        thread.start()
        assert not entered.wait(0.2)
    thread.join(5)
    assert entered.is_set()
