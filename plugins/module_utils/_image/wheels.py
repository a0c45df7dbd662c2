# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python wheels, resolved by uv with the host's own index, trust and proxy; private, no stability promised."""

from __future__ import annotations

import os
import re
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import WheelLock
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import (
    Run,
    find_tool,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    requirements_path,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

try:
    import tomllib
except ImportError:
    TOMLLIB = False
else:
    TOMLLIB = True

try:
    from packaging.tags import Tag, compatible_tags, cpython_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
except ImportError:
    PACKAGING = False
else:
    PACKAGING = True

# glibc 2.28 is what every supported suite has at least.
_MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC_MINORS = range(28, 4, -1)
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


@dataclass(frozen=True)
class Candidate:
    """One wheel an index offers: where it is, and what it must be."""

    name: str
    version: str
    filename: str
    url: str
    sha256: str


def resolve_wheels(
    requirements: str,
    python: str,
    arch: str,
    run: Run,
    locked: t.Sequence[WheelLock] = (),
    upgrade: t.Sequence[str] = (),
) -> tuple[WheelLock, ...]:
    """Return one wheel for each package the requirements need, and for what those need.

    What was locked before stays, unless it is to be upgraded or no longer fits.
    """
    options = [word for name in upgrade for word in ("--upgrade-package", name)]
    candidates = _compile(requirements, python, arch, options, run, locked)
    order = _tag_order(python, arch)
    best: dict[str, tuple[int, Candidate]] = {}
    for candidate in candidates:
        rank = _rank(candidate.filename, order)
        if rank is not None and rank < best.get(candidate.name, (len(order), candidate))[0]:
            best[candidate.name] = (rank, candidate)
    for name in sorted({candidate.name for candidate in candidates} - set(best)):
        raise CutoverError(f"{name} has no wheel for Python {python} on {arch}")
    kept = {
        (wheel.name, wheel.version): wheel
        for wheel in locked
        if _rank(wheel.filename, order) is not None
    }
    chosen = [best[name][1] for name in sorted(best)]
    return tuple(
        kept.get((c.name, c.version)) or WheelLock(c.name, c.version, c.filename, c.sha256)
        for c in chosen
    )


def locate_wheels(
    wheels: t.Sequence[WheelLock], recipe: Recipe, arch: str, run: Run
) -> dict[str, str]:
    """Return where the host's index has the locked files now: URL by file name."""
    pins = "".join(f"{wheel.name}{_pin(wheel.version)}\n" for wheel in wheels)
    with work_folder("bake-") as folder:
        path = os.path.join(folder, "requirements.in")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(pins)
        try:
            python = recipe.python.version if recipe.python else ""
            candidates = _compile(path, python, arch, ["--no-deps"], run)
        except CutoverError as error:
            raise _not_in_index(error, wheels, requirements_path(recipe)) from error
    return {candidate.filename: candidate.url for candidate in candidates}


def _pin(version: str) -> str:
    """Return a pin that a yanked version does not satisfy; one with C(==) it would."""
    return f"=={version}" if "+" in version else f">={version},<={version}"


def _not_in_index(
    error: CutoverError, wheels: t.Sequence[WheelLock], requirements: str
) -> CutoverError:
    """Say which locked wheel an index has no more, if that is what uv complains about."""
    # uv breaks its lines where it likes.
    said = " ".join(error.message.split())
    for wheel in wheels:
        if re.search(rf"\b{re.escape(wheel.name)}(?:[=<>]=?| was not found| is yanked)", said):
            why = "yanked" if "yanked" in said else "gone"
            what = f"lock again with upgrade_packages: [{wheel.name}]"
            if _is_pinned(wheel.name, requirements):
                # Locking again would give the same version, or none.
                what = f"{requirements} asks for exactly this version: name another one there, and lock again"
            return CutoverError(
                f"{wheel.name}=={wheel.version} not in index: {why}; {what}", answer=error.message
            )
    return error


def _is_pinned(name: str, requirements: str) -> bool:
    """Tell whether a requirements file asks for one version of a package and no other."""
    spelt = re.sub(r"[-_.]+", "[-_.]+", name)
    pin = rf"(?im)^\s*{spelt}\s*(?:\[[^]\n]*\])?\s*\(?\s*={{2,3}}(?![^,;#\n]*\*)"
    with open(requirements, encoding="utf-8") as stream:
        return re.search(pin, stream.read()) is not None


def _compile(
    requirements: str,
    python: str,
    arch: str,
    options: t.Sequence[str],
    run: Run,
    preferred: t.Sequence[WheelLock] = (),
) -> list[Candidate]:
    if not TOMLLIB or not PACKAGING:
        raise CutoverError("locking wheels needs Python 3.11 and its package packaging")
    with work_folder("bake-") as folder:
        output = os.path.join(folder, "pylock.toml")
        if preferred:
            # What the file has already is what uv prefers.
            _write_preferences(preferred, output)
        run(
            [find_tool("uv", "uv"), "pip", "compile", "--quiet", "--format", "pylock.toml"]
            + ["--python-version", python, "--python-platform", f"{_machine(arch)}-manylinux_2_28"]
            + [
                "--only-binary",
                ":all:",
                "--generate-hashes",
                "--no-header",
                "--output-file",
                output,
            ]
            + [*options, requirements],
            {"NO_COLOR": "1"},
        )
        with open(output, "rb") as opened:
            return read_pylock(tomllib.load(opened), folder)


def _write_preferences(wheels: t.Sequence[WheelLock], path: str) -> None:
    lines = ['lock-version = "1.0"', 'created-by = "immutable.cutover"']
    for wheel in wheels:
        lines += ["[[packages]]", f'name = "{wheel.name}"', f'version = "{wheel.version}"']
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("\n".join([*lines, ""]))


def read_pylock(data: t.Mapping[str, t.Any], folder: str) -> list[Candidate]:
    """Return the wheels a PEP 751 file names."""
    found: list[Candidate] = []
    for package in data.get("packages", []):
        name, version = package["name"], package.get("version", "")
        for wheel in package.get("wheels", []):
            url = wheel.get("url") or _file_url(folder, wheel["path"])
            filename = wheel.get("name") or urllib.parse.unquote(
                os.path.basename(urllib.parse.urlsplit(url).path)
            )
            digest = wheel.get("hashes", {}).get("sha256")
            if digest is None:
                raise CutoverError(f"{name}=={version}: the index names no sha256 for {filename}")
            found.append(Candidate(name, version, filename, url, digest))
        if "wheels" not in package:
            raise CutoverError(f"{name} is not a wheel from an index; only wheels can be locked")
    return found


def _file_url(folder: str, path: str) -> str:
    return "file://" + urllib.parse.quote(os.path.normpath(os.path.join(folder, path)))


def _machine(arch: str) -> str:
    if arch not in _MACHINE:
        raise CutoverError(f"wheels can be locked for {', '.join(sorted(_MACHINE))}, not {arch}")
    return _MACHINE[arch]


def _tag_order(python: str, arch: str) -> dict[Tag, int]:
    version = tuple(int(part) for part in python.split("."))
    machine = _machine(arch)
    platforms = []
    for minor in _GLIBC_MINORS:
        platforms.append(f"manylinux_2_{minor}_{machine}")
        if minor in _LEGACY:
            platforms.append(f"{_LEGACY[minor]}_{machine}")
    platforms.append(f"linux_{machine}")
    interpreter = "cp" + "".join(str(part) for part in version)
    order: dict[Tag, int] = {}
    for tag in [
        *cpython_tags(version, [interpreter], platforms),
        *compatible_tags(version, interpreter, platforms),
    ]:
        order.setdefault(tag, len(order))
    return order


def _rank(filename: str, order: t.Mapping[Tag, int]) -> int | None:
    try:
        tags = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return None
    ranks = [order[tag] for tag in tags if tag in order]
    return min(ranks) if ranks else None
