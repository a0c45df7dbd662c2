# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels unpacked as the binary distribution format says, without running anything; private, no stability promised.

Nothing is compiled: compiled files carry times, and which Python would compile them is the image's
business. Metadata is read by the image's own Python from the C(.dist-info) folders that stay.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import re
import stat
import typing as t
import zipfile

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import Entry

SITE = "/opt/app/site-packages"
SCRIPTS = "/opt/app/bin"
DATA = "/opt/app"
_SHEBANG = b"#!/usr/bin/env python3"
_ENTRY_POINT = re.compile(r"\A([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\])?\Z")
_SCRIPT_NAME = re.compile(r"\A[\w.-]+\Z")


def wheel_entries(path: str, name: str) -> list[Entry]:
    """Return what installing one wheel puts into the image."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _install(archive, name)
    except zipfile.BadZipFile as error:
        raise CutoverError(f"{name}: not a wheel: {error}") from error


def _install(archive: zipfile.ZipFile, name: str) -> list[Entry]:
    dist_info = _dist_info(archive, name)
    _check_version(archive, dist_info, name)
    entries: list[Entry] = []
    for item in archive.infolist():
        if item.is_dir() or item.filename == f"{dist_info}/RECORD":
            continue
        if item.filename.startswith(f"{dist_info}/RECORD."):
            continue
        dest = _destination(item.filename, dist_info.removesuffix(".dist-info"), name)
        data = archive.read(item)
        if dest.startswith(SCRIPTS + "/"):
            data = _own_interpreter(data)
        executable = bool((item.external_attr >> 16) & stat.S_IXUSR) or dest.startswith(
            SCRIPTS + "/"
        )
        entries.append(Entry(dest, 0o755 if executable else 0o644, data))
    entries += _console_scripts(archive, dist_info, name)
    entries.append(Entry(f"{SITE}/{dist_info}/INSTALLER", 0o644, b"immutable.cutover\n"))
    entries.append(_record(entries, dist_info))
    return entries


def _dist_info(archive: zipfile.ZipFile, name: str) -> str:
    folders = {item.split("/")[0] for item in archive.namelist() if ".dist-info/" in item}
    found = sorted(folder for folder in folders if folder.endswith(".dist-info"))
    if len(found) != 1:
        raise CutoverError(
            f"{name}: not a wheel: need exactly one .dist-info folder, found {found}"
        )
    return found[0]


def _check_version(archive: zipfile.ZipFile, dist_info: str, name: str) -> None:
    try:
        text = archive.read(f"{dist_info}/WHEEL").decode("utf-8", "replace")
    except KeyError as error:
        raise CutoverError(f"{name}: not a wheel: no WHEEL file") from error
    match = re.search(r"^Wheel-Version:\s*(\d+)\.", text, re.MULTILINE)
    if match is None or match.group(1) != "1":
        raise CutoverError(f"{name}: wheel format is not 1.x")


def _destination(member: str, stem: str, name: str) -> str:
    parts = member.split("/")
    if member.startswith("/") or ".." in parts or "\\" in member:
        raise CutoverError(f"{name}: {member} would leave the folder it is installed into")
    if parts[0] != f"{stem}.data":
        return f"{SITE}/{member}"
    if len(parts) < 3:
        raise CutoverError(f"{name}: {member} is not in a known .data folder")
    roots = {
        "purelib": SITE,
        "platlib": SITE,
        "scripts": SCRIPTS,
        "data": DATA,
        "headers": f"{DATA}/include/{stem.rsplit('-', 1)[0]}",
    }
    if parts[1] not in roots:
        raise CutoverError(f"{name}: {member} is not in a known .data folder")
    return "/".join([roots[parts[1]], *parts[2:]])


def _own_interpreter(data: bytes) -> bytes:
    first, newline, rest = data.partition(b"\n")
    return _SHEBANG + newline + rest if first.startswith(b"#!python") else data


class _CaseKept(configparser.RawConfigParser):
    """Names of scripts are what they are, not their lower case."""

    def optionxform(self, optionstr: str) -> str:
        """Return the name as it is written."""
        return optionstr


def _console_scripts(archive: zipfile.ZipFile, dist_info: str, name: str) -> t.Iterator[Entry]:
    try:
        text = archive.read(f"{dist_info}/entry_points.txt").decode("utf-8")
    except KeyError:
        return
    parser = _CaseKept(delimiters=("=",), strict=False)
    parser.read_string(text)
    if not parser.has_section("console_scripts"):
        return
    for script, target in sorted(parser.items("console_scripts")):
        match = _ENTRY_POINT.match(target)
        if match is None or not _SCRIPT_NAME.match(script):
            raise CutoverError(f"{name}: console script {script} = {target} is not valid")
        module, function = match.groups()
        body = (
            f"import sys\nfrom {module} import {function.split('.')[0]}\n"
            f'if __name__ == "__main__":\n    sys.exit({function}())\n'
        )
        yield Entry(f"{SCRIPTS}/{script}", 0o755, _SHEBANG + b"\n" + body.encode())


def _record(entries: t.Sequence[Entry], dist_info: str) -> Entry:
    own = f"{dist_info}/RECORD"
    rows = []
    for entry in entries:
        digest = base64.urlsafe_b64encode(hashlib.sha256(entry.data).digest()).rstrip(b"=")
        relative = os.path.relpath(entry.path, SITE)
        rows.append((relative, f"sha256={digest.decode()}", str(len(entry.data))))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*sorted(rows), (own, "", "")])
    return Entry(f"{SITE}/{own}", 0o644, text.getvalue().encode())
