# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding secrets by their shape, without ever showing one; private, no stability promised."""

from __future__ import annotations

import collections
import math
import re
import typing as t
from dataclasses import dataclass

OVERLAP = 1024
_TEXT_PROBE = 8192


@dataclass(frozen=True)
class Hit:
    """A place that looks like a secret: which kind, and in which line of the piece."""

    kind: str
    line: int


# Each has a literal start: looking for that first makes a scan as fast as the memory.
_KNOWN: tuple[tuple[bytes, str, re.Pattern[bytes]], ...] = tuple(
    (start, kind, re.compile(pattern))
    for start, kind, pattern in (
        (
            b"-----BEGIN ",
            "a private key",
            # Programs contain the first line; only a key goes on with its content.
            rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\n|\s)+"
            rb"(?:[A-Za-z-]+: [^\n]*\s+)*[A-Za-z0-9+/=\s]{32}",
        ),
        (b"AKIA", "an AWS access key", rb"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
        (b"ASIA", "an AWS access key", rb"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
        (b"ghp_", "a GitHub token", rb"ghp_[A-Za-z0-9]{36}"),
        (b"gho_", "a GitHub token", rb"gho_[A-Za-z0-9]{36}"),
        (b"ghu_", "a GitHub token", rb"ghu_[A-Za-z0-9]{36}"),
        (b"ghs_", "a GitHub token", rb"ghs_[A-Za-z0-9]{36}"),
        (b"ghr_", "a GitHub token", rb"ghr_[A-Za-z0-9]{36}"),
        (b"github_pat_", "a GitHub token", rb"github_pat_[A-Za-z0-9_]{50}"),
        (b"glpat-", "a GitLab token", rb"glpat-[A-Za-z0-9_-]{20}"),
        (b"xox", "a Slack token", rb"xox[abeoprs]-[0-9A-Za-z-]{10,}"),
        (b"sk_live_", "a Stripe key", rb"sk_live_[0-9A-Za-z]{16}"),
        (b"rk_live_", "a Stripe key", rb"rk_live_[0-9A-Za-z]{16}"),
        (b"AIza", "a Google API key", rb"AIza[0-9A-Za-z_-]{35}"),
        (b"npm_", "an npm token", rb"npm_[A-Za-z0-9]{36}"),
        (b"pypi-AgEI", "a PyPI token", rb"pypi-AgEI[A-Za-z0-9_-]{50}"),
        (b"hvs.", "a Vault token", rb"hvs\.[A-Za-z0-9_-]{24}"),
        (b"dckr_pat_", "a Docker token", rb"dckr_pat_[A-Za-z0-9_-]{20}"),
        (b"SG.", "a SendGrid key", rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
        (b"AGE-SECRET-KEY-1", "an age key", rb"AGE-SECRET-KEY-1[0-9A-Z]{50}"),
    )
)
# The names of things that are secret; matched where one of their stems was found, which is much faster than a search.
_STEMS = (
    *(b"passw", b"secret", b"token", b"credential", b"apikey", b"api_key", b"api-key"),
    *(b"accesskey", b"access_key", b"access-key", b"privatekey", b"private_key", b"private-key"),
)
_NAME_REST = rb"[\w-]{0,30}(?:\.[\w-]{1,20}){0,2}"
_VALUE = rb"[A-Za-z0-9+/_=.~!@#$%^&*-]"
_QUOTED = re.compile(
    _NAME_REST + rb"[\"']?\s{0,4}(?::=|=>|=|:)\s{0,4}[\"'](" + _VALUE + rb"{16,200})[\"']"
)
_PLAIN = re.compile(
    _NAME_REST + rb"[ \t]*[=:][ \t]*(" + _VALUE + rb"{16,200})[ \t]*\r?$", re.MULTILINE
)
_LINE_START = re.compile(rb"[ \t]*(?:export[ \t]+)?[\w.-]{0,60}\Z")
_URL = re.compile(rb"://[^/\s:@\"'<>{}$%]{0,80}:([^/\s:@\"'<>{}$%]{6,200})@")
_PLACEHOLDER = re.compile(
    rb"example|changeme|change_me|placeholder|dummy|sample|xxxx|\*{4}|your[_-]|password|passwd|secret|token"
    rb"|1234567|abcdef|\.\.\.",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(rb"\A[A-Za-z]+[0-9]{0,2}(?:[._-]+[A-Za-z]+[0-9]{0,2})*\Z")
_SETTINGS = re.compile(
    r"(?:\A|/)(?:\.?env(?:\..+)?|[^/.]+|.+\.(?:env|ini|cfg|conf|cnf|ya?ml|properties|toml|rc|sh))\Z"
)
_MIN_ENTROPY = 3.5


def scan(chunks: t.Iterable[bytes], path: str) -> t.Iterator[Hit]:
    """Yield what looks like a secret in a file: known forms anywhere, assignments by entropy in texts."""
    lines = 0
    tail = b""
    text: bool | None = None
    seen: set[tuple[str, int]] = set()
    for piece in chunks:
        data = tail + piece
        text = b"\0" not in data[:_TEXT_PROBE] if text is None else text
        for kind, position in _hits(data, path, text):
            hit = Hit(kind, lines + data.count(b"\n", 0, position) + 1)
            if (hit.kind, hit.line) not in seen:
                seen.add((hit.kind, hit.line))
                yield hit
        tail = data[-OVERLAP:]
        lines += data.count(b"\n", 0, len(data) - len(tail))


def _hits(data: bytes, path: str, text: bool) -> t.Iterator[tuple[str, int]]:
    yield from _known(data)
    if not text:
        return
    settings = bool(_SETTINGS.search(path))
    lower = data.lower()
    for stem in _STEMS:
        for position in _positions(lower, stem):
            if _is_assignment(data, position, settings):
                yield "a secret in an assignment", position
    for position in _positions(data, b"://"):
        match = _URL.match(data, position)
        if match and _is_password(match.group(1)):
            yield "a password in a URL", position


def _positions(data: bytes, wanted: bytes) -> t.Iterator[int]:
    position = data.find(wanted)
    while position >= 0:
        yield position
        position = data.find(wanted, position + 1)


def _is_assignment(data: bytes, position: int, settings: bool) -> bool:
    match = _QUOTED.match(data, position)
    if match is None and settings:
        before = data[max(data.rfind(b"\n", 0, position) + 1, position - 80) : position]
        match = _PLAIN.match(data, position) if _LINE_START.match(before) else None
    return match is not None and looks_random(match.group(1))


def _known(data: bytes) -> t.Iterator[tuple[str, int]]:
    for start, kind, pattern in _KNOWN:
        for position in _positions(data, start):
            match = pattern.match(data, position)
            # What a vendor prints in its documentation says so itself.
            if match and b"EXAMPLE" not in match.group() and _starts_word(data, position):
                yield kind, position


def _starts_word(data: bytes, position: int) -> bool:
    return position == 0 or not (data[position - 1 : position].isalnum())


def looks_random(value: bytes) -> bool:
    """Tell whether a value is more like a generated secret than like a name or a placeholder."""
    if (
        _PLACEHOLDER.search(value)
        or _IDENTIFIER.match(value)
        or value.startswith((b"/", b"./", b"$"))
    ):
        return False
    if not re.search(rb"[0-9]", value) or not re.search(rb"[A-Za-z]", value):
        return False
    return entropy(value) >= _MIN_ENTROPY


def _is_password(value: bytes) -> bool:
    return not _PLACEHOLDER.search(value) and (
        looks_random(value) or bool(re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value))
    )


def entropy(value: bytes) -> float:
    """Return the Shannon entropy of a value, in bits for each character."""
    counts = collections.Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


def known_secret(text: str) -> bool:
    """Tell whether a text contains a credential of a known form."""
    return any(True for _hit in _known(text.encode("utf-8", "replace")))


def url_password(text: str) -> bool:
    """Tell whether a text contains a URL with a password in it."""
    data = text.encode("utf-8", "replace")
    matches = (_URL.match(data, position) for position in _positions(data, b"://"))
    return any(match is not None and _is_password(match.group(1)) for match in matches)
