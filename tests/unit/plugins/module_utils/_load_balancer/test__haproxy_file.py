# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_file import (
    ConfigFile,
    accept_all,
)
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock


@pytest.mark.parametrize("text", ["the same\n", "another\n"])
def test_se_26_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, text: str) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text("the same\n")
    for name in (".haproxy.cfg.new", ".haproxy.cfg.valid.new"):
        (tmp_path / name).write_text("half")
    config = ConfigFile(str(path), FakeClock(), accept_all, shape=lambda found: found)
    assert config.update(lambda _found: text) is (text != "the same\n")
    assert path.read_text() == text
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".new")]
