# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes are known to have ended, and which ones nobody here can know of."""

from __future__ import annotations

import os
import re
import socket
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils import _process
from ansible_collections.immutable.cutover.plugins.module_utils._process import (
    has_ended,
    identity,
    is_dead,
)
from ansible_collections.immutable.cutover.tests.unit.support.processes import (
    Child,
    ended_process,
)

NONE = 2**22 + 1
"""No process has this number: it is above what a kernel gives."""


def test_a_process_has_one_name_as_long_as_it_lives() -> None:
    mine = identity(os.getpid())
    assert re.fullmatch(rf"[0-9a-f-]{{36}}/pid:\[[0-9]+\] {os.getpid()} [0-9]+", mine)
    assert identity(os.getpid()) == mine
    assert identity(NONE) == ""
    assert not has_ended(mine)


def test_a_process_that_ends_is_known_to_have_even_before_it_is_collected() -> None:
    child = Child()
    assert not has_ended(child.name)
    child.end()
    assert has_ended(child.name)
    assert identity(child.pid) == ""
    child.collect()
    assert has_ended(child.name)


def test_cr_08_another_process_of_the_same_number_is_not_it() -> None:
    where, pid, started = identity(os.getpid()).split(" ")
    assert has_ended(f"{where} {pid} {int(started) - 1}")
    assert has_ended(f"{where} {NONE} 1")


@pytest.mark.parametrize(
    "where",
    ["0" * 36 + "/pid:[4026531836]", "{boot}/pid:[1]", "0" * 36 + "/{namespace}"],
    ids=["another machine, or before a reboot", "another container", "another machine's container"],
)
def test_cr_06_of_a_process_elsewhere_with_this_host_name_nothing_is_known(where: str) -> None:
    """Two controllers in containers in the host's network, or two machines that are called localhost."""
    here = identity(os.getpid()).partition(" ")[0]
    boot, namespace = here.split("/")
    name = f"{where.format(boot=boot, namespace=namespace)} {NONE} 1"
    holder = {"process": name, "host": socket.gethostname()}
    assert not is_dead(holder)


@pytest.mark.parametrize(
    "name",
    ["", f"{NONE}:1", "1:1", f"{NONE} 1", "x", "a b c d", "  ", f"{{here}} {NONE}", "{here} x 1"],
)
def test_of_a_name_of_another_form_nothing_is_known(name: str) -> None:
    """C(PID:STARTED) is the form of earlier versions, and an earlier version does not take ours for one."""
    here = identity(os.getpid()).partition(" ")[0]
    assert not has_ended(name.format(here=here))
    assert not here.partition(":")[0].isdigit()


def test_a_holder_without_a_process_is_not_dead() -> None:
    assert not is_dead({})
    assert not is_dead({"process": None, "host": socket.gethostname()})
    ended = ended_process()
    assert is_dead({"process": ended, "host": socket.gethostname()})
    assert not is_dead({"process": ended, "host": "another"})


def test_cr_06_a_process_that_only_others_may_see_is_not_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with C(/proc) mounted with C(hidepid), where another user's process has no folder."""
    name = identity(os.getpid())

    def hidden(_pid: int) -> list[str]:
        raise FileNotFoundError

    def refused(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(_process, "_stat", hidden)
    monkeypatch.setattr(os, "kill", refused)
    assert not has_ended(name)


def test_where_there_is_no_proc_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    name = ended_process()

    def none(*_arguments: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(_process, "_where", none)
    assert identity(os.getpid()) == ""
    assert not has_ended(name)
