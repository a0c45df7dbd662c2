# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of unpacking wheels."""

from __future__ import annotations

import csv
import hashlib
import io
import pathlib
import zipfile

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import wheel_layer as subject

WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
FILES = {
    "pkg/__init__.py": "x = 1\n",
    "pkg-1.0.dist-info/WHEEL": WHEEL,
    "pkg-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n",
    "pkg-1.0.dist-info/RECORD": "",
}


def wheel(folder: pathlib.Path, files: dict[str, str]) -> str:
    """Write a wheel."""
    path = folder / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return str(path)


def install(folder: pathlib.Path, files: dict[str, str]) -> dict[str, tuple[int, bytes]]:
    """Return what installing these files gives, by path."""
    entries = subject.wheel_entries(wheel(folder, files), "pkg.whl")
    return {entry.path: (entry.mode, entry.data) for entry in entries}


def test_a_package_and_its_record(tmp_path: pathlib.Path) -> None:
    found = install(tmp_path, FILES)
    site = "/opt/app/site-packages"
    assert found[f"{site}/pkg/__init__.py"] == (0o644, b"x = 1\n")
    assert found[f"{site}/pkg-1.0.dist-info/INSTALLER"][1] == b"immutable.cutover\n"
    record = found[f"{site}/pkg-1.0.dist-info/RECORD"][1].decode()
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(record))}
    assert rows["pkg/__init__.py"][1] == "6"
    assert rows["pkg-1.0.dist-info/RECORD"] == ["", ""]
    assert set(rows) == {path.removeprefix(f"{site}/") for path in found}


def test_scripts_of_both_kinds(tmp_path: pathlib.Path) -> None:
    entry_points = "[console_scripts]\nrun = pkg.cli:main\nSub = pkg:App.start [extra]\n[gui_scripts]\ng=pkg:g\n"
    found = install(
        tmp_path,
        {
            **FILES,
            "pkg-1.0.dist-info/entry_points.txt": entry_points,
            "pkg-1.0.data/scripts/old": "#!python\nprint(1)\n",
            "pkg-1.0.data/scripts/shell": "#!/bin/sh\n:\n",
        },
    )
    mode, run = found["/opt/app/bin/run"]
    assert mode == 0o755
    assert run.splitlines()[0] == b"#!/usr/bin/env python3"
    assert b"from pkg.cli import main" in run and b"sys.exit(main())" in run
    assert b"from pkg import App" in found["/opt/app/bin/Sub"][1]
    assert b"sys.exit(App.start())" in found["/opt/app/bin/Sub"][1]
    assert found["/opt/app/bin/old"] == (0o755, b"#!/usr/bin/env python3\nprint(1)\n")
    assert found["/opt/app/bin/shell"] == (0o755, b"#!/bin/sh\n:\n")
    assert "/opt/app/bin/g" not in found
    for path in ("run", "Sub"):
        compile(found[f"/opt/app/bin/{path}"][1], path, "exec")


def test_data_folders_go_where_they_belong(tmp_path: pathlib.Path) -> None:
    found = install(
        tmp_path,
        {
            **FILES,
            "pkg-1.0.data/purelib/p.py": "1",
            "pkg-1.0.data/platlib/q.py": "1",
            "pkg-1.0.data/data/share/x": "1",
            "pkg-1.0.data/headers/h.h": "1",
        },
    )
    for path in ("site-packages/p.py", "site-packages/q.py", "share/x", "include/pkg/h.h"):
        assert f"/opt/app/{path}" in found


def test_executable_bits_stay(tmp_path: pathlib.Path) -> None:
    path = wheel(tmp_path, FILES)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("pkg/tool")
        info.external_attr = 0o100755 << 16
        archive.writestr(info, "#!/bin/sh\n")
    modes = {entry.path: entry.mode for entry in subject.wheel_entries(path, "pkg.whl")}
    assert modes["/opt/app/site-packages/pkg/tool"] == 0o755


def test_the_order_inside_the_wheel_does_not_matter(tmp_path: pathlib.Path) -> None:
    (tmp_path / "2").mkdir()
    first = install(tmp_path, FILES)
    second = install(tmp_path / "2", dict(reversed(list(FILES.items()))))
    assert first == second


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({**FILES, "../evil.py": "x"}, "would leave the folder"),
        ({**FILES, "/etc/evil": "x"}, "would leave the folder"),
        ({**FILES, "pkg-1.0.data/scripts/../../x": "x"}, "would leave the folder"),
        ({**FILES, "pkg-1.0.data/other/x": "x"}, "not in a known .data folder"),
        ({**FILES, "pkg-1.0.data/x": "x"}, "not in a known .data folder"),
        ({"pkg/__init__.py": ""}, "need exactly one .dist-info"),
        ({**FILES, "other-2.0.dist-info/WHEEL": WHEEL}, "need exactly one .dist-info"),
        ({**FILES, "pkg-1.0.dist-info/WHEEL": "Wheel-Version: 2.0\n"}, "format is not 1.x"),
        ({"pkg-1.0.dist-info/METADATA": ""}, "no WHEEL file"),
        (
            {**FILES, "pkg-1.0.dist-info/entry_points.txt": "[console_scripts]\nx=os; import y\n"},
            "is not valid",
        ),
        (
            {**FILES, "pkg-1.0.dist-info/entry_points.txt": "[console_scripts]\n../x=os:y\n"},
            "is not valid",
        ),
    ],
)
def test_refused_wheels(tmp_path: pathlib.Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(CutoverError, match=says):
        install(tmp_path, files)


def test_not_a_zip(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(hashlib.sha256(b"").digest())
    with pytest.raises(CutoverError, match="x.whl: not a wheel"):
        subject.wheel_entries(str(path), "x.whl")
