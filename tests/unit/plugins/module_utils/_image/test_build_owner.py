# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is of a build that lives is never taken for left over."""

from __future__ import annotations

from unittest.mock import Mock

from ansible_collections.immutable.cutover.plugins.module_utils._image.build_container import (
    BuildEngine,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_owner import (
    is_dead,
    this_process,
)


def test_se_26_a_build_that_lives_owns_what_it_made() -> None:
    assert not is_dead(this_process())
    assert not is_dead(BuildEngine(Mock()).owner)


def test_se_26_a_build_whose_process_is_gone_does_not() -> None:
    where, pid, started = this_process().split(" ")
    gone = f"{where} {pid} {int(started) - 1}"
    assert is_dead(gone)
    assert is_dead(f"{gone} 0123abcd")
    assert not is_dead("")
    assert not is_dead(f"another/{where} {pid} 1 0123abcd")
