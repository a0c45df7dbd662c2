# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what a layer is put on: nothing of the base is replaced but the files that are named."""

from __future__ import annotations

import pathlib
import tarfile
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import ground as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image import layers
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Blob, Layout
from tests.unit.plugins.module_utils._image.conftest import EPOCH, Craft, add_base

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World

BASE = [
    Craft.link("bin", "usr/bin"),
    Craft.link("lib", "/usr/lib"),
    Craft.link("far", "srv/nowhere"),
    Craft.link("round", "round"),
    Craft.folder("etc"),
    Craft.file("etc/passwd", b"root"),
    Craft.link("etc/localtime", "/usr/share/zoneinfo/UTC"),
    Craft.folder("run", 0o755),
    Craft.folder("srv/data", 0o770, uid=10001, gid=10002),
    Craft.folder("tmp", 0o1777),
    Craft.folder("usr/bin"),
    Craft.file("usr/bin/dash", b"#!"),
    Craft.folder("usr/lib", 0o2775),
    Craft.folder("var"),
    Craft.link("var/run", "../run"),
]


def written(
    tmp_path: pathlib.Path, ground: subject.Ground | None, *paths: str
) -> dict[str, tarfile.TarInfo]:
    """Write a layer of files and return its members."""
    entries = [layers.Entry(path, 0o755, b"x") for path in paths]
    layer = layers.write_entries(entries, str(tmp_path / "layer.tar"), EPOCH, ground)
    with tarfile.open(layer.path) as archive:
        return {member.name: member for member in archive}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/bin/tool", ["usr", "usr/bin", "usr/bin/tool"]),
        ("/lib/deep/x.so", ["usr", "usr/lib", "usr/lib/deep", "usr/lib/deep/x.so"]),
        ("/var/run/app/pid", ["run", "run/app", "run/app/pid"]),
        ("/new/tool", ["new", "new/tool"]),
        ("/etc/localtime", ["etc", "etc/localtime"]),
        ("/usr/bin/dash", ["usr", "usr/bin", "usr/bin/dash"]),
    ],
)
def test_a_file_goes_where_the_links_of_the_base_lead(
    tmp_path: pathlib.Path, craft: Craft, path: str, names: list[str]
) -> None:
    members = written(tmp_path, subject.Ground(craft.image(BASE)), path)
    assert list(members) == names
    assert [member.isdir() for member in members.values()] == [True] * (len(names) - 1) + [False]


def test_folders_of_the_base_keep_mode_and_owner_and_new_ones_are_of_root(
    tmp_path: pathlib.Path, craft: Craft
) -> None:
    paths = ("/srv/data/new/x", "/tmp/x", "/lib/x")
    members = written(tmp_path, subject.Ground(craft.image(BASE)), *paths)
    found = {name: (m.mode, m.uid, m.gid) for name, m in members.items() if m.isdir()}
    assert found == {
        "srv": (0o755, 0, 0),
        "srv/data": (0o770, 10001, 10002),
        "srv/data/new": (0o755, 0, 0),
        "tmp": (0o1777, 0, 0),
        "usr": (0o755, 0, 0),
        "usr/lib": (0o2775, 0, 0),
    }
    assert {member.mtime for member in members.values()} == {EPOCH}


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["/etc/passwd/x"], "/etc/passwd/x cannot .* /etc/passwd is a file in the base"),
        (["/far/x"], "/far is a link that leads to no folder in the base"),
        (["/round/x"], "/round is a link that leads to no folder in the base"),
        (["/etc/localtime/x"], "/etc/localtime is a link that leads to no folder"),
        (["/etc"], "/etc is a folder of the base, which no file may replace"),
        (["/bin"], "/bin is a folder of the base, which no file may replace"),
        (["/bin/x", "/usr/bin/x"], "/bin/x and /usr/bin/x are one file: /usr/bin/x"),
        (["/app", "/app/x"], "/app/x is below a file: /app"),
    ],
)
def test_a_path_that_would_break_the_base_is_refused(
    tmp_path: pathlib.Path, craft: Craft, paths: list[str], says: str
) -> None:
    ground = subject.Ground(craft.image(BASE), "shop/web:1.4.2")
    with pytest.raises(CutoverError, match=says):
        written(tmp_path, ground, *paths)
    assert not (tmp_path / "layer.tar").exists()


def test_what_is_kept_of_a_layer_is_what_it_says(tmp_path: pathlib.Path, craft: Craft) -> None:
    upper = [
        Craft.file("etc/.wh.passwd"),
        Craft.file("srv/.wh..wh..opq"),
        Craft.hard("usr/other", "usr/tool"),
        Craft.file("usr/tool", b"1"),
        Craft.folder("far"),
    ]
    layout = Layout(str(tmp_path / "output"))
    layout.create()
    blobs = []
    for members in (BASE, [upper[3], *upper[:3], upper[4]]):
        data = craft.tar(*members)
        (tmp_path / "raw").write_bytes(data)
        blobs.append(layout.adopt(str(tmp_path / "raw"), sha256_bytes(data), len(data), "x"))
    image = craft.image(BASE, [upper[3], *upper[:3], upper[4]])
    for round_ in range(3):
        tree = fresh(layout, blobs).tree
        assert tree.nodes.keys() == image.nodes.keys()
        for path, node in tree.nodes.items():
            real = image.nodes[path]
            assert (node.is_dir, node.link) == (real.is_dir, real.link)
            assert not node.is_dir or (node.mode, node.member.uid) == (real.mode, real.member.uid)
        kept = list((tmp_path / "output/trees").iterdir())
        assert len(kept) == 2
        if round_ == 1:
            # What is damaged is made anew.
            kept[0].write_text('{"format": 0}')
            kept[1].write_text("{")


def fresh(layout: Layout, blobs: t.Sequence[Blob], keep: bool = True) -> subject.Ground:
    """Return the ground as another process would."""
    subject._merged.cache_clear()
    return subject.ground_of(layout, blobs, "x", keep)


def test_a_check_notes_nothing(tmp_path: pathlib.Path) -> None:
    base = add_base(tmp_path)
    layout = Layout(str(tmp_path / "output"))
    blobs = [Blob(layer.digest, layer.size) for layer in base.layers]
    assert fresh(layout, blobs, keep=False).tree.has("bin/sh")
    assert not (tmp_path / "output/trees").exists()


def test_an_app_is_baked_onto_a_base_with_links(world: World) -> None:
    base = add_base(world.root, version="1.1.0", members=BASE)
    recipe = pathlib.Path(world.recipe)
    moved = type(world)(world.root, base, world.wheel)
    (world.root / "shop/src/tool").write_text("x")
    moved.write_recipe("2.0.0")
    text = recipe.read_text().replace("{src: src/, dest: /app}", "{src: src/tool, dest: /bin/tool}")
    recipe.write_text(text)
    moved.write_lock()
    record = moved.bake().record
    assert record is not None
    blob = world.root / "output/blobs/sha256" / record.layers[-1].digest.partition(":")[2]
    with tarfile.open(blob) as archive:
        assert archive.getnames() == ["usr", "usr/bin", "usr/bin/tool"]
