# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    ReleaseRecord,
    Releases,
    images_in_use,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)


def record(letter: str) -> ReleaseRecord:
    return ReleaseRecord(
        letter * 8, f"1.{letter}", f"shop@{letter}", f"sha256:{letter}", {"app": "shop"}
    )


def kept(tmp_path: Path, letters: str) -> Releases:
    """Return the releases of a host on which these were completed, in this order."""
    releases = Releases(str(tmp_path), "shop")
    for letter in letters:
        releases.save(record(letter))
        releases.complete(letter * 8)
    return releases


def letters(releases: Releases) -> str:
    return "".join(item[0] for item in releases.completed())


def test_a_fresh_host_remembers_nothing(tmp_path: Path) -> None:
    releases = kept(tmp_path, "")
    assert (releases.completed(), releases.all(), releases.begun()) == ([], [], None)
    assert releases.get("a" * 8) is None
    assert list(tmp_path.iterdir()) == [], "reading makes nothing"


def test_what_is_completed_comes_back_in_order(tmp_path: Path) -> None:
    releases = kept(tmp_path, "abc")
    assert releases.all() == [record("a"), record("b"), record("c")]
    assert releases.complete("c" * 8) is False
    assert releases.complete("a" * 8) is True
    assert letters(releases) == "bca"


def test_saving_again_replaces_what_differs(tmp_path: Path) -> None:
    releases = kept(tmp_path, "a")
    changed = ReleaseRecord("a" * 8, "2", "i", "j", {"app": "other"})
    releases.save(changed)
    assert releases.get("a" * 8) == changed


@pytest.mark.parametrize(
    ("keep", "dropped", "left"), [(1, "ab", "c"), (2, "a", "bc"), (3, "", "abc"), (9, "", "abc")]
)
def test_forgetting_keeps_the_last(tmp_path: Path, keep: int, dropped: str, left: str) -> None:
    releases = kept(tmp_path, "abc")
    assert releases.forget(keep) == [record(letter) for letter in dropped]
    assert letters(releases) == left
    files = sorted(path.name for path in (tmp_path / "apps" / "shop" / "releases").iterdir())
    assert files == sorted([*(f"{letter * 8}.json" for letter in left), "index.json"])


@pytest.mark.parametrize(
    ("completed", "previous"), [("ab", "a"), ("abc", "b"), ("aba", "b"), ("abab", "a")]
)
def test_the_previous_release_is_the_one_completed_before(
    tmp_path: Path, completed: str, previous: str
) -> None:
    assert kept(tmp_path, completed).previous() == record(previous)


@pytest.mark.parametrize("completed", ["", "a"])
def test_b61_there_may_be_no_previous(tmp_path: Path, completed: str) -> None:
    with pytest.raises(CutoverError, match="no previous release of shop is kept on this host"):
        kept(tmp_path, completed).previous()


def test_a_release_that_was_only_begun_is_what_a_rollback_leaves(tmp_path: Path) -> None:
    releases = kept(tmp_path, "ab")
    releases.begin(Begun("c" * 8, ""))
    assert releases.previous() == record("b"), "c did not complete: b is what ran before it"
    releases.nothing_runs()
    assert (releases.begun(), releases.previous()) == (None, record("a"))


def test_a_rollback_that_was_cut_off_goes_on_to_where_it_was_going(tmp_path: Path) -> None:
    releases = kept(tmp_path, "ab")
    releases.begin(Begun("a" * 8, "previous"))
    assert releases.previous() == record("a")
    releases.complete("a" * 8)
    assert (releases.begun(), releases.previous()) == (None, record("b"))


@pytest.mark.parametrize("name", ["b" * 8, "1.b", "shop@b", "sha256:b"])
def test_a_release_is_found_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    assert kept(tmp_path, "abc").named(name) == record("b")


def test_b61_a_name_that_is_not_kept_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        CutoverError, match=r"release '9' .* kept: 1\.a \(aaaaaaaa\), 1\.b \(bbbbbbbb\)"
    ):
        kept(tmp_path, "ab").named("9")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", '{"schema": 1, "completed": "ab"}'),
        ("index.json", '{"schema": 1, "completed": [1]}'),
        ("index.json", '{"schema": 1, "completed": [], "begun": []}'),
        ("index.json", ""),
        ("aaaaaaaa.json", '{"schema": 1}'),
        ("aaaaaaaa.json", '{"schema": 2, "spec": {}}'),
    ],
)
def test_cr_13_what_is_damaged_is_refused_with_its_path(
    tmp_path: Path, name: str, content: str
) -> None:
    releases = kept(tmp_path, "ab")
    path = tmp_path / "apps" / "shop" / "releases" / name
    path.write_text(content)
    with pytest.raises(StateError, match="nothing was changed") as caught:
        releases.all()
    assert str(path) in caught.value.message


def test_an_id_is_never_a_path(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"'\.\./\.\./x' is not a release ID"):
        kept(tmp_path, "a").get("../../x")


def test_an_image_that_another_app_could_go_back_to_is_in_use(tmp_path: Path) -> None:
    assert images_in_use(str(tmp_path)) == set()
    for app, letters in (("shop", "ab"), ("blog", "c")):
        releases = Releases(str(tmp_path), app)
        for letter in letters:
            releases.save(record(letter))
            releases.complete(letter * 8)
    all_of_them = {record(letter).image_id for letter in "abc"}
    assert images_in_use(str(tmp_path)) == all_of_them
    Releases(str(tmp_path), "shop").forget(1)
    assert images_in_use(str(tmp_path)) == all_of_them - {record("a").image_id}
