# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding secrets by their shape, without ever showing one; private, no stability promised."""

from __future__ import annotations

import collections
import math
import re
import typing as t
from dataclasses import dataclass

PIECE = 4 << 20
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
_WORD = rb"(?:passw(?:or)?d|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
_VALUE = rb"[A-Za-z0-9+/_=.~!@#$%^&*-]"
_QUOTED = re.compile(
    _WORD + rb"[\w.-]{0,20}[\"']?\s{0,4}(?::=|=>|=|:)\s{0,4}[\"'](" + _VALUE + rb"{16,200})[\"']",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?[\w.-]{0,40}?"
    + _WORD
    + rb"[\w.-]{0,20}[ \t]*[=:][ \t]*("
    + _VALUE
    + rb"{16,200})[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_URL = re.compile(rb"[a-z][a-z0-9+.-]{1,20}://[^/\s:@\"'<>{}$%]{0,80}:([^/\s:@\"'<>{}$%]{6,200})@")
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


def scan(chunks: t.Iterable[bytes], path: str, assignments: bool) -> t.Iterator[Hit]:
    """Yield what looks like a secret in a file; assignments asks for entropy too, in texts."""
    lines = 0
    tail = b""
    text: bool | None = None
    seen: set[tuple[str, int]] = set()
    for piece in chunks:
        data = tail + piece
        text = b"\0" not in data[:_TEXT_PROBE] if text is None else text
        for kind, position in _hits(data, path, assignments and text):
            hit = Hit(kind, lines + data.count(b"\n", 0, position) + 1)
            if (hit.kind, hit.line) not in seen:
                seen.add((hit.kind, hit.line))
                yield hit
        tail = data[-OVERLAP:]
        lines += data.count(b"\n", 0, len(data) - len(tail))


def _hits(data: bytes, path: str, assignments: bool) -> t.Iterator[tuple[str, int]]:
    yield from _known(data)
    if not assignments:
        return
    for match in _QUOTED.finditer(data):
        if looks_random(match.group(1)):
            yield "a secret in an assignment", match.start()
    if _SETTINGS.search(path):
        for match in _PLAIN.finditer(data):
            if looks_random(match.group(1)):
                yield "a secret in an assignment", match.start(1)
    for match in _URL.finditer(data):
        if _is_password(match.group(1)):
            yield "a password in a URL", match.start(1)


def _known(data: bytes) -> t.Iterator[tuple[str, int]]:
    for start, kind, pattern in _KNOWN:
        position = data.find(start)
        while position >= 0:
            match = pattern.match(data, position)
            # What a vendor prints in its documentation says so itself.
            if match and b"EXAMPLE" not in match.group() and _starts_word(data, position):
                yield kind, position
            position = data.find(start, position + 1)


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
    return any(_is_password(match.group(1)) for match in _URL.finditer(data))
