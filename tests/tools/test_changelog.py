# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The real antsibull-changelog folds a fragment in, in a repository with all that a copy of it would choke on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import changelog

PROGRAM = str(Path(sys.executable).parent / "antsibull-changelog")
ARGUMENTS = ["release", "--update-existing", "--reload-plugins"]
FRAGMENT = "---\nbugfixes:\n  - thing - mended.\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "changelogs" / "fragments").mkdir(parents=True)
    config = (changelog.ROOT / "changelogs" / "config.yaml").read_text(encoding="utf-8")
    (root / "changelogs" / "config.yaml").write_text(config, encoding="utf-8")
    (root / "galaxy.yml").write_text(
        "namespace: immutable\nname: cutover\nversion: 0.1.0\nreadme: README.md\nauthors: [us]\n"
    )
    (root / ".gitignore").write_text("/.venv\n/.ansible\n*.cache\n")
    (root / "changelogs" / "fragments" / "thing.yml").write_text(FRAGMENT)
    (root / ".venv" / "lib").mkdir(parents=True)
    (root / ".venv" / "lib" / "nowhere").symlink_to("/no/such/file")
    (root / ".venv" / "secret").mkdir(mode=0o000)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def folded(root: Path, program: list[str]) -> int:
    return changelog.fold(
        root, root / ".ansible" / "x" / "ansible_collections" / "a" / "b", program
    )


def test_a_fragment_is_taken_in_and_removed(repository: Path) -> None:
    other = repository / "changelogs" / "fragments" / "notes.md"
    other.write_text("kept")
    assert folded(repository, [PROGRAM, *ARGUMENTS]) == 0
    assert "thing \\- mended\\." in (repository / "CHANGELOG.md").read_text()
    assert "thing.yml" in (repository / "changelogs" / "changelog.yaml").read_text()
    assert list((repository / "changelogs" / "fragments").iterdir()) == [other]
    assert not (
        repository / ".ansible" / "x" / "ansible_collections" / "a" / "b" / ".venv"
    ).exists()


def test_a_failure_changes_nothing(repository: Path) -> None:
    fragment = repository / "changelogs" / "fragments" / "thing.yml"
    fragment.write_text("---\nbugfixes: nonsense: x\n")
    assert folded(repository, [PROGRAM, *ARGUMENTS]) != 0
    assert fragment.exists()
    assert not (repository / "CHANGELOG.md").exists()
