# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of references and bake records."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import record as subject

ID = "sha256:" + "1" * 64
MANIFEST = "sha256:" + "2" * 64


def a_record(
    name: str = "shop/web", image_id: str = ID, manifest: str = MANIFEST
) -> subject.BakeRecord:
    """Return a complete record."""
    layer = subject.LayerRecord(digest="sha256:" + "3" * 64, size=10, purpose="files")
    return subject.BakeRecord(
        name=name,
        version="1.0.0",
        kind="app",
        arch="amd64",
        image_id=image_id,
        manifest_digest=manifest,
        recipe_hash="4" * 64,
        base="base/py311@" + MANIFEST,
        epoch=1,
        size=10,
        layers=(layer,),
    )


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        pytest.param("shop/web", "must be pinned name@sha256:", id="B13-no-digest"),
        pytest.param("shop/web:1.0.0", "must be pinned name@sha256:", id="B13-tag"),
        pytest.param("shop/web:latest", "must be pinned name@sha256:", id="B45-latest"),
        pytest.param("shop/web:1.0.0@" + ID, "drop the tag", id="B13-tag-and-digest"),
        pytest.param("", "must be pinned", id="B13-empty"),
        pytest.param("shop/web@sha256:" + "1" * 63, "bad digest", id="B14-63-hex"),
        pytest.param("shop/web@md5:" + "1" * 32, "bad digest", id="B14-md5"),
        pytest.param("shop/web@sha256:" + "A" * 64, "bad digest", id="B14-upper-case"),
        pytest.param(f"shop/web@{ID}\n", "bad digest", id="B14-newline"),
        pytest.param("@" + ID, "repository name", id="B07-no-name"),
        pytest.param("../web@" + ID, "repository name", id="B07-dots"),
        pytest.param("Shop Web@" + ID, "repository name", id="B07-space"),
    ],
)
def test_refused_references(reference: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        subject.parse_reference(reference, "release_image")
    assert says in caught.value.message
    assert caught.value.message.startswith("release_image: ")


@pytest.mark.parametrize(
    ("tagged", "now"),
    [
        ("shop/web:1.0.0", f"; shop/web:1.0.0 is now shop/web@{MANIFEST}, found string"),
        (
            "registry.example:5000/shop/web:1.0.0",
            f"is now registry.example:5000/shop/web@{MANIFEST},",
        ),
        ("shop/web:1.0.1", "a tag is never what runs, found string"),
        ("shop/api:1.0.0", "a tag is never what runs, found string"),
        ("shop/web", "a tag is never what runs, found string"),
        ("Shop Web:1.0.0", "a tag is never what runs, found string"),
    ],
)
def test_b13_a_tag_is_refused_with_what_it_stands_for_now(
    tmp_path: pathlib.Path, tagged: str, now: str
) -> None:
    subject.write_host_record(str(tmp_path), a_record())
    with pytest.raises(InvalidInput, match="must be pinned") as caught:
        subject.resolve_image(tagged, str(tmp_path), lambda image: True)
    assert now in caught.value.message


def test_b13_a_tag_that_two_records_have_is_told_with_both(tmp_path: pathlib.Path) -> None:
    other = "sha256:" + "5" * 64
    subject.write_host_record(str(tmp_path), a_record())
    subject.write_host_record(
        str(tmp_path), a_record(image_id="sha256:" + "6" * 64, manifest=other)
    )
    both = f"is now shop/web@{MANIFEST} or shop/web@{other}"
    with pytest.raises(InvalidInput, match=both):
        subject.resolve_image("shop/web:1.0.0", str(tmp_path), lambda image: True)


@pytest.mark.parametrize("name", ["web", "shop/web", "registry.example:5000/shop/web", "a_b-c.d"])
def test_accepted_references(name: str) -> None:
    parsed = subject.parse_reference(f"{name}@{ID}")
    assert (parsed.name, parsed.digest) == (name, ID)
    assert str(parsed) == f"{name}@{ID}"


@given(st.text())
def test_any_text_is_refused_or_round_trips(text: str) -> None:
    try:
        parsed = subject.parse_reference(text)
    except InvalidInput:
        return
    assert str(parsed) == text


@pytest.mark.parametrize("digest", [ID, MANIFEST])
def test_resolves_either_digest_to_the_image_id(tmp_path: pathlib.Path, digest: str) -> None:
    subject.write_host_record(str(tmp_path / "state"), a_record())
    found = subject.resolve_image(
        f"shop/web@{digest}", str(tmp_path / "state"), lambda image: image == ID
    )
    assert found == ID


def test_resolves_an_image_id_without_a_record(tmp_path: pathlib.Path) -> None:
    assert subject.resolve_image(f"shop/web@{ID}", str(tmp_path), lambda image: image == ID) == ID


@pytest.mark.parametrize("recorded", [True, False], ids=["B15-recorded", "B15-unknown"])
def test_absent_image_is_named(tmp_path: pathlib.Path, recorded: bool) -> None:
    if recorded:
        subject.write_host_record(str(tmp_path), a_record())
    with pytest.raises(CutoverError, match=f"image {MANIFEST} not on host") as caught:
        subject.resolve_image(f"shop/web@{MANIFEST}", str(tmp_path), lambda image: False)
    assert caught.value.details["known"] == (["shop/web@" + MANIFEST] if recorded else [])


def test_another_repository_does_not_lend_its_digest(tmp_path: pathlib.Path) -> None:
    subject.write_host_record(str(tmp_path), a_record(name="other/app"))
    with pytest.raises(InvalidInput, match="is an image of other/app"):
        subject.resolve_image(f"shop/web@{ID}", str(tmp_path), lambda image: True)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("shop/web", True),
        ("registry.example/shop/web", True),
        ("registry.example:5000/team/shop/web", True),
        ("localhost/shop/web", True),
        ("team/shop/web", False),
        ("registry.example/team/web", False),
        ("registry.example/myshop/web", False),
        ("registry.example/shop/web/more", False),
        ("registry.example/web", False),
    ],
)
def test_a_registrys_name_means_the_record_it_ends_in(
    tmp_path: pathlib.Path, name: str, means: bool
) -> None:
    subject.write_host_record(str(tmp_path), a_record())
    if means:
        assert subject.resolve_image(f"{name}@{MANIFEST}", str(tmp_path), lambda image: True) == ID
        return
    with pytest.raises(InvalidInput, match="is an image of shop/web"):
        subject.resolve_image(f"{name}@{MANIFEST}", str(tmp_path), lambda image: True)


def test_a_compressed_manifest_stands_for_its_image_and_is_not_forgotten(
    tmp_path: pathlib.Path,
) -> None:
    state, digest = str(tmp_path), "sha256:" + "5" * 64
    subject.write_host_record(state, dataclasses.replace(a_record(), compressed_digests=(digest,)))
    assert subject.resolve_image(f"shop/web@{digest}", state, lambda image: True) == ID
    assert not subject.write_host_record(state, a_record())
    assert subject.resolve_image(f"shop/web@{digest}", state, lambda image: True) == ID


def test_record_is_private_round_trips_and_is_written_once(tmp_path: pathlib.Path) -> None:
    state = str(tmp_path / "state")
    assert subject.write_host_record(state, a_record())
    assert not subject.write_host_record(state, a_record())
    path = subject.host_record_path(state, ID)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(state).st_mode & 0o777 == 0o700
    assert subject.read_record(path) == a_record()
    assert subject.read_host_records(state) == ([a_record()], [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"schema": 1, "na', "cannot read bake record"),
        ("[]", "not a bake record"),
        ('{"schema": 9}', "schema 9, this collection knows 1"),
        ('{"schema": 1, "name": "x"}', "not a complete bake record"),
        ('{"schema": 1, "name": "x", "layers": []}', "not a complete bake record"),
    ],
)
def test_a_broken_record_is_named_and_hides_no_other(
    tmp_path: pathlib.Path, text: str, says: str
) -> None:
    subject.write_host_record(str(tmp_path), a_record())
    broken = pathlib.Path(subject.images_dir(str(tmp_path)), "0.json")
    broken.write_text(text)
    with pytest.raises(StateError, match=says) as caught:
        subject.read_record(str(broken))
    assert str(broken) in caught.value.message
    records, unreadable = subject.read_host_records(str(tmp_path))
    assert records == [a_record()]
    assert unreadable == [caught.value.message]
