# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of taking the network away from what a bake runs, as root and as anybody else."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import bootstrap
from ansible_collections.immutable.cutover.plugins.module_utils._image import process as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store

if t.TYPE_CHECKING:
    import pathlib

# Only root can be another user, too.
USERS = [os.geteuid()] if os.geteuid() else [0, 65534]
INTERFACES = ["sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"]


@pytest.mark.parametrize(
    ("user", "own"), [(0, ["--net"]), (1000, ["--user", "--map-root-user", "--net"])]
)
def test_se_23_nobody_keeps_the_network(
    monkeypatch: pytest.MonkeyPatch, user: int, own: list[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    asked: list[t.Sequence[str]] = []
    monkeypatch.setattr(subject, "run_tool", lambda argv, env: asked.append(argv))
    words = subject.without_network("a play")
    assert words[1:] == own
    assert asked == [[*words, "true"]]


@pytest.mark.parametrize("user", USERS)
def test_se_23_what_runs_so_sees_the_loopback_interface_alone(
    monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    other = user != os.geteuid()
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if other else []
    monkeypatch.setattr(os, "geteuid", lambda: user)
    try:
        words = subject.without_network("a play")
    except CutoverError as error:
        # A host that gives nobody such a namespace: then nothing is run.
        assert error.message.startswith("a play must have no network")
        return
    done = subprocess.run(
        [*become, *words, *INTERFACES], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["lo"]


def test_where_the_host_forbids_it_that_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        raise CutoverError("unshare failed with exit code 1: Operation not permitted")

    monkeypatch.setattr(subject, "run_tool", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    says = r"\Ax/y:1: play must have no network, .* user 1000 .*: bake as root of the host, or .*\Z"
    with pytest.raises(CutoverError, match=says) as caught:
        subject.without_network("x/y:1: play")
    assert "not permitted" in str(caught.value.details["cause"])


def test_packages_are_installed_by_root_or_not_at_all(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def run(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        raise AssertionError(f"ran {argv}")

    with pytest.raises(CutoverError, match="bake this base as root, not as user 1000"):
        lock = Lock("", 0, "amd64")
        bootstrap.bootstrap("bookworm", lock, Store(str(tmp_path)), str(tmp_path), run)
    assert not list(tmp_path.iterdir())
