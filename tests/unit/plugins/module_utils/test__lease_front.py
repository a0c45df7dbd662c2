# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    InvalidInput,
    LeaseHeld,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._lease_front import ensure_lease
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

OTHER = Holder("other", "bob", "ctl2")


def params(folder: Path, **options: object) -> dict[str, Any]:
    defaults = {
        "app": "shop",
        "run": "mine",
        "state": "acquired",
        "ttl": 60,
        "wait": 0,
        "user": "eve",
    }
    return {"state_dir": str(folder), **defaults, **options}


def free(_lease: Lease) -> None:
    """Nobody has it."""


def mine(lease: Lease) -> None:
    lease.acquire(Holder("mine", "eve", socket.gethostname()), 60)


def mine_for_longer(lease: Lease) -> None:
    lease.acquire(Holder("mine", "eve", socket.gethostname()), 600)


def given_back(lease: Lease) -> None:
    mine(lease)
    lease.release("mine")


def expired(lease: Lease) -> None:
    lease.acquire(OTHER, -1)


def theirs(lease: Lease) -> None:
    lease.acquire(OTHER, 60)


@pytest.mark.parametrize(
    ("before", "state", "changed", "epoch", "actions"),
    [
        (free, "acquired", True, 1, ["acquired epoch 1"]),
        (given_back, "acquired", True, 2, ["acquired epoch 2"]),
        (expired, "acquired", True, 2, ["acquired epoch 2"]),
        (mine, "acquired", False, 1, []),
        (mine_for_longer, "acquired", True, 1, ["acquired epoch 1"]),
        (mine, "released", True, 1, ["released epoch 1"]),
        (free, "released", False, 0, []),
        (theirs, "released", False, 1, []),
        (given_back, "released", False, 1, []),
    ],
)
def test_check_mode_tells_what_the_real_run_does(
    tmp_path: Path, before: Any, state: str, changed: bool, epoch: int, actions: list[str]
) -> None:
    clock = FakeClock()
    lease = Lease(str(tmp_path), "shop", clock)
    before(lease)
    was = lease.read()
    checked = ensure_lease(params(tmp_path, state=state), clock, check=True)
    assert lease.read() == was
    real = ensure_lease(params(tmp_path, state=state), clock, check=False)
    assert checked == real
    assert (real["changed"], real["epoch"], real["actions"]) == (changed, epoch, actions)
    assert real["diff"] == {"before": real["before"], "after": real["after"]}
    again = ensure_lease(params(tmp_path, state=state), clock, check=False)
    assert (again["changed"], again["after"]) == (False, real["after"])


def test_it_waits_in_line_and_tells_who_holds_it(tmp_path: Path) -> None:
    clock = FakeClock()
    Lease(str(tmp_path), "shop", clock).acquire(OTHER, 600)
    with pytest.raises(LeaseHeld, match="shop: lease held by bob, run other, host ctl2"):
        ensure_lease(params(tmp_path, wait=30), clock, check=False)
    assert 30 <= clock.elapsed < 31


def test_it_gets_it_when_the_holder_gives_it_back(tmp_path: Path) -> None:
    clock = FakeClock()
    lease = Lease(str(tmp_path), "shop", clock)
    lease.acquire(OTHER, 600)
    clock.on_sleep = lambda elapsed: lease.release("other") if elapsed > 5 else None
    result = ensure_lease(params(tmp_path, wait=30), clock, check=False)
    assert (result["epoch"], result["after"]["holder"]["run"]) == (2, "mine")
    assert 5 < clock.elapsed < 8


def test_check_mode_fails_like_the_real_run_when_another_has_it(tmp_path: Path) -> None:
    clock = FakeClock()
    Lease(str(tmp_path), "shop", clock).acquire(OTHER, 60)
    with pytest.raises(LeaseHeld, match="lease held by bob"):
        ensure_lease(params(tmp_path), clock, check=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param({"app": "a;b"}, "app: must match", id="B07-app"),
        pytest.param({"run": ""}, "run: must be a name", id="B07-run"),
        pytest.param(
            {"ttl": 0}, "ttl: must be a duration in whole seconds, 5-86400, found 0", id="B21-ttl"
        ),
        pytest.param(
            {"wait": -1}, "wait: must be a duration in whole seconds, 0-86400", id="B21-wait"
        ),
        pytest.param({"wait": 10**9}, "wait: must be a duration", id="B21-huge"),
    ],
)
def test_bad_input_changes_nothing(tmp_path: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ensure_lease(params(tmp_path, **options), FakeClock(), check=False)
    assert caught.value.message.startswith(says), caught.value.message
    assert list(tmp_path.iterdir()) == []
