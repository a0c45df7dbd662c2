# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the layer that holds what a build changed: the same before and after give the same bytes."""

from __future__ import annotations

import io
import pathlib
import tarfile
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import difference as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    write_entries,
)

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft, Member

EPOCH = 1_700_000_000
LATER = EPOCH + 1000


def file(path: str, data: str = "x", **changes: t.Any) -> Member:
    """Return a file that was written after the epoch."""
    content = data.encode()
    member = tarfile.TarInfo(path)
    member.size, member.mode, member.mtime = len(content), 0o644, LATER
    for key, value in changes.items():
        setattr(member, key, value)
    return member, content


def folder(path: str, mode: int = 0o755, **changes: t.Any) -> Member:
    """Return a folder."""
    return file(path, "", type=tarfile.DIRTYPE, mode=mode, **changes)


def hard(path: str, target: str) -> Member:
    """Return a hard link."""
    return file(path, "", type=tarfile.LNKTYPE, linkname=target)


def link(path: str, target: str) -> Member:
    """Return a symbolic link."""
    return file(path, "", type=tarfile.SYMTYPE, linkname=target)


BASE = [
    folder("etc"),
    file("etc/keep", mtime=1),
    file("etc/other", "other"),
    folder("root", 0o700),
    folder("usr"),
    folder("usr/doc"),
    file("usr/doc/a"),
    file("usr/doc/b"),
]


def write(
    craft: Craft, tmp_path: pathlib.Path, *own: t.Sequence[Member], **kwargs: t.Any
) -> dict[str, tarfile.TarInfo]:
    """Return the entries of the layer that these layers on the base become."""
    image = craft.image(BASE, *own)
    target = str(tmp_path / "layer.tar")
    if subject.write_difference(image, 1, target, EPOCH, **kwargs) is None:
        return {}
    with tarfile.open(target) as archive:
        return {member.name: member for member in archive}


def test_what_looks_as_before_is_not_in_the_layer(craft: Craft, tmp_path: pathlib.Path) -> None:
    touched = [folder("etc"), file("etc/keep"), file("tmp/x"), file("run/x"), file("var/log/y")]
    assert write(craft, tmp_path, touched, [file("etc/hosts", "")]) == {}


CHANGES: list[tuple[str, Member]] = [
    ("content", file("etc/keep", "y")),
    ("mode", file("etc/keep", mode=0o600)),
    ("setuid", file("etc/keep", mode=0o4644)),
    ("owner", file("etc/keep", uid=10001)),
    ("group", file("etc/keep", gid=10001)),
    ("link", link("etc/keep", "other")),
    ("capability", file("etc/keep", pax_headers={"SCHILY.xattr.security.capability": "\x01"})),
    ("device", file("etc/keep", "", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
]


@pytest.mark.parametrize("change", [item for _id, item in CHANGES], ids=[i for i, _c in CHANGES])
def test_every_change_of_a_file_is(craft: Craft, tmp_path: pathlib.Path, change: Member) -> None:
    found = write(craft, tmp_path, [change])
    assert list(found) == ["etc", "etc/keep"]
    wanted, entry = change[0], found["etc/keep"]
    for name in ("type", "mode", "uid", "gid", "size", "linkname", "devmajor", "devminor"):
        assert getattr(entry, name) == getattr(wanted, name), name
    assert {k: v for k, v in entry.pax_headers.items() if "xattr" in k} == wanted.pax_headers
    assert entry.mtime == EPOCH


def test_other_attributes_and_older_times(craft: Craft, tmp_path: pathlib.Path) -> None:
    odd = file("etc/new", mtime=7, uname="me", pax_headers={"SCHILY.xattr.user.note": "x"})
    found = write(craft, tmp_path, [odd])
    assert found["etc/new"].mtime == 7
    assert (found["etc/new"].uname, found["etc/new"].pax_headers) == ("", {})


def test_folders_on_the_way_are_as_they_were(craft: Craft, tmp_path: pathlib.Path) -> None:
    found = write(craft, tmp_path, [folder("root", 0o700), file("root/x"), file("new/deep/x")])
    assert [(name, entry.mode) for name, entry in found.items()] == [
        ("new", 0o755),
        ("new/deep", 0o755),
        ("new/deep/x", 0o644),
        ("root", 0o700),
        ("root/x", 0o644),
    ]
    assert {entry.mtime for entry in found.values()} == {EPOCH}


def test_removed_paths_are_hidden_once(craft: Craft, tmp_path: pathlib.Path) -> None:
    found = write(
        craft, tmp_path, [file("etc/.wh.keep"), file("usr/.wh.doc"), file("etc/.wh.none")]
    )
    assert list(found) == ["etc", "etc/.wh.keep", "usr", "usr/.wh.doc"]
    assert (found["usr/.wh.doc"].size, found["usr/.wh.doc"].mode) == (0, 0)


def test_a_folder_made_anew_hides_what_it_had(craft: Craft, tmp_path: pathlib.Path) -> None:
    whited = write(
        craft, tmp_path, [file("usr/.wh.doc")], [folder("usr/doc"), file("usr/doc/b", "n")]
    )
    opaque = [folder("usr/doc"), file("usr/doc/.wh..wh..opq"), file("usr/doc/b", "n")]
    assert list(write(craft, tmp_path, opaque)) == list(whited)
    assert list(whited) == ["usr", "usr/doc", "usr/doc/.wh.a", "usr/doc/b"]


def test_a_file_in_the_place_of_a_folder_hides_it(craft: Craft, tmp_path: pathlib.Path) -> None:
    assert list(write(craft, tmp_path, [file("usr/.wh.doc")], [file("usr/doc")])) == [
        "usr",
        "usr/doc",
    ]


def test_what_comes_and_goes_between_is_not_seen(craft: Craft, tmp_path: pathlib.Path) -> None:
    steps = [[file("opt/x")], [file(".wh.opt")], [file("etc/.wh.keep")], [file("etc/keep")]]
    assert write(craft, tmp_path, *steps) == {}


def test_names_of_one_file_stay_together(craft: Craft, tmp_path: pathlib.Path) -> None:
    own = [file("z/first", "data"), hard("a/second", "z/first"), hard("z/third", "z/first")]
    found = write(craft, tmp_path, own)
    assert not found["a/second"].islnk() and found["a/second"].size == 4
    for name in ("z/first", "z/third"):
        assert found[name].islnk() and found[name].linkname == "a/second"
    # A new name of a file that the base has: both have to be in the layer to be one file.
    again = write(craft, tmp_path, [file("etc/keep"), hard("etc/name", "etc/keep")])
    assert list(again) == ["etc", "etc/keep", "etc/name"]
    assert again["etc/name"].linkname == "etc/keep"


def test_places_where_something_was_mounted(craft: Craft, tmp_path: pathlib.Path) -> None:
    mounts = ("run", "tmp", "usr")
    assert write(craft, tmp_path, [folder("run"), folder("tmp")], mountpoints=mounts) == {}
    changed = [folder("usr", 0o700)]
    assert list(write(craft, tmp_path, changed, mountpoints=mounts)) == ["usr"]


def test_one_layer_or_many_give_the_same_bytes(craft: Craft, tmp_path: pathlib.Path) -> None:
    one = [folder("app"), file("app/a", "1"), file("app/b", "2"), file("etc/.wh.keep")]
    many = [
        [file("app/b", "2", mtime=LATER + 9)],
        [file("etc/.wh.keep")],
        [file("app/a", "0")],
        [file("app/a", "1")],
    ]
    write(craft, tmp_path, one)
    first = (tmp_path / "layer.tar").read_bytes()
    write(craft, tmp_path, *many)
    assert (tmp_path / "layer.tar").read_bytes() == first


def test_it_is_what_the_other_writer_writes(craft: Craft, tmp_path: pathlib.Path) -> None:
    write(craft, tmp_path, [file("app/sub/a", "1"), file("app/b", "2", mode=0o755)])
    entries = [Entry("/app/sub/a", 0o644, b"1"), Entry("/app/b", 0o755, b"2")]
    written = write_entries(entries, str(tmp_path / "other.tar"), EPOCH)
    assert (tmp_path / "layer.tar").read_bytes() == pathlib.Path(written.path).read_bytes()


def test_large_files_and_compiled_ones(craft: Craft, tmp_path: pathlib.Path) -> None:
    big = "x" * (5 << 20)
    compiled = b"\xa7\r\r\n\0\0\0\0" + (LATER).to_bytes(4, "little") + b"\1\0\0\0code"
    pyc = file("app/__pycache__/a.cpython-311.pyc", compiled.decode("latin-1"))
    pyc[0].size = len(compiled)
    own = [file("app/big", big), file("app/a.py", "1"), (pyc[0], compiled)]
    write(craft, tmp_path, own)
    with tarfile.open(tmp_path / "layer.tar") as archive:
        stream = archive.extractfile("app/__pycache__/a.cpython-311.pyc")
        assert stream is not None
        assert int.from_bytes(stream.read()[8:12], "little") == EPOCH
        large = archive.extractfile("app/big")
        assert isinstance(large, io.BufferedReader)
        assert large.read() == big.encode()
