# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The controller that is apart (CR-05): its names, and what is said where it cannot be had."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from pathlib import Path

import pytest

from tools.chaos.process import eventually, name_of, tree
from tools.chaos.remote import Cable, NoCable, remote


def test_two_checkouts_have_two_cables_and_each_the_same_again() -> None:
    one, other = Cable("chaos-a"), Cable("chaos-b")
    assert (one.controller, one.host) == (Cable("chaos-a").controller, Cable("chaos-a").host)
    assert one.controller != other.controller and one.host != other.host
    assert len(one.controller) <= 15
    for cable in (one, other):
        address = ipaddress.IPv4Interface(f"{cable.host}/30")
        assert address.ip in list(address.network.hosts())
        assert address.network.subnet_of(ipaddress.IPv4Network("198.18.0.0/15"))
    assert f"--net=/run/netns/{one.controller}" in one.enter()


def test_cr_05_what_is_missing_for_a_cable_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(NoCable, match="not on this machine: sshd, ssh-keygen, ip"),
        remote("nothing", tmp_path / "ssh"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_tree_has_what_is_below_a_process() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"], stdout=subprocess.DEVNULL) as shell:
        try:
            eventually(lambda: len(tree(shell.pid)) == 2)
            assert [item.depth for item in tree(shell.pid)] == [0, 1]
            assert name_of(shell.pid) == "sh"
        finally:
            for item in tree(shell.pid):
                item.send(9)
    assert tree(os.getpid())[0].alive
    assert name_of(shell.pid) == ""
