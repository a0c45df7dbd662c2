# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Fold changelogs/fragments into the changelog, on a copy of the sources.

antsibull-changelog copies the whole collection unless it stands below ansible_collections: from the repository that is
also .venv and the caches, with links it cannot follow. So it runs where a collection belongs, in a copy of what git
knows, and what it wrote is brought back.

Usage: python -m tools.changelog [argument of `antsibull-changelog release` ...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.ansible_test import ROOT, mirror, source_files

COLLECTIONS = ROOT / ".ansible" / "changelog"
COPY = COLLECTIONS / "ansible_collections" / "immutable" / "cutover"
WRITTEN = (Path("CHANGELOG.md"), Path("changelogs") / "changelog.yaml")
FRAGMENTS = Path("changelogs") / "fragments"


def fold(root: Path, copy: Path, program: list[str]) -> int:
    """Run the program in a copy of root; bring back the changelog, and remove the fragments it took in."""
    mirror(root, source_files(root), copy, ())
    tools = (
        f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"  # it runs ansible-doc
    )
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(copy.parents[2]),
        "ANSIBLE_HOME": str(root / ".ansible" / "home"),
        "PATH": tools,
    }
    code = subprocess.run(program, cwd=copy, env=environment, check=False).returncode
    if code != 0:
        return code
    for name in WRITTEN:
        shutil.copyfile(copy / name, root / name)
    for fragment in sorted((root / FRAGMENTS).glob("*.y*ml")):
        if not (copy / FRAGMENTS / fragment.name).exists():
            fragment.unlink()
            print(f"taken in: {fragment.relative_to(root)}")
    return 0


def main(arguments: list[str]) -> int:
    program = str(Path(sys.executable).parent / "antsibull-changelog")
    options = ["--update-existing", "--reload-plugins", *arguments]
    return fold(ROOT, COPY, [program, "release", *options])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
