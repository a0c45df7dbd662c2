# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What clean takes for the project's own; test_engine_role.py lets it loose on a real engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tools import clean

CONTAINER, NETWORK, VOLUME, IMAGE = clean.KINDS
MINE = {"immutable.cutover.app": "shop"}


@pytest.mark.parametrize(
    ("labels", "mine"),
    [
        (None, False),
        ({}, False),
        (MINE, True),
        ({"immutable.cutover.recipe-hash": ""}, True),
        ({"immutable.cutover": "x"}, False),
        ({"com.immutable.cutover.app": "shop"}, False),
        ({"immutable.cutoverx.app": "shop"}, False),
        ({"owner": "immutable.cutover.app"}, False),
        ({"a": "b"} | MINE, True),
    ],
)
def test_only_a_label_with_our_prefix_makes_it_ours(
    labels: dict[str, str] | None, mine: bool
) -> None:
    assert clean.ours(labels) is mine


@pytest.mark.parametrize(
    ("kind", "listing", "titles"),
    [
        (
            CONTAINER,
            [
                {"Id": "1", "Names": ["/shop-web-1"], "Labels": MINE},
                {"Id": "2", "Names": ["/db"], "Labels": {}},
            ],
            ["shop-web-1"],
        ),
        (
            NETWORK,
            [
                {"Id": "1", "Name": "shop", "Labels": MINE},
                {"Id": "2", "Name": "bridge", "Labels": {}},
            ],
            ["shop"],
        ),
        (
            VOLUME,
            {"Volumes": [{"Name": "v", "Labels": MINE}, {"Name": "w", "Labels": None}]},
            ["v"],
        ),
        (VOLUME, {"Volumes": None}, []),
        (
            IMAGE,
            [
                {"Id": "sha256:1", "RepoTags": None, "Labels": MINE},
                {"Id": "sha256:2", "RepoTags": ["shop:1"], "Labels": MINE},
                {"Id": "sha256:3", "RepoTags": ["immutable.cutover.app:1"], "Labels": None},
            ],
            ["sha256:1", "shop:1"],
        ),
    ],
    ids=["containers", "networks", "volumes", "no volumes", "images"],
)
def test_selects_what_is_ours(kind: clean.Kind, listing: Any, titles: list[str]) -> None:
    assert [found.title for found in clean.selected(kind, listing)] == titles


def test_an_engine_with_someone_elses_running_container_is_in_use() -> None:
    listing = [
        {"Id": "1", "Names": ["/db"], "State": "running", "Labels": {}},
        {"Id": "2", "Names": ["/old"], "State": "exited", "Labels": {}},
        {"Id": "3", "Names": ["/shop"], "State": "running", "Labels": MINE},
    ]
    assert clean.foreign_running(listing) == ["db"]


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (None, "/var/run/docker.sock"),
        ("", "/var/run/docker.sock"),
        ("unix:///run/x.sock", "/run/x.sock"),
        ("tcp://h:1", None),
    ],
)
def test_cleans_only_an_engine_of_this_machine(host: str | None, path: str | None) -> None:
    assert clean.engine_socket(host) == path


@pytest.mark.parametrize(
    "content", ["", "x", "0", str(os.getpid())], ids=["empty", "no number", "none", "someone else"]
)
def test_a_pid_file_that_names_no_engine_of_ours_is_not_followed(
    tmp_path: Path, content: str
) -> None:
    pid_file = tmp_path / "dockerd.pid"
    pid_file.write_text(content, encoding="ascii")
    assert clean.our_engine(pid_file) is None


def test_a_missing_pid_file_means_no_engine_of_ours(tmp_path: Path) -> None:
    assert clean.our_engine(tmp_path / "dockerd.pid") is None


def test_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(kept)
    assert clean.remove_path(link)
    assert (kept / "file").exists()
    assert not link.is_symlink()
    assert not clean.remove_path(link)


def test_finds_byte_code_outside_the_protected_folders(tmp_path: Path) -> None:
    for name in ("a/__pycache__", ".git/__pycache__", ".venv/x/__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    assert list(clean.caches(tmp_path)) == [tmp_path / "a" / "__pycache__"]
