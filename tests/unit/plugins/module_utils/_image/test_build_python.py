# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the Python that builds are given: it runs from its folder alone, by its own loader."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    build_python as subject,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import run_tool


def test_it_runs_with_nothing_of_the_host_but_its_folder(tmp_path: pathlib.Path) -> None:
    folder = subject.build_python(str(tmp_path), run_tool)
    assert subject.build_python(str(tmp_path), run_tool) == folder
    code = "import ctypes, hashlib, json, sqlite3, sys, zlib; print(json.dumps([sys.prefix, json.__file__]))"
    words = [word.replace(subject.PLACE, folder) for word in subject.command("-c", code)]
    done = subprocess.run(words, env={}, capture_output=True, text=True, check=True)
    assert done.stdout.count(folder) == 2
    names = {path.name for path in pathlib.Path(folder).rglob("*")}
    assert not names & {"site-packages", "idlelib", "tkinter"}
    assert (
        (pathlib.Path(folder) / "bin/python3").read_text().startswith("#!/bin/sh\nexec /run/bake/")
    )
    assert os.listdir(pathlib.Path(folder).parent) in (
        [".lock", os.path.basename(folder)],
        [os.path.basename(folder), ".lock"],
    )


def test_a_python_that_names_no_loader_is_refused(tmp_path: pathlib.Path) -> None:
    def silent(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        return "\tstatically linked\n"

    with pytest.raises(CutoverError, match="names no loader"):
        subject.build_python(str(tmp_path), silent)
    assert not [name for name in os.listdir(tmp_path / "build-python") if len(name) == 16]
