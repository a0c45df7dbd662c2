# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What the commands of this checkout made on this machine, read off the folders they leave in build/.

Usage: made.py COMMAND [argument ...] runs a command that may start the engine, and notes it if it did.

Needs no library: `make clean` also runs without the virtual environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PID_FILE = Path("/var/lib/immutable-cutover/engine/dockerd.pid")
NAME = "immutable-cutover"
RUNS = Path("build") / "test" / "runs"
ENGINE = Path("build") / "engine.pid"
SITES = {"demo": "shop", "bench": "cutover-bench"}
"""The folder in build/ and the name of the site whose files are in it."""


@dataclass(frozen=True)
class Made:
    """The sites by name, what the tests made under names of their own, the images by ID, and the engine's pid."""

    sites: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    images: frozenset[str] = field(default_factory=frozenset)
    engine: int = 0

    @classmethod
    def by(cls, root: Path) -> Made:
        """Read the folders of a checkout."""
        build = root / "build"
        return cls(
            frozenset(_sites(root)),
            frozenset(path.name for path in _entries(root / RUNS)),
            frozenset(_images(build)),
            _number(root / ENGINE),
        )

    @property
    def balancers(self) -> frozenset[str]:
        """The names of the load balancers of the sites and tests."""
        return frozenset(f"{site}-lb" for site in self.sites | self.runs)

    @property
    def networks(self) -> frozenset[str]:
        """The names of the sites' networks."""
        return frozenset(f"{site}-net" for site in self.sites)

    def of_a_test(self, name: str) -> bool:
        """Whether a test made what has this name: it is the run's own name, or begins with it and a dash."""
        return any(name == run or name.startswith(f"{run}-") for run in self.runs)

    def state(self, system: Path) -> Iterator[Path]:
        """Yield what the sites and tests have on the host besides the engine's objects."""
        state = system / "var/lib" / NAME
        for site in sorted(self.sites | self.runs):
            yield state / "apps" / site
            yield system / f"var/lib/{NAME}-test-{site}"
        for balancer in sorted(self.balancers):
            yield system / "etc" / NAME / balancer
            yield system / "run" / NAME / balancer
            yield system / f"etc/tmpfiles.d/{NAME}-{balancer}.conf"
        for image in sorted(self.images):
            # Its record, its signature, and where the engine keeps it.
            yield from sorted((state / "images").glob(f"{image.removeprefix('sha256:')}.*"))

    def engines(self, system: Path) -> Iterator[Path]:
        """Yield the pid files of engines that the harness of tools/chaos starts for itself, and that it ends."""
        for site in sorted(self.sites):
            yield system / f"var/lib/{NAME}-test-{site}" / "engine" / "dockerd.pid"

    def shared_folders(self, system: Path) -> Iterator[Path]:
        """Yield the folders that the sites share with everything else on the host, inner ones first."""
        state = system / "var/lib" / NAME
        yield from (state / "apps", state / "images", state)
        yield from (system / "etc" / NAME, system / "run" / NAME)


def checkout(root: Path = ROOT) -> str:
    """Tell this checkout from others on one machine."""
    return hashlib.sha256(str(root).encode()).hexdigest()[:6]


def note_run(name: str, root: Path = ROOT) -> None:
    """Note, before it is used, a name that a test gives to what it makes; no other name begins with it."""
    (root / RUNS).mkdir(parents=True, exist_ok=True)
    (root / RUNS / name).touch()


def _sites(root: Path) -> Iterator[str]:
    build = root / "build"
    for folder, site in SITES.items():
        if (build / folder).is_dir():
            yield site
    if (build / "kill").is_dir():
        yield f"kill-{checkout(root)}"
    for lane in build.glob("chaos*"):
        yield f"chaos-{checkout(root)}{lane.name.removeprefix('chaos')}"
    for scenario in _entries(build / "molecule"):
        if scenario.is_dir():
            yield from (f"mol-{scenario.name}", f"mol-{scenario.name}-new")


def _images(build: Path) -> Iterator[str]:
    """Yield the IDs in the records of all folders that images were baked into."""
    for folder, _folders, names in os.walk(build):
        if "records" not in Path(folder).relative_to(build).parts:
            continue
        for name in names:
            if name.endswith(".json"):
                with contextlib.suppress(ValueError, KeyError, TypeError):  # torn, or no record
                    record = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
                    yield str(record["image_id"])


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def main(command: list[str]) -> int:
    before = _number(PID_FILE)
    code = subprocess.run(command, check=False).returncode
    now = _number(PID_FILE)
    if now not in (0, before):
        (ROOT / ENGINE).parent.mkdir(exist_ok=True)
        (ROOT / ENGINE).write_text(f"{now}\n", encoding="ascii")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
