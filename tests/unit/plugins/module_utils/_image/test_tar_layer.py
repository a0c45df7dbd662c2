# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of looking into layers: what is refused, and that nothing is unpacked."""

from __future__ import annotations

import gzip
import io
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import tar_layer as subject

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft


def region(path: pathlib.Path, data: bytes) -> subject.Region:
    """Return bytes as an open file."""
    path.write_bytes(data)
    return subject.whole(str(path))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "..", "/x/../../evil"])
def test_se15_an_entry_that_leads_out_is_refused(craft: Craft, name: str) -> None:
    with pytest.raises(CutoverError, match="leads out of the image: refused"):
        craft.layer(craft.tar(craft.file(name, b"x")))


def test_se15_a_hard_link_that_leads_out_is_refused(craft: Craft) -> None:
    with pytest.raises(CutoverError, match="leads out of the image: refused"):
        craft.layer(craft.tar(craft.hard("a", "../../etc/shadow")))
    with pytest.raises(CutoverError, match="hard link a to nothing: etc/shadow"):
        craft.layer(craft.tar(craft.hard("a", "/etc/shadow")))


def test_se15_too_many_entries_are_refused(craft: Craft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_ENTRIES", 3)
    craft.layer(craft.tar(*[craft.file(f"f{n}") for n in range(3)]))
    with pytest.raises(CutoverError, match="more than 3 entries: refused"):
        craft.layer(craft.tar(*[craft.file(f"f{n}") for n in range(4)]))


def test_se15_a_compressed_bomb_is_refused(tmp_path: pathlib.Path) -> None:
    bomb = gzip.compress(bytes(80 << 20), 9)
    with pytest.raises(CutoverError, match="bytes unpack to .* or more: refused"):
        subject.unpacked(region(tmp_path / "bomb", bomb), "layer 1")


def test_se15_a_sparse_bomb_is_refused(craft: Craft) -> None:
    def hole(size: int) -> bytes:
        headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(size)}
        return craft.tar(craft.file("hole", b"x", pax_headers=headers))

    layer = craft.layer(hole(1000))
    assert layer.data(layer.nodes["hole"], 2000) == b"x" + bytes(999)
    with pytest.raises(CutoverError, match="unpack to 1099511627776 or more: refused"):
        craft.layer(hole(1 << 40))


def test_gzip_in_several_streams_is_read(craft: Craft, tmp_path: pathlib.Path) -> None:
    data = craft.tar(craft.file("a", b"1"))
    packed = gzip.compress(data[:700]) + gzip.compress(data[700:])
    found = subject.unpacked(region(tmp_path / "gz", packed), "layer 1")
    assert found.read(found.size) == data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "damaged gzip data: ends too early"),
        (gzip.compress(b"x" * 1000, mtime=0)[:12] + b"\xff" * 20, "damaged gzip data"),
        (b"\x28\xb5\x2f\xfdrest", "compressed by zstd, which is not supported"),
    ],
)
def test_what_cannot_be_unpacked_is_an_error(
    tmp_path: pathlib.Path, data: bytes, says: str
) -> None:
    with pytest.raises(CutoverError, match=says):
        subject.unpacked(region(tmp_path / "gz", data), "layer 1")


def test_what_is_no_tar_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CutoverError, match="layer 1: not a tar archive"):
        subject.TarLayer(region(tmp_path / "x", b"no tar" * 500), 0, "layer 1")


def test_a_region_is_a_file_of_its_own(tmp_path: pathlib.Path) -> None:
    whole = region(tmp_path / "x", b"0123456789")
    part = subject.Region(whole.stream, 3, 4)
    assert (part.read(99), part.read(1)) == (b"3456", b"")
    part.seek(-1, io.SEEK_END)
    assert part.read() == b"6"
    assert whole.read(2) == b"01"


def test_links_carry_what_they_link_to(craft: Craft) -> None:
    layer = craft.layer(craft.tar(craft.file("./a", b"data", 0o4755), craft.hard("/b", "./a")))
    assert layer.data(layer.nodes["b"], 10) == b"data"
    assert (layer.nodes["b"].mode, layer.nodes["b"].is_file) == (0o4755, True)


def test_a_file_capability_is_seen(craft: Craft) -> None:
    capability = {"SCHILY.xattr.security.capability": "x"}
    layer = craft.layer(craft.tar(craft.file("ping", pax_headers=capability), craft.file("cat")))
    assert [layer.nodes[name].capability for name in ("ping", "cat")] == [True, False]
