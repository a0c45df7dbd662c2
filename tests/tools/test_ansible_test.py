# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The copy that ansible-test works on is the sources as they are now, and pip in it is configured like the host's."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

from tools import ansible_test


def test_the_copy_follows_the_sources_and_keeps_results(tmp_path: Path) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    (root / "plugins").mkdir(parents=True)
    (root / ".gitignore").write_text("*.log\n")
    (root / "plugins" / "a.py").write_text("1")
    (root / "plugins" / "gone.py").write_text("1")
    (root / "noise.log").write_text("1")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    kept = (Path("tests/output"),)

    ansible_test.mirror(root, ansible_test.source_files(root), copy, kept)
    (copy / "tests" / "output").mkdir(parents=True)
    (copy / "tests" / "output" / "result").write_text("1")
    (root / "plugins" / "gone.py").rename(root / "b.py")
    (root / "plugins" / "a.py").write_text("2")
    ansible_test.mirror(root, ansible_test.source_files(root), copy, kept)

    found = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert found == {".gitignore", "plugins/a.py", "b.py", "tests/output/result"}
    assert (copy / "plugins" / "a.py").read_text() == "2"


def test_pips_settings_from_files_and_variables_become_one_file() -> None:
    listing = (
        "global.extra-index-url='file:///one\\nfile:///two'\n"
        "install.no-binary='x'\n"
        ":env:.cert='/etc/ca.crt'\n"
        "something else\n"
    )
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(ansible_test.pip_configuration(listing))
    assert {name: dict(parsed[name]) for name in parsed.sections()} == {
        "global": {
            "extra-index-url": "file:///one\nfile:///two",
            "cert": "/etc/ca.crt",
            "quiet": "2",
        },
        "install": {"no-binary": "x"},
    }


def test_the_locked_pip_is_the_one_ansible_test_asks_for() -> None:
    import ansible_test as installed

    source = Path(installed.__file__).parent / "_internal" / "python_requirements.py"
    assert f"pip='{ansible_test.locked_pip()}'" in source.read_text()
