# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of haproxy.cfg that is ours; pure text, private, no stability promised.

A backend has one managed part between two marker lines. Everything else in the file is its owner's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_state as state,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._names import joined
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin

_SECTIONS = frozenset(
    {
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "peers",
        "resolvers",
        "mailers",
        "userlist",
    }
    | {"cache", "program", "ring", "http-errors", "fcgi-app", "log-forward"}
)
# A line as server_line() writes it; any other line keeps its text and so gets a shape of its own.
_LINE = re.compile(
    r"server [A-Za-z0-9][A-Za-z0-9_.-]{0,62} (?:\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d{1,5}"
    r"((?: check inter [a-z0-9 ]+?)?) weight \d{1,3}((?: disabled)?)"
)


@dataclass(frozen=True)
class Span:
    """Which lines (first and last exclusive of the markers) a managed part has."""

    begin: int
    end: int


class ConfigProblem(ValueError):
    """The file cannot be rewritten as it is; the text says why and what to do."""


def begin_marker(backend: str) -> str:
    """Return the line that opens the managed part of a backend."""
    return f"# BEGIN immutable.cutover targets of {backend}"


def end_marker(backend: str) -> str:
    """Return the line that closes it."""
    return f"# END immutable.cutover targets of {backend}"


def server_line(server: state.Server, check: str) -> str:
    """Write one server as HAProxy shall find it after a restart.

    Only an active server comes back with traffic. A draining one comes back in maintenance: after
    a restart there is no work left to finish, and after a reload the leaving worker finishes it.
    """
    words = ["server", server.name, joined(server.address, server.port)]
    if server.check_configured:
        words.append(check)
    words.append(f"weight {server.weight}")
    if server.admin is not Admin.ACTIVE:
        words.append("disabled")
    return " ".join(words)


def replace_managed(text: str, backend: str, lines: Iterable[str]) -> str:
    """Return the file with that backend's managed lines replaced, every other byte as it was."""
    kept = text.splitlines(keepends=True)
    span = _span(kept, backend)
    marker = kept[span.begin]
    indent = marker[: len(marker) - len(marker.lstrip(" \t"))]
    return "".join(
        [*kept[: span.begin + 1], *(f"{indent}{line}\n" for line in lines), *kept[span.end :]]
    )


def managed_lines(text: str, backend: str) -> tuple[str, ...]:
    """Return the managed lines of a backend without their indent."""
    kept = text.splitlines()
    span = _span(kept, backend)
    return tuple(line.strip() for line in kept[span.begin + 1 : span.end] if line.strip())


def managed_backends(text: str) -> tuple[str, ...]:
    """Return the names of the backends that have a managed part."""
    found = []
    prefix = begin_marker("")
    for line in text.splitlines():
        if line.strip().startswith(prefix):
            found.append(line.strip().removeprefix(prefix))
    return tuple(found)


def carry_over(new: str, current: Mapping[str, Iterable[str]]) -> str:
    """Return a freshly rendered file with the managed lines that each of its backends has now."""
    for backend in managed_backends(new):
        if backend in current:
            new = replace_managed(new, backend, current[backend])
    return new


def without_managed(text: str) -> str:
    """Return what of the file needs a reload when it changes: all but the managed lines."""
    for backend in managed_backends(text):
        text = replace_managed(text, backend, ())
    return text


def shape(text: str) -> str:
    """Return the file with each managed line reduced to its kind, which decides if it is valid."""
    for backend in managed_backends(text):
        lines = managed_lines(text, backend)
        kinds = {_LINE.sub(r"server NAME ADDRESS\1 weight N\2", line) for line in lines}
        text = replace_managed(text, backend, sorted(kinds))
    return text


def foreign_servers(text: str, backend: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return server names and template prefixes that the backend has outside the managed part."""
    lines = text.splitlines()
    span = _span(lines, backend)
    names, prefixes = set(), []
    section = ""
    for number, line in enumerate(lines):
        words = line.split()
        if not words or words[0].startswith("#") or span.begin < number < span.end:
            continue
        if words[0] in _SECTIONS:
            section = words[1] if len(words) > 1 and words[0] in ("backend", "listen") else ""
        elif section == backend and len(words) > 1:
            if words[0] == "server":
                names.add(words[1])
            elif words[0] == "server-template":
                prefixes.append(words[1])
    return frozenset(names), tuple(prefixes)


def ours(servers: Iterable[state.Server], text: str, backend: str) -> tuple[state.Server, ...]:
    """Return the servers whose line belongs into the managed part."""
    names, prefixes = foreign_servers(text, backend)
    template = re.compile("|".join(re.escape(p) + r"\d+" for p in prefixes) or r"(?!)")
    return tuple(s for s in servers if s.name not in names and not template.fullmatch(s.name))


def _span(lines: list[str], backend: str) -> Span:
    begins = [n for n, line in enumerate(lines) if line.strip() == begin_marker(backend)]
    ends = [n for n, line in enumerate(lines) if line.strip() == end_marker(backend)]
    if not begins and not ends:
        raise ConfigProblem(
            f"backend {backend} has no managed part; put the lines '{begin_marker(backend)}'"
            f" and '{end_marker(backend)}' into its section"
        )
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise ConfigProblem(
            f"the managed part of backend {backend} needs exactly one begin and one end line,"
            f" found {len(begins)} and {len(ends)}"
        )
    return Span(begins[0], ends[0])
