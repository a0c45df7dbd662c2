# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of choosing wheels from what an index offers."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import wheels as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import WheelLock
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
)

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


pytestmark = pytest.mark.usefixtures("tools")


def pylock(*names: tuple[str, str], package: str = "fast", version: str = "1.2") -> str:
    """Return a PEP 751 file that offers these file names with these hashes."""
    offers = "\n".join(
        f'    {{ url = "https://index.example/x/{name}", hashes = {{ sha256 = "{digest}" }} }},'
        for name, digest in names
    )
    return f'lock-version = "1.0"\n[[packages]]\nname = "{package}"\nversion = "{version}"\nwheels = [\n{offers}\n]\n'


def index(text: str) -> t.Callable[[t.Sequence[str], t.Mapping[str, str]], str]:
    """Return a runner that answers as uv would."""

    def run(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        output = argv[argv.index("--output-file") + 1]
        pathlib.Path(output).write_text(text)
        assert ":all:" in argv and "--generate-hashes" in argv
        return ""

    return run


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        pytest.param(
            [
                ("fast-1.2-py3-none-any.whl", A),
                ("fast-1.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", B),
                ("fast-1.2-cp311-cp311-manylinux_2_28_x86_64.whl", C),
            ],
            C,
            id="newest-platform-first",
        ),
        pytest.param(
            [
                ("fast-1.2-cp312-cp312-manylinux_2_17_x86_64.whl", A),
                ("fast-1.2-cp311-cp311-manylinux_2_34_x86_64.whl", B),
                ("fast-1.2-cp311-cp311-musllinux_1_2_x86_64.whl", C),
                ("fast-1.2-py3-none-any.whl", D),
            ],
            D,
            id="what-cannot-run-is-passed-over",
        ),
        pytest.param(
            [
                ("fast-1.2-cp38-abi3-manylinux_2_17_x86_64.whl", A),
                ("fast-1.2-py2.py3-none-any.whl", B),
            ],
            A,
            id="stable-abi",
        ),
    ],
)
def test_the_best_wheel_is_locked(offers: list[tuple[str, str]], chosen: str) -> None:
    for order in (offers, offers[::-1]):
        found = subject.resolve_wheels("r.in", "3.11", "amd64", index(pylock(*order)))
        assert [(w.name, w.version, w.sha256) for w in found] == [("fast", "1.2", chosen)]


def test_b44_no_wheel_that_runs() -> None:
    text = pylock(("fast-1.2-cp311-cp311-win_amd64.whl", A))
    with pytest.raises(CutoverError, match="fast has no wheel for Python 3.11 on amd64"):
        subject.resolve_wheels("r.in", "3.11", "amd64", index(text))


def test_another_architecture() -> None:
    text = pylock(
        ("fast-1.2-cp311-cp311-manylinux_2_17_x86_64.whl", A),
        ("fast-1.2-cp311-cp311-manylinux_2_17_aarch64.whl", B),
    )
    assert subject.resolve_wheels("r.in", "3.11", "arm64", index(text))[0].sha256 == B
    with pytest.raises(CutoverError, match="wheels can be locked for amd64, arm64, not riscv64"):
        subject.resolve_wheels("r.in", "3.11", "riscv64", index(text))


def recipe(root: pathlib.Path, requirements: str = "fast\n") -> Recipe:
    """Return a recipe with this requirements file."""
    (root / "r.in").write_text(requirements)
    (root / "bake.yml").write_text(
        f"bake: 1\nkind: app\nname: x/y\nversion: 1.0.0\nbase: b/c@sha256:{A}\n"
        'python: {requirements: r.in}\nconfig: {user: "1"}\n'
    )
    return load_recipe(str(root / "bake.yml"))


@pytest.mark.parametrize(
    ("requirements", "pinned"),
    [
        ("fast_one==1.2\n", True),
        ("aa\n  Fast.One[x] == 1.2 ; python_version > '3'\n", True),
        ("fast-one===1.2\n", True),
        ("fast-one>=1.2\n", False),
        ("fast-one==1.*\n", False),
        ("fast-one-more==1.2\n", False),
        ("# fast-one==1.2\n", False),
    ],
)
def test_b44_the_hint_is_not_to_lock_again_what_is_asked_for_by_version(
    tmp_path: pathlib.Path, requirements: str, pinned: bool
) -> None:
    def refuse(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        raise CutoverError("uv failed: fast-one==1.2 is yanked")

    wheel = WheelLock("fast-one", "1.2", "fast_one-1.2-py3-none-any.whl", A)
    hint = (
        "r.in asks for exactly this version" if pinned else r"lock again with upgrade_packages: \["
    )
    with pytest.raises(CutoverError, match=f"fast-one==1.2 not in index: yanked; .*{hint}"):
        subject.locate_wheels([wheel], recipe(tmp_path, requirements), "amd64", refuse)


def test_the_lock_keeps_the_file_name_and_not_the_index(tmp_path: pathlib.Path) -> None:
    run = index(pylock(("fast-1.2%2Blocal-py3-none-any.whl", A)))
    wheels = subject.resolve_wheels("r.in", "3.11", "amd64", run)
    assert wheels[0].filename == "fast-1.2+local-py3-none-any.whl"
    where = subject.locate_wheels(wheels, recipe(tmp_path), "amd64", run)
    assert where[wheels[0].filename].startswith("https://index.example/")


def test_a_local_index_gives_paths(tmp_path: pathlib.Path) -> None:
    data = {
        "packages": [
            {
                "name": "x",
                "version": "1",
                "wheels": [{"path": "../w/x y.whl", "hashes": {"sha256": A}}],
            }
        ]
    }
    (found,) = subject.read_pylock(data, "/srv/here")
    assert (found.url, found.filename) == ("file:///srv/w/x%20y.whl", "x y.whl")


@pytest.mark.parametrize(
    ("package", "says"),
    [
        ({"name": "x", "version": "1", "wheels": [{"url": "h://x/x.whl"}]}, "names no sha256"),
        ({"name": "x", "directory": {"path": "."}}, "only wheels can be locked"),
        ({"name": "x", "version": "1", "sdist": {"url": "h://x"}}, "only wheels can be locked"),
    ],
    ids=["B43-no-hash", "B45-directory", "source-only"],
)
def test_refused_offers(package: dict[str, t.Any], says: str) -> None:
    with pytest.raises(CutoverError, match=says):
        subject.read_pylock({"packages": [package]}, "/")
