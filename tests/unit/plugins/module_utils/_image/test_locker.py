# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the lock phase: what is resolved again, and what is kept."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import locker as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import read_inputs
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import read_lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World


pytestmark = pytest.mark.usefixtures("tools")


class Index:
    """An index that serves one wheel, and counts how often it was asked."""

    def __init__(self, version: str = "1.0") -> None:
        self.version = version
        self.asked = 0

    def __call__(self, argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        self.asked += 1
        name = f"pkg-{self.version}-py3-none-any.whl"
        pathlib.Path(argv[argv.index("--output-file") + 1]).write_text(
            f'[[packages]]\nname = "pkg"\nversion = "{self.version}"\n'
            f'wheels = [{{url = "https://i.example/{name}", hashes = {{sha256 = "{"a" * 64}"}}}}]\n'
        )
        return ""


def lock(world: World, index: Index, write: bool = True, **changes: t.Any) -> subject.LockResult:
    """Lock the app."""
    options = subject.LockOptions(output=str(world.root / "output"), **changes)
    return subject.lock_recipe(world.recipe, options, index, write)


def test_locking_twice_gives_no_diff_and_asks_once(world: World) -> None:
    pathlib.Path(world.root, "shop/bake.lock").unlink()
    index = Index()
    first = lock(world, index)
    assert first.actions == ("lock shop/web:1.0.0: 0 packages, 1 wheels, 1 files",)
    assert not lock(world, index).changed
    assert index.asked == 1
    assert pathlib.Path(first.path).read_text() == first.after
    assert "i.example" not in first.after


def test_a_changed_file_resolves_nothing(world: World) -> None:
    index = Index()
    (world.root / "shop/src/app.py").write_text("a = 2\n")
    done = lock(world, index)
    assert done.actions == ("lock shop/web:1.0.0: change file /app/app.py",)
    assert index.asked == 0


def test_changed_requirements_are_resolved(world: World) -> None:
    index = Index("2.0")
    (world.root / "shop/requirements.in").write_text("pkg>=2\n")
    done = lock(world, index)
    assert "lock shop/web:1.0.0: change wheel pkg 1.0 -> 2.0" in done.actions


def test_upgrade_resolves_everything(world: World) -> None:
    index = Index("1.1")
    assert not lock(world, index).changed
    done = lock(world, index, upgrade=True)
    assert done.actions == ("lock shop/web:1.0.0: change wheel pkg 1.0 -> 1.1",)


def test_check_mode_shows_and_does_not_write(world: World) -> None:
    before = pathlib.Path(world.root, "shop/bake.lock").read_text()
    (world.root / "shop/src/app.py").write_text("a = 2\n")
    shown = lock(world, Index(), write=False)
    assert shown.changed and shown.before == before
    assert pathlib.Path(world.root, "shop/bake.lock").read_text() == before
    assert lock(world, Index()).after == shown.after


def test_another_architecture_is_resolved_anew(world: World) -> None:
    index = Index()
    lock(world, index, arch="arm64")
    assert index.asked == 1
    locked = read_lock(str(world.root / "shop/bake.lock"))
    assert locked is not None and locked.arch == "arm64"


def test_a_base_that_was_not_baked_is_named(world: World) -> None:
    options = subject.LockOptions(output=str(world.root / "nothing"))
    with pytest.raises(CutoverError, match="base base/tiny@sha256:.* no version of it; bake it"):
        subject.lock_recipe(world.recipe, options, Index(), True)


@pytest.mark.parametrize("phase", ["lock", "bake"])
def test_b13_a_base_by_tag_is_refused_with_what_it_is_now(world: World, phase: str) -> None:
    recipe = pathlib.Path(world.recipe)
    recipe.write_text(recipe.read_text().replace(world.base.reference, "base/tiny:1.0.0"))
    said = f"base: image must be pinned .*; base/tiny:1.0.0 is now {world.base.reference}, found"
    with pytest.raises(CutoverError, match=said):
        if phase == "lock":
            lock(world, Index())
        else:
            read_inputs(world.recipe, Output(str(world.root / "output")).known)


def test_b41_a_from_by_tag_is_refused_with_what_it_is_now(world: World) -> None:
    path = world.root / "shop/Dockerfile"
    path.write_text("FROM base/tiny:1.0.0\nUSER 10001\n")
    recipe = "bake: 1\nkind: app\nname: shop/api\nversion: 1.0.0\ndockerfile: Dockerfile\n"
    pathlib.Path(world.recipe).write_text(recipe)
    with pytest.raises(CutoverError, match=f"Dockerfile:1: .* is now {world.base.reference}"):
        lock(world, Index())


def epoch(world: World, **changes: t.Any) -> int:
    """Lock and return the epoch."""
    lock(world, Index(), **changes)
    locked = read_lock(str(world.root / "shop/bake.lock"))
    assert locked is not None
    return locked.epoch


def commit(folder: pathlib.Path, when: int) -> None:
    """Commit everything at a given time."""
    env = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000", "HOME": "/"}
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "--no-verify", "-m", "x"]):
        subprocess.run([*git, *words], env={"PATH": "/usr/bin:/bin", **env}, check=True)


def test_the_epoch_is_given_or_kept_or_the_commits_or_fixed(world: World) -> None:
    path = pathlib.Path(world.root, "shop/bake.lock")
    assert epoch(world) == 1_700_000_000
    assert epoch(world, epoch=5) == 5
    assert epoch(world) == 5
    path.unlink()
    assert epoch(world) == subject.FALLBACK_EPOCH
    path.unlink()
    commit(world.root / "shop", 1_234_567_890)
    assert epoch(world) == 1_234_567_890
