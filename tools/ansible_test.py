# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Run ansible-test on a copy of the collection: it accepts neither the repository root nor a symbolic link to it.

Usage: ansible_test.py sanity|units [argument ...]

ansible-test makes its own virtual environments. It reads neither PIP_* variables nor any folder but HOME, and fetches
its pip from one fixed site. So it gets a HOME of its own with pip's configuration of this host and with a stand-in for
that download, which runs the pip locked in requirements/ansible-test.txt.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".ansible" / "test"
COPY = WORK / "ansible_collections" / "immutable" / "cutover"
HOME = WORK / "home"
KEPT = (Path(".git"), Path("tests") / "output")
LOCK = ROOT / "requirements" / "ansible-test.txt"

STAND_IN = """\
# What ansible-test runs instead of the get-pip.py it would download: install with the pip in a wheel.
import sys

sys.path.insert(0, {wheel!r})
from pip._internal.cli.main import main

dropped = ("--no-setuptools", "--no-wheel")
sys.exit(main(["install", *(word for word in sys.argv[1:] if word not in dropped)]))
"""


def source_files(root: Path) -> list[Path]:
    """Every file that is part of the sources or about to be: tracked, or untracked and not ignored."""
    command = [
        "git",
        "-C",
        str(root),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if name and (root / name).is_file()]


def mirror(root: Path, names: list[Path], copy: Path, kept: tuple[Path, ...]) -> None:
    """Make copy hold exactly the named files of root, besides what is below the kept folders."""
    wanted = {copy / name for name in names}
    if copy.is_dir():
        for path in sorted(copy.rglob("*"), reverse=True):
            if path in wanted or any(path.is_relative_to(copy / folder) for folder in kept):
                continue
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            else:
                path.unlink()
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy / name)


def pip_configuration(listing: str) -> str:
    """`pip config list` (all files and variables, merged) as one configuration file."""
    settings: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(:env:|[\w-]+)\.([\w-]+)='(.*)'", line)
        if match is None:
            continue
        section, key, value = match.groups()
        section = "global" if section == ":env:" else section
        settings.setdefault(section, {})[key] = value.replace("\\n", "\n")
    settings.setdefault("global", {})["quiet"] = "2"
    lines = []
    for section, values in settings.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = " + value.replace("\n", "\n    ") for key, value in values.items()]
    return "\n".join(lines) + "\n"


def locked_pip() -> str:
    """The version of pip that ansible-test is going to ask for."""
    match = re.search(r"^pip==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise SystemExit(f"{LOCK}: no line pip==VERSION")
    return match.group(1)


def prepare_home() -> None:
    """Give ansible-test pip's configuration of this host and a pip to begin with."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    version = locked_pip()
    wheels = WORK / "wheels"
    wheel = wheels / f"pip-{version}-py3-none-any.whl"
    if not wheel.exists():
        fetch = [
            *pip,
            "download",
            "-q",
            "--no-deps",
            "--require-hashes",
            "-d",
            str(wheels),
            "-r",
            str(LOCK),
        ]
        subprocess.run(fetch, check=True)
    listing = subprocess.run(
        [*pip, "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    configuration = HOME / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(pip_configuration(listing), encoding="utf-8")
    configuration.chmod(0o600)
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    name = f"get_pip_{version.replace('.', '_')}.py"
    (cache / name).write_text(STAND_IN.format(wheel=str(wheel)), encoding="utf-8")


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    mirror(ROOT, source_files(ROOT), COPY, KEPT)
    # ansible-test asks the nearest git repository for the files, and in ours the copy is ignored: give it its own.
    subprocess.run(["git", "init", "-q", str(COPY)], check=True)
    prepare_home()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(sys.executable).parent / "ansible-test"
    command = [
        str(program),
        arguments[0],
        "--venv",
        "--python",
        python,
        "--color",
        "no",
        *arguments[1:],
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "MYPY", "PYTHON"))}
    return subprocess.run(command, cwd=COPY, env=kept | {"HOME": str(HOME)}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
