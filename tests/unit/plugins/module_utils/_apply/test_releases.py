# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Where a rollback goes, whatever was cut off before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    ReleaseRecord,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)

A, B, C = "aaaaaaaa", "bbbbbbbb", "cccccccc"


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(str(tmp_path / "state"), "shop")


def complete(releases: Releases, *names: str) -> None:
    for name in names:
        releases.save(
            ReleaseRecord(name, name[0], f"shop@{name}", f"sha256:{name}", {"app": "shop"})
        )
        releases.complete(name)


@pytest.mark.parametrize(
    ("completed", "begun", "goes_to"),
    [
        ((A, B), None, A),
        ((A, B), Begun(C, ""), B),
        ((A,), Begun(B, ""), A),
        # The same release again was cut off: it is the one to leave.
        ((A, B), Begun(B, ""), A),
        # An older release was to be deployed anew.
        ((A, B), Begun(A, ""), B),
        # A rollback was cut off: it goes on.
        ((A, B, C), Begun(B, "previous"), B),
        ((A, B, C), Begun(A, "1.0.0"), A),
        # What was begun is not kept any more.
        ((B, C), Begun(A, "1.0.0"), C),
    ],
)
def test_previous(
    releases: Releases, completed: tuple[str, ...], begun: Begun | None, goes_to: str
) -> None:
    complete(releases, *completed)
    if begun is not None:
        releases.begin(begun)
    assert releases.begun() == begun
    assert releases.previous().id == goes_to


@pytest.mark.parametrize("completed", [(), (A,)])
def test_nothing_to_go_back_to(releases: Releases, completed: tuple[str, ...]) -> None:
    complete(releases, *completed)
    with pytest.raises(CutoverError, match="no previous release of shop is kept"):
        releases.previous()


def test_what_was_begun_ends_with_a_completion(releases: Releases) -> None:
    complete(releases, A)
    releases.begin(Begun(B, ""))
    assert releases.complete(A) is False
    assert (releases.begun(), releases.completed()) == (None, [A])
    releases.begin(Begun(B, ""))
    assert releases.complete(B) is True
    assert (releases.begun(), releases.completed()) == (None, [A, B])
    releases.begin(Begun(C, ""))
    releases.nothing_runs()
    assert (releases.begun(), releases.completed()) == (None, [A, B])


def test_forgetting_old_ones_keeps_what_was_begun(releases: Releases) -> None:
    complete(releases, A, B)
    releases.begin(Begun(C, ""))
    assert [record.id for record in releases.forget(1)] == [A]
    assert (releases.begun(), releases.completed()) == (Begun(C, ""), [B])


@pytest.mark.parametrize("damage", [{"completed": "no"}, {"completed": [1]}, {"begun": "no"}])
def test_a_damaged_index_is_refused(
    releases: Releases, tmp_path: Path, damage: dict[str, object]
) -> None:
    complete(releases, A)
    path = tmp_path / "state" / "apps" / "shop" / "releases" / "index.json"
    path.write_text(json.dumps({"schema": 1, "completed": [A]} | damage))
    with pytest.raises(StateError, match="is damaged; nothing was changed"):
        releases.previous()
