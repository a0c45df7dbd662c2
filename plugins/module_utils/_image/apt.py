# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages, resolved and downloaded by apt itself with the host's own sources; private, no stability promised.

apt runs on a throw-away directory with an empty package state: nothing of the host is read but its
sources, keys, proxy and pins, and nothing of it is changed.
"""

from __future__ import annotations

import os
import re
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import DebLock
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import (
    Run,
    find_tool,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import ETC_APT

_HELPER = "/usr/lib/apt/apt-helper"
# Essential packages make the system dpkg can work in; apt has no place in an image that never changes.
_ESSENTIAL = ("?and(?essential,?not(?exact-name(apt)))", "usr-is-merged")
_RECEIVED = r"SHA256:%s\s+Hashes of received file:\s+(?:- \S+:\S+(?: \[weak\])?\s+)*?- SHA256:([0-9a-f]{64})"
_PRINTED = re.compile(r"\A'([^']+)' (\S+) ([0-9]+) SHA256:([0-9a-f]{64})\Z")
_ONE_LINE = re.compile(r"\Adeb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)\Z")


@dataclass(frozen=True)
class Source:
    """One archive and the suites of it that an image may be made from, in deb822 form."""

    stanza: str
    uris: tuple[str, ...]


def matching_sources(texts: t.Iterable[tuple[str, str]], suite: str) -> tuple[Source, ...]:
    """Return the sources that serve this suite, its updates or its security fixes, and no others."""
    wanted = (suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates")
    found: list[Source] = []
    for name, text in texts:
        stanzas = _stanzas(text) if name.endswith(".sources") else _one_line_stanzas(text)
        for fields in stanzas:
            source = _select(fields, wanted)
            if source is not None and source not in found:
                found.append(source)
    return tuple(found)


def _stanzas(text: str) -> t.Iterator[dict[str, str]]:
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t":
                fields[last] = fields.get(last, "") + "\n" + line
            else:
                last, _colon, value = line.partition(":")
                last = last.strip().title()
                fields[last] = value.strip()
        if fields:
            yield fields


def _one_line_stanzas(text: str) -> t.Iterator[dict[str, str]]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.split("#")[0].strip())
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        fields = {"Types": "deb", "Uris": uri, "Suites": suite, "Components": components.strip()}
        for option in (options or "").strip("[] \t").split():
            key, _equals, value = option.partition("=")
            key = {"arch": "Architectures", "signed-by": "Signed-By"}.get(key, key.title())
            fields[key] = value.replace(",", " ")
        yield fields


def _select(fields: dict[str, str], wanted: tuple[str, ...]) -> Source | None:
    suites = [suite for suite in fields.get("Suites", "").split() if suite in wanted]
    enabled = fields.get("Enabled", "yes").lower() not in ("no", "false", "0")
    if not suites or not enabled or "deb" not in fields.get("Types", "").split():
        return None
    chosen = {**fields, "Types": "deb", "Suites": " ".join(suites)}
    stanza = "".join(f"{key}: {value}\n" for key, value in chosen.items())
    return Source(stanza, tuple(uri.rstrip("/") for uri in fields.get("Uris", "").split()))


def host_sources(suite: str, etc_apt: str = ETC_APT) -> tuple[Source, ...]:
    """Return the host's own sources for a suite; a host without any cannot bake that suite."""
    paths = [os.path.join(etc_apt, "sources.list")]
    parts = os.path.join(etc_apt, "sources.list.d")
    if os.path.isdir(parts):
        paths += [os.path.join(parts, name) for name in sorted(os.listdir(parts))]
    texts = []
    for path in paths:
        if path.endswith((".list", ".sources")) and os.path.isfile(path):
            with open(path, encoding="utf-8") as stream:
                texts.append((path, stream.read()))
    found = matching_sources(texts, suite)
    if not found:
        raise CutoverError(f"no apt source in {etc_apt} serves suite {suite}: add one there")
    return found


def received_instead(said: str, digest: str) -> str:
    """Return the sha256 of what an archive had in the place of a file, as apt says; empty if it had nothing."""
    match = re.search(_RECEIVED % digest, said)
    return match.group(1) if match else ""


class Apt:
    """apt on a directory of its own."""

    def __init__(self, root: str, sources: tuple[Source, ...], arch: str, run: Run) -> None:
        self.root = root
        self.sources = sources
        self.run = run
        self.config = os.path.join(root, "apt.conf")
        self._prepare(arch)

    def _prepare(self, arch: str) -> None:
        for folder in ("etc/sources.list.d", "state/lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(self.root, folder), exist_ok=True)
        self._write("etc/sources.list.d/bake.sources", "\n".join(s.stanza for s in self.sources))
        self._write("status", "")
        settings = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": f"{self.root}/etc/sources.list.d",
            "Dir::State": f"{self.root}/state",
            "Dir::State::status": f"{self.root}/status",
            "Dir::Cache": f"{self.root}/cache",
            "APT::Architecture": arch,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::ForceHash": "SHA256",
            "Acquire::Retries": "3",
        }
        cleared = (
            "APT::Architectures",
            "APT::Update::Post-Invoke",
            "APT::Update::Post-Invoke-Success",
            "Acquire::Languages",
            "DPkg::Post-Invoke",
            "DPkg::Pre-Install-Pkgs",
        )
        lines = [f"#clear {key};" for key in cleared]
        lines += [f'{key} "{value}";' for key, value in settings.items()]
        self._write("apt.conf", "\n".join([*lines, f'APT::Architectures {{ "{arch}"; }};', ""]))

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self.root, name), "w", encoding="utf-8") as stream:
            stream.write(text)

    def resolve(self, packages: t.Sequence[str]) -> tuple[DebLock, ...]:
        """Return every package that these and the essential ones need, without a host name."""
        self._apt_get("--error-on=any", "update")
        return self._install([*_ESSENTIAL, *packages])

    def upgrade(
        self, names: t.Sequence[str], locked: t.Sequence[DebLock], described: t.Mapping[str, str]
    ) -> tuple[DebLock, ...]:
        """Return the locked packages with these ones at their newest version, and what that needs.

        For apt the locked packages are installed, so it moves what it must and leaves the rest alone.
        C(described) has the control fields of locked packages by sha256, for those no archive has any more.
        """
        self._apt_get("--error-on=any", "update")
        shown = self._show([deb.name for deb in locked if deb.sha256 not in described])
        installed = []
        for deb in locked:
            fields = described.get(deb.sha256) or shown.get((deb.name, deb.version))
            if fields is None and deb.name in names:
                continue
            if fields is None:
                raise CutoverError(
                    f"{deb.name}={deb.version} is locked, and neither in the store nor in a source of this "
                    "host any more: upgrade it too",
                    package=deb.name,
                )
            installed.append(f"{fields.rstrip()}\nStatus: install ok installed\n")
        self._write("status", "\n".join(installed))
        moved = {deb.name: deb for deb in self._install(["--no-remove", *names])}
        merged = {**{deb.name: deb for deb in locked}, **moved}
        return tuple(merged[name] for name in sorted(merged))

    def _apt_get(self, *words: str) -> str:
        tool = find_tool("apt-get", "apt (a bake of OS packages runs on Debian or Ubuntu)")
        return self.run([tool, "-c", self.config, "-qq", *words], {"LC_ALL": "C"})

    def _install(self, words: t.Sequence[str]) -> tuple[DebLock, ...]:
        printed = self._apt_get("-y", "--print-uris", "install", *words)
        lines = [line for line in printed.splitlines() if line.startswith("'")]
        return tuple(sorted((self._locked(line) for line in lines), key=lambda deb: deb.name))

    def _show(self, names: t.Sequence[str]) -> dict[tuple[str, str], str]:
        """Return the control fields of every version the sources have of these packages."""
        if not names:
            return {}
        argv = [find_tool("apt-cache", "apt"), "-c", self.config, "show", *names]
        try:
            text = self.run(argv, {"LC_ALL": "C"})
        except CutoverError:
            # One name that nobody knows fails the whole question.
            if len(names) == 1:
                return {}
            half = len(names) // 2
            return {**self._show(names[:half]), **self._show(names[half:])}
        found = {}
        for block in re.split(r"\n[ \t]*\n", text):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
            found[fields.get("Package", ""), fields.get("Version", "")] = block.strip("\n")
        return found

    def _locked(self, line: str) -> DebLock:
        match = _PRINTED.match(line.strip())
        if match is None:
            raise CutoverError(f"apt named no SHA256 for {line.split(' ')[0]}")
        uri, filename, size, digest = match.groups()
        name, version, rest = filename.split("_", 2)
        return DebLock(
            name=name,
            version=urllib.parse.unquote(version),
            arch=rest.rpartition(".")[0],
            path=urllib.parse.unquote(self._relative(uri)),
            size=int(size),
            sha256=digest,
        )

    def _relative(self, uri: str) -> str:
        for source in self.sources:
            for base in source.uris:
                if uri.startswith(base + "/"):
                    return uri[len(base) + 1 :]
        raise CutoverError(f"apt named a file outside the sources it was given: {uri}")

    def download(self, debs: t.Sequence[DebLock], folder: str) -> str:
        """Fetch what the archives still have; return apt's complaints.

        Who asked checks what arrived: a file that one archive lacks is asked of the next.
        """
        failures = []
        bases = [base for source in self.sources for base in source.uris]
        for base in dict.fromkeys(bases):
            missing = [deb for deb in debs if not os.path.exists(os.path.join(folder, deb.sha256))]
            argv = [find_tool(_HELPER, "apt"), "-c", self.config, "-qq", "download-file"]
            for deb in missing:
                uri = f"{base}/{urllib.parse.quote(deb.path, safe='/+~-._')}"
                argv += [uri, os.path.join(folder, deb.sha256), f"SHA256:{deb.sha256}"]
            if missing:
                failures.append(self._try(argv))
        return "\n".join(failure for failure in failures if failure)

    def _try(self, argv: t.Sequence[str]) -> str:
        try:
            self.run(argv, {"LC_ALL": "C"})
        except CutoverError as error:
            return error.message
        return ""
