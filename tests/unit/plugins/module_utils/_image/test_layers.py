# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the layer writer: the bytes depend on the content and on nothing else."""

from __future__ import annotations

import hashlib
import io
import pathlib
import tarfile
import tempfile
import types
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import layers as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    sha256_bytes,
)

EPOCH = 1_700_000_000


def root_tar(path: pathlib.Path, members: t.Sequence[tuple[tarfile.TarInfo, bytes]]) -> str:
    """Write a tar as a bootstrap would."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return str(path)


def member(name: str, data: bytes = b"", **changes: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return one tar member with its content."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, EPOCH - 5
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def read(path: str) -> dict[str, tarfile.TarInfo]:
    """Return the members of a layer by name."""
    with tarfile.open(path) as archive:
        return {info.name: info for info in archive}


def normalised(tmp_path: pathlib.Path, *members: tuple[tarfile.TarInfo, bytes]) -> subject.Layer:
    """Normalise a tar of these members."""
    source = root_tar(tmp_path / "raw.tar", members)
    return subject.normalise(source, str(tmp_path / "layer.tar"), EPOCH)


def content(layer: subject.Layer, name: str) -> bytes:
    """Return the bytes of one file."""
    with tarfile.open(layer.path) as archive:
        stream = archive.extractfile(name)
        assert stream is not None
        return stream.read()


ENTRIES = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "c-d", "e.f"]), min_size=1, max_size=3).map(
        lambda parts: "/" + "/".join([*[part + "_" for part in parts[:-1]], parts[-1]])
    ),
    st.binary(max_size=40),
    min_size=1,
    max_size=8,
)


@settings(max_examples=50, deadline=None)
@given(ENTRIES, st.randoms())
def test_order_of_entries_does_not_matter(files: dict[str, bytes], random: t.Any) -> None:
    entries = [subject.Entry(path, 0o644, data) for path, data in files.items()]
    shuffled = list(entries)
    random.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        first = subject.write_entries(entries, f"{folder}/1.tar", EPOCH)
        second = subject.write_entries(shuffled, f"{folder}/2.tar", EPOCH)
        data = pathlib.Path(first.path).read_bytes()
        assert data == pathlib.Path(second.path).read_bytes()
        assert (first.sha256, first.size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert {path.strip("/") for path in files} <= set(read(first.path))
        assert all(content(first, path.strip("/")) == value for path, value in files.items())


def test_entries_have_folders_root_and_the_epoch(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    layer = subject.write_entries(
        [
            subject.Entry("/app/deep/x", 0o755, b"1"),
            subject.Entry("/app/y", 0o640, source=str(source), sha256=sha256_bytes(b"from a file")),
        ],
        str(tmp_path / "layer.tar"),
        EPOCH,
    )
    found = read(layer.path)
    assert list(found) == ["app", "app/deep", "app/deep/x", "app/y"]
    assert found["app"].isdir()
    assert found["app/deep/x"].mode == 0o755
    assert found["app/y"].mode == 0o640
    assert content(layer, "app/y") == b"from a file"
    assert {(i.uid, i.gid, i.uname, i.mtime) for i in found.values()} == {(0, 0, "", EPOCH)}


@pytest.mark.parametrize("now", [b"other words", b"longer than before", b"less"])
def test_b42_a_file_that_changed_since_it_was_locked_is_not_written(
    tmp_path: pathlib.Path, now: bytes
) -> None:
    source = tmp_path / "source"
    source.write_bytes(now)
    locked = subject.Entry("/app/y", 0o640, source=str(source), sha256=sha256_bytes(b"as it was.."))
    with pytest.raises(CutoverError, match="source: changed while it was read; bake again"):
        subject.write_entries([locked], str(tmp_path / "layer.tar"), EPOCH)


def test_a_file_that_gets_shorter_while_it_is_read_is_not_written(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"12345")
    locked = subject.Entry("/app/y", 0o640, source=str(source), sha256=sha256_bytes(b"12345"))
    state = types.SimpleNamespace(st_size=10)
    monkeypatch.setattr(subject.os, "fstat", lambda descriptor: state)
    with pytest.raises(CutoverError, match="source: changed while it was read; bake again"):
        subject.write_entries([locked], str(tmp_path / "layer.tar"), EPOCH)


def test_normalise_clamps_sorts_and_blanks(tmp_path: pathlib.Path) -> None:
    layer = normalised(
        tmp_path,
        member("./z", b"1", mtime=EPOCH + 100, uid=7, gid=8, uname="me", gname="us"),
        member("./a", b"2", mtime=EPOCH - 100),
        member("./dir", type=tarfile.DIRTYPE, mode=0o1777),
        member("./link", type=tarfile.SYMTYPE, linkname="a"),
    )
    found = read(layer.path)
    assert list(found) == ["a", "dir", "link", "z"]
    assert (found["z"].mtime, found["a"].mtime) == (EPOCH, EPOCH - 100)
    assert (found["z"].uid, found["z"].gid, found["z"].uname, found["z"].gname) == (7, 8, "", "")
    assert found["dir"].mode == 0o1777
    assert found["link"].linkname == "a"


def test_a_fraction_of_a_second_makes_no_difference(tmp_path: pathlib.Path) -> None:
    first = normalised(tmp_path, member("a", b"1", mtime=EPOCH - 4.75))
    second = normalised(tmp_path, member("a", b"1", mtime=EPOCH - 4.25))
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("order", [("b", "a"), ("a", "b")])
def test_hard_links_stay_and_do_not_depend_on_order(
    tmp_path: pathlib.Path, order: tuple[str, str]
) -> None:
    first, second = order
    layer = normalised(
        tmp_path,
        member(first, b"shared", mode=0o755),
        member(second, type=tarfile.LNKTYPE, linkname=first, mode=0o755),
    )
    found = read(layer.path)
    assert found["a"].isreg() and found["a"].size == 6
    assert found["b"].islnk() and found["b"].linkname == "a"
    assert content(layer, "b") == b"shared"


def test_capabilities_stay_and_other_attributes_go(tmp_path: pathlib.Path) -> None:
    headers = {"SCHILY.xattr.security.capability": "cap", "SCHILY.xattr.user.note": "x"}
    layer = normalised(tmp_path, member("ping", b"1", pax_headers=headers))
    assert read(layer.path)["ping"].pax_headers == {"SCHILY.xattr.security.capability": "cap"}


def test_volatile_files_are_dropped_and_folders_stay(tmp_path: pathlib.Path) -> None:
    layer = normalised(
        tmp_path,
        member("var/log", type=tarfile.DIRTYPE),
        member("var/log/dpkg.log", b"now"),
        member("etc/hostname", b"builder"),
        member("etc/passwd", b"root"),
    )
    assert list(read(layer.path)) == ["etc/passwd", "var/log"]


def test_compiled_files_follow_their_source(tmp_path: pathlib.Path) -> None:
    compiled = b"\xa7\r\r\n" + bytes(4) + (EPOCH + 9).to_bytes(4, "little") + b"size" + b"code"
    layer = normalised(
        tmp_path,
        member("lib/m.py", b"", mtime=EPOCH + 9),
        member("lib/__pycache__/m.cpython-311.pyc", compiled),
        member("lib/__pycache__/gone.cpython-311.pyc", compiled),
    )
    settled = content(layer, "lib/__pycache__/m.cpython-311.pyc")
    assert int.from_bytes(settled[8:12], "little") == EPOCH
    assert settled[:8] + settled[12:] == compiled[:8] + compiled[12:]
    assert content(layer, "lib/__pycache__/gone.cpython-311.pyc") == compiled


def test_large_files_are_copied_whole(tmp_path: pathlib.Path) -> None:
    data = b"0123456789abcdef" * (1 << 19)
    layer = normalised(tmp_path, member("big", data))
    assert content(layer, "big") == data
