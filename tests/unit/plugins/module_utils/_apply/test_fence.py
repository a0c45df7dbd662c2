# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer's host lets in nobody whose epoch is below the highest it has seen of a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.fence import Fence
from ansible_collections.immutable.cutover.plugins.module_utils._errors import Fenced
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

OLD, NEW = Holder("old", "bob"), Holder("new", "eve")


@pytest.fixture
def fence(tmp_path: Path) -> Fence:
    return Fence(str(tmp_path), "shop", "b1", FakeClock())


def test_cr_02_a_late_step_of_an_earlier_epoch_is_refused(fence: Fence) -> None:
    fence.admit(OLD, 60, 7)
    with fence.guard(7):
        pass
    fence.admit(NEW, 60, 8)
    with pytest.raises(Fenced, match="run epoch 7, current epoch 8, held by eve"), fence.guard(7):
        raise AssertionError("it acted")
    with pytest.raises(Fenced, match="run epoch 7, current epoch 8"):
        fence.admit(OLD, 60, 7)
    with fence.guard(8):
        fence.renew("new", 60, 8)


def test_a_run_comes_back_and_another_one_of_its_epoch_does_not(fence: Fence) -> None:
    fence.admit(OLD, 60, 7)
    fence.admit(OLD, 60, 7)
    with pytest.raises(Fenced):
        fence.admit(NEW, 60, 7)


def test_each_host_of_an_app_has_its_own(fence: Fence, tmp_path: Path) -> None:
    fence.admit(OLD, 60, 7)
    other = Fence(str(tmp_path), "shop", "b2", FakeClock())
    assert other.read().epoch == 0
    other.admit(NEW, 60, 1)
    assert fence.read().epoch == 7


def test_a_lease_whose_folder_was_lost_goes_on_from_what_others_have_seen(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path), "shop", FakeClock())
    lease.raise_to(41)
    assert lease.acquire(NEW, 60).epoch == 42
    lease.raise_to(7)
    assert (lease.read().epoch, lease.read().holder) == (42, NEW)
