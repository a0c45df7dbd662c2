# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of compressed layers."""

from __future__ import annotations

import gzip
import json
import pathlib
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._image import compress as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Blob, Layout


def in_pieces(data: bytes, size: int) -> t.Iterator[bytes]:
    """Return the data as a connection would."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


@given(parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=4), size=st.integers(1, 999))
def test_any_members_in_any_pieces_come_out(parts: list[bytes], size: int) -> None:
    data = b"".join(gzip.compress(part) for part in parts)
    assert b"".join(subject.gunzipped(in_pieces(data, size), "x")) == b"".join(parts)


def test_the_same_content_gives_the_same_bytes(tmp_path: pathlib.Path) -> None:
    content = bytes(range(256)) * 9000
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(content)
    one, two = (b"".join(subject.gzipped(str(tmp_path / name))) for name in ("one", "two"))
    assert one == two
    assert one[4:8] == bytes(4), "no time"
    assert not one[3], "no name"
    assert b"".join(subject.gunzipped([one], "x")) == content


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"no gzip at all", "x: is not gzip", id="other"),
        pytest.param(gzip.compress(b"y" * 99)[:-9], "x: ends within", id="truncated"),
        pytest.param(b"", "x: ends within", id="empty"),
    ],
)
def test_what_is_no_gzip_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(StateError, match=says):
        list(subject.gunzipped(in_pieces(data, 5), "x"))


def test_a_bomb_is_refused_before_it_fills_the_disk_se_15() -> None:
    bomb = gzip.compress(bytes(80 << 20))
    written = 0
    with pytest.raises(StateError, match="unpacks to over 200 times"):
        for piece in subject.gunzipped(in_pieces(bomb, 1 << 16), "x"):
            written += len(piece)
    assert written <= 66 << 20


def test_what_came_out_is_noted_until_zlib_changes(tmp_path: pathlib.Path) -> None:
    layout = Layout(str(tmp_path))
    layout.create()
    layer = layout.add_bytes(b"z" * 10_000)
    layers = subject.CompressedLayers(layout)
    made = layers.describe(layer)
    packed = b"".join(subject.gzipped(layout.blob_path(layer.digest)))
    assert made == Blob("sha256:" + sha256_bytes(packed), len(packed))
    pathlib.Path(layout.blob_path(layer.digest)).unlink()
    assert layers.describe(layer) == made
    (note,) = (tmp_path / "compressed").iterdir()
    told = json.loads(note.read_text())
    for spoilt in ("", "[]", json.dumps({**told, "with": "zlib 0"})):
        note.write_text(spoilt)
        with pytest.raises(FileNotFoundError):
            layers.describe(layer)
