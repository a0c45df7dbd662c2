# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes two honest builds of the same packages differ; private, no stability promised."""

from __future__ import annotations

import re

_DAY = 86400
# Written by the build and not by a package: clocks, caches, locks, backups, the build host's names.
_DROPPED = re.compile(
    r"""\A(?:
      dev/.+ | proc/.+ | sys/.+ | run/.+ | tmp/.+ | var/tmp/.+ | root/\.cache(?:/.*)?
    | \.dockerenv
    | etc/(?:hostname|resolv\.conf|machine-id|mtab|\.pwd\.lock)
    | etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-
    | etc/apt/.+ | etc/dpkg/dpkg\.cfg\.d/99mmdebstrap
    | var/log/.+ | var/cache/apt/.* | var/cache/ldconfig/aux-cache | var/cache/debconf/.+-old
    | var/lib/apt/.+ | var/lib/dpkg/(?:lock|lock-frontend|triggers/Lock|.+-old)
    | var/lib/(?:systemd/random-seed|dbus/machine-id|urandom/random-seed)
    | var/backups/.+
    )\Z""",
    re.VERBOSE | re.DOTALL,
)
_KEPT_FOLDERS = frozenset({"etc/apt", "var/log", "var/cache/apt", "var/lib/apt"})
_PYC = re.compile(r"\A(.*?)__pycache__/([^/]+?)\.[^/]+?(?:\.opt-[12])?\.pyc\Z")
_PYC_HEADER = 16


def is_volatile(path: str) -> bool:
    """Tell whether a path does not belong into an image."""
    return path not in _KEPT_FOLDERS and bool(_DROPPED.match(path))


def pyc_source(path: str) -> str:
    """Return the source of a compiled Python file, or an empty string."""
    match = _PYC.match(path)
    return f"{match.group(1)}{match.group(2)}.py" if match else ""


def settle(path: str, data: bytes, epoch: int, source_time: int | None) -> bytes:
    """Return a file's content without the traces of when it was written."""
    if path == "etc/shadow":
        return _settle_shadow(data, epoch)
    if source_time is not None and len(data) >= _PYC_HEADER and data[4:8] == b"\0\0\0\0":
        # The time of the source it was compiled from: must follow the source's, or it is ignored.
        return data[:8] + (source_time & 0xFFFFFFFF).to_bytes(4, "little") + data[12:]
    return data


def _settle_shadow(data: bytes, epoch: int) -> bytes:
    lines = []
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) == 9 and fields[2]:
            fields[2] = str(epoch // _DAY).encode()
        lines.append(b":".join(fields))
    return b"\n".join(lines)
