# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what an image leaves out."""

from __future__ import annotations

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import volatile as subject

DROPPED = [
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "etc/passwd-",
    "etc/shadow-",
    "etc/.pwd.lock",
    "etc/apt/sources.list",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "var/log/dpkg.log",
    "var/log/apt/history.log",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/archives",
    "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/config.dat-old",
    "var/lib/apt/lists",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/triggers/Lock",
    "var/backups/x",
    "dev/null",
    "run/lock",
    "tmp/x",
    "root/.cache",
    "root/.cache/pip",
    ".dockerenv",
]
KEPT = [
    "etc",
    "etc/passwd",
    "etc/shadow",
    "etc/apt",
    "etc/apt-extra/x",
    "var/log",
    "var/cache/apt",
    "var/lib/apt",
    "var/lib/dpkg/status",
    "var/lib/dpkg/info/base-files.list",
    "var/lib/dpkg/lockfile",
    "dev",
    "run",
    "tmp",
    "usr/lib/python3.11/tmp/x",
    "usr/bin/env",
    "root",
    "root/.profile",
    "var/cache/debconf/config.dat",
]


@pytest.mark.parametrize("path", DROPPED)
def test_dropped(path: str) -> None:
    assert subject.is_volatile(path)


@pytest.mark.parametrize("path", KEPT)
def test_kept(path: str) -> None:
    assert not subject.is_volatile(path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a/__pycache__/m.cpython-311.pyc", "a/m.py"),
        ("a/__pycache__/m.cpython-311.opt-1.pyc", "a/m.py"),
        ("__pycache__/m.cpython-311.pyc", "m.py"),
        ("a/m.pyc", ""),
        ("a/m.py", ""),
    ],
)
def test_source_of_a_compiled_file(path: str, source: str) -> None:
    assert subject.pyc_source(path) == source


def test_the_day_of_the_last_password_change_is_the_epochs() -> None:
    shadow = b"root:*:19700:0:99999:7:::\nx:!::0:99999:7:::\nbroken\n"
    settled = subject.settle("etc/shadow", shadow, 86400 * 20000 + 5, None)
    assert settled == b"root:*:20000:0:99999:7:::\nx:!::0:99999:7:::\nbroken\n"


def test_hash_based_compiled_files_are_left_alone() -> None:
    data = b"\xa7\r\r\n" + b"\x01\0\0\0" + b"12345678" + b"code"
    assert subject.settle("m.pyc", data, 1, 7) == data


def test_other_content_is_left_alone() -> None:
    assert subject.settle("etc/passwd", b"root:x:0:0::/root:/bin/sh", 1, None).endswith(b"/bin/sh")
