# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the content store and of downloads."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import fetch as fetching
from ansible_collections.immutable.cutover.plugins.module_utils._image import store as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import WheelLock

DATA = b"a wheel"
DIGEST = hashlib.sha256(DATA).hexdigest()


def fetch(tmp_path: pathlib.Path, url: str, digest: str = DIGEST, count: int = 1) -> subject.Store:
    """Fetch a wheel from a file, as from an index."""
    store = subject.Store(str(tmp_path / "store"))
    wheels = [WheelLock("x", "1", "x-1-py3-none-any.whl", digest)] * count
    with store.workspace() as folder:
        fetching._fetch_wheels(wheels, {"x-1-py3-none-any.whl": url}, store, folder)
    return store


def test_what_was_locked_gets_in(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.whl").write_bytes(DATA)
    store = fetch(tmp_path, f"file://{tmp_path}/x.whl")
    assert store.has(DIGEST)
    assert pathlib.Path(store.verified(DIGEST, "x")).read_bytes() == DATA
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["sha256"]


def test_b43_anything_else_does_not(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"another wheel")
    with pytest.raises(CutoverError, match=f"hash mismatch: expected {DIGEST} got "):
        fetch(tmp_path, f"file://{tmp_path}/x.whl")
    assert list((tmp_path / "store/sha256").iterdir()) == []


def test_b44_a_wheel_that_is_gone(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CutoverError, match="x-1-py3-none-any.whl: download failed"):
        fetch(tmp_path, f"file://{tmp_path}/gone.whl")
    store = subject.Store(str(tmp_path / "store"))
    with (
        store.workspace() as folder,
        pytest.raises(CutoverError, match="x==1 not in index: no x-1-py3"),
    ):
        fetching._fetch_wheels(
            [WheelLock("x", "1", "x-1-py3-none-any.whl", DIGEST)], {}, store, folder
        )


def test_what_is_not_there_or_not_the_same_any_more(tmp_path: pathlib.Path) -> None:
    store = subject.Store(str(tmp_path))
    with pytest.raises(CutoverError, match="x: not in the store"):
        store.verified(DIGEST, "x")
    (tmp_path / "sha256").mkdir()
    (tmp_path / "sha256" / DIGEST).write_bytes(b"spoilt")
    with pytest.raises(CutoverError, match="x: hash mismatch"):
        store.verified(DIGEST, "x")
