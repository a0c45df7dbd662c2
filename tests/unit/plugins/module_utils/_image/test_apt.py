# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of reading the host's apt sources and apt's answers."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import apt as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import DebLock

DEB822 = """# a comment
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
OTHER = "Types: deb\nURIs: https://third.example/node\nSuites: nodistro\nComponents: main\n"
ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb [arch=amd64,arm64 signed-by=/k.gpg] http://old.example/debian bookworm main contrib # why
deb http://old.example/debian trixie main
deb-src http://old.example/debian bookworm main
"""


def test_only_the_suite_its_updates_and_its_security_are_used() -> None:
    found = subject.matching_sources([("debian.sources", DEB822), ("n.sources", OTHER)], "bookworm")
    assert [source.uris for source in found] == [
        ("http://mirror.example/debian",),
        ("http://mirror.example/debian-security",),
    ]
    assert "Suites: bookworm bookworm-updates\n" in found[0].stanza
    assert "Types: deb\n" in found[0].stanza
    assert "backports" not in found[0].stanza
    assert "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n" in found[0].stanza


def test_one_line_sources_are_read_too() -> None:
    found = subject.matching_sources([("sources.list", ONE_LINE)], "bookworm")
    assert len(found) == 1
    assert found[0].stanza.splitlines() == [
        "Types: deb",
        "Uris: http://old.example/debian",
        "Suites: bookworm",
        "Components: main contrib",
        "Architectures: amd64 arm64",
        "Signed-By: /k.gpg",
    ]


def test_a_host_without_the_suite_is_told_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/n.sources").write_text(OTHER)
    (tmp_path / "sources.list.d/debian.sources.disabled").write_text(DEB822)
    with pytest.raises(CutoverError, match="no apt source in .* serves suite bookworm"):
        subject.host_sources("bookworm", str(tmp_path))


class Answers:
    """What apt would print, and what it was asked."""

    def __init__(self, printed: str = "") -> None:
        self.printed = printed
        self.calls: list[list[str]] = []

    def __call__(self, argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
        self.calls.append(list(argv))
        return self.printed if "install" in argv else ""


def an_apt(tmp_path: pathlib.Path, answers: Answers) -> subject.Apt:
    """Return apt on a folder of the test."""
    sources = subject.matching_sources([("debian.sources", DEB822)], "bookworm")
    return subject.Apt(str(tmp_path), sources, "amd64", answers)


SHA = "ab" * 32


def test_a_printed_uri_becomes_a_lock_without_a_host(tmp_path: pathlib.Path) -> None:
    printed = (
        "noise\n'http://mirror.example/debian-security/pool/updates/main/o/x/libx_1.2%2bb1_amd64.deb'"
        f" libx_1%3a1.2+b1_amd64.deb 77 SHA256:{SHA}\n"
    )
    answers = Answers(printed)
    assert an_apt(tmp_path, answers).resolve(["libx"]) == (
        DebLock(
            name="libx",
            version="1:1.2+b1",
            arch="amd64",
            path="pool/updates/main/o/x/libx_1.2+b1_amd64.deb",
            size=77,
            sha256=SHA,
        ),
    )
    assert answers.calls[0][-1] == "update"
    assert answers.calls[1][-1] == "libx"


@pytest.mark.parametrize(
    ("printed", "says"),
    [
        ("'http://mirror.example/debian/x.deb' x_1_all.deb 7 MD5Sum:abc\n", "no SHA256"),
        ("'http://mirror.example/debian/x.deb' x_1_all.deb 7 \n", "no SHA256"),
        (f"'http://evil.example/x.deb' x_1_all.deb 7 SHA256:{SHA}\n", "outside the sources"),
    ],
    ids=["B43-md5", "B43-no-hash", "other-host"],
)
def test_refused_answers(tmp_path: pathlib.Path, printed: str, says: str) -> None:
    with pytest.raises(CutoverError, match=says):
        an_apt(tmp_path, Answers(printed)).resolve(["x"])


def test_what_one_archive_lacks_is_asked_of_the_next(tmp_path: pathlib.Path) -> None:
    deb = DebLock("libx", "1", "amd64", "pool/main/libx_1+b1_amd64.deb", 7, SHA)
    answers = Answers()
    an_apt(tmp_path, answers).download([deb], str(tmp_path))
    assert [call[-3] for call in answers.calls] == [
        "http://mirror.example/debian/pool/main/libx_1+b1_amd64.deb",
        "http://mirror.example/debian-security/pool/main/libx_1+b1_amd64.deb",
    ]
    assert {call[-1] for call in answers.calls} == {f"SHA256:{SHA}"}
    (tmp_path / SHA).write_bytes(b"here")
    an_apt(tmp_path, answers).download([deb], str(tmp_path))
    assert len(answers.calls) == 2


MISMATCH = """apt-helper failed with exit code 100: E: Failed to fetch copy:/srv/b.deb  Hash Sum mismatch
   Hashes of expected file:
    - SHA256:%(other)s
   Hashes of received file:
    - SHA256:%(other)s
E: Failed to fetch copy:/srv/a.deb  Hash Sum mismatch
   Hashes of expected file:
    - SHA256:%(wanted)s
   Hashes of received file:
    - SHA512:%(long)s
    - SHA256:%(got)s
    - Filesize:6 [weak]
E: Failed to fetch http://x.example/none.deb  404  File not found
"""


def test_b43_the_hash_of_what_an_archive_had_instead_is_found() -> None:
    wanted, got = "1" * 64, "2" * 64
    said = MISMATCH % {"wanted": wanted, "got": got, "other": "3" * 64, "long": "4" * 128}
    assert subject.received_instead(said, wanted) == got
    assert subject.received_instead(said, "5" * 64) == ""
    assert subject.received_instead("", wanted) == ""
