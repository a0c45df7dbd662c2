# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the merged view of an image's layers."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import contents as subject

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft

STATUS = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9
Conffiles:
 /etc/ld.conf 0cc175b9c0f1b6a831c399e269772661

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
SLIM = b"Package: tzdata\nArchitecture: all\nVersion: 2024a\n"


def test_a_later_layer_wins(craft: Craft) -> None:
    image = craft.image([craft.file("etc/a", b"1")], [craft.file("etc/a", b"2")])
    assert image.read("/etc/a") == b"2"
    assert image.data(image.layers[0].nodes["etc/a"]) == b"1"


def test_a_whiteout_hides_what_is_below_but_not_its_own_layer(craft: Craft) -> None:
    image = craft.image(
        [craft.file("a/x"), craft.file("a/y"), craft.file("b")],
        [craft.file(".wh.b"), craft.file("a/.wh.x"), craft.file("b", b"new")],
    )
    assert sorted(image.nodes) == ["a/y", "b"]
    assert image.read("b") == b"new"


def test_an_opaque_folder_hides_everything_below(craft: Craft) -> None:
    image = craft.image(
        [craft.folder("a"), craft.file("a/x"), craft.file("a/deep/y"), craft.file("c")],
        [craft.folder("a"), craft.file("a/new"), craft.file("a/.wh..wh..opq")],
    )
    assert sorted(image.nodes) == ["a", "a/new", "c"]


def test_a_whiteout_of_a_folder_hides_what_is_in_it(craft: Craft) -> None:
    image = craft.image([craft.file("a/b/c"), craft.file("ab")], [craft.file(".wh.a")])
    assert sorted(image.nodes) == ["ab"]


def test_a_file_in_the_place_of_a_folder_and_the_other_way(craft: Craft) -> None:
    image = craft.image(
        [craft.file("a/x"), craft.link("lib", "usr/lib")],
        [craft.file("a", b"f"), craft.file("lib/y", b"1")],
    )
    assert sorted(image.nodes) == ["a", "lib/y"]
    assert image.read("lib/y") == b"1"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("absolute", b"secret of the image"),
        ("up", b"secret of the image"),
        ("folder/shadow", b"secret of the image"),
        ("loop", None),
        ("nowhere", None),
        ("etc", None),
    ],
)
def test_se15_links_are_followed_inside_the_root(
    craft: Craft, path: str, content: bytes | None
) -> None:
    image = craft.image(
        [
            craft.folder("etc"),
            craft.file("etc/shadow", b"secret of the image"),
            craft.link("absolute", "/etc/shadow"),
            craft.link("up", "../../../../etc/shadow"),
            craft.link("folder", "etc/../etc"),
            craft.link("loop", "loop"),
            craft.link("nowhere", "missing"),
        ]
    )
    assert image.read(path) == content


def test_packages_are_those_that_are_installed(craft: Craft) -> None:
    image = craft.image(
        [
            *[craft.folder(p) for p in ("var", "var/lib", "var/lib/dpkg", "var/lib/dpkg/status.d")],
            craft.file("var/lib/dpkg/status", STATUS),
            craft.file("var/lib/dpkg/status.d/tzdata", SLIM),
            craft.file("var/lib/dpkg/status.d/tzdata.md5sums", b"0" * 32 + b"  usr/x\n"),
        ]
    )
    found = [(deb.name, deb.version, deb.arch) for deb in image.installed_debs()]
    assert found == [("libc6", "2.36-9", "amd64"), ("tzdata", "2024a", "all")]
    assert image.distribution_hashes() == {
        "etc/ld.conf": "0cc175b9c0f1b6a831c399e269772661",
        "usr/x": "0" * 32,
    }


def test_paths_of_packages_follow_a_merged_usr(craft: Craft) -> None:
    info = "var/lib/dpkg/info"
    image = craft.image(
        [
            *[craft.folder(p) for p in ("usr", "usr/lib", "var", "var/lib", "var/lib/dpkg", info)],
            craft.link("lib", "usr/lib"),
            craft.file(f"{info}/libc6:amd64.list", b"/.\n/lib\n/lib/libc.so\n"),
            craft.file(f"{info}/libc6:amd64.md5sums", b"a" * 32 + b"  lib/libc.so\n"),
        ]
    )
    assert "usr/lib/libc.so" in image.deb_paths()
    assert image.distribution_hashes() == {"usr/lib/libc.so": "a" * 32}


def test_python_distributions_are_found_anywhere(craft: Craft) -> None:
    text = b"Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.2\nLicense: a\n  b: c\n\nName: body\n"
    image = craft.image([craft.file("srv/x/foo_bar-1.2.dist-info/METADATA", text)])
    assert image.installed_python() == [
        subject.InstalledPython("Foo_Bar", "1.2", "srv/x/foo_bar-1.2.dist-info")
    ]


def test_layers_that_are_not_the_named_ones_are_refused(craft: Craft) -> None:
    image = craft.image([craft.file("a")])
    image.verify()
    other = subject.ImageContents("x", image.config, [craft.layer(craft.tar(craft.file("b")))])
    with pytest.raises(CutoverError, match="not those the configuration names"):
        other.verify()


def test_one_layer_alone_gives_what_it_gives_under_an_empty_one(craft: Craft) -> None:
    layers = [
        [craft.file("a/b/c"), craft.file("a/d"), craft.file("e"), craft.folder("f")],
        [craft.link("bin", "usr/bin"), craft.folder("usr/bin"), craft.file("bin/tool")],
        [craft.file("x", b"1"), craft.file("x/y"), craft.file("z/.wh.gone")],
        [craft.file("deep/deeper/still/x")],
    ]
    for members in layers:
        alone, under = craft.image(members), craft.image(members, [])
        assert alone.nodes.keys() == under.nodes.keys()
        paths = {"/".join(path.split("/")[:n]) for path in under.nodes for n in range(1, 5)}
        for path in {*paths, "none", "usr", "a/none"}:
            assert (alone.has(path), alone.is_folder(path)) == (
                under.has(path),
                under.is_folder(path),
            ), path
