# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy rule P11: licences; private, no stability promised.

Only what is declared is judged: in the machine-readable copyright files of Debian packages and in
the metadata of wheels. That nothing is declared is said, and is no failure.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import (
    ImageContents,
    metadata_fields,
    paragraphs,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
    Found,
    ImageUnderCheck,
)

_FORMAT = b"copyright-format"
_PREFIX = "License :: "
_LONGEST = 120
_LIMIT = 4 << 20
_TOKEN = re.compile(r"\(|\)|,|[^\s(),]+")
_NAMED = 10


def licences_allowed(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P11: nothing in the image can only be had under a licence that the recipe denies."""
    unknown: list[str] = []
    for name, declared in _declared(check.image):
        if not declared:
            unknown.append(name)
        for licence in sorted(declared):
            if denied(licence, check.policy.denied_licences):
                yield Found(f"{name} is under {licence}, which policy.licences.deny names")
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        shown = ", ".join(unknown[:_NAMED])
        yield Found(f"no machine-readable licence: {shown}{more}", note=True)


def _declared(image: ImageContents) -> t.Iterator[tuple[str, set[str]]]:
    for deb in image.installed_debs():
        text = image.read(f"usr/share/doc/{deb.name}/copyright", _LIMIT) or b""
        yield f"package {deb.name}", _debian_licences(text)
    for dist in image.installed_python():
        data = image.read(f"{dist.folder}/METADATA", _LIMIT) or b""
        yield f"wheel {dist.name}", _python_licences(metadata_fields(data))


def _debian_licences(text: bytes) -> set[str]:
    if _FORMAT not in text[:1000]:
        return set()
    found = set()
    for paragraph in paragraphs(text):
        lines = paragraph.get("License", "").splitlines()
        if lines and "Files" in paragraph:
            found.add(lines[0].strip())
    return found - {""}


def _python_licences(fields: t.Mapping[str, list[str]]) -> set[str]:
    for name in ("license-expression", "license"):
        values = {value for value in fields.get(name, []) if value.upper() != "UNKNOWN"}
        # Some put the whole text of the licence there.
        if values and all(0 < len(value) <= _LONGEST for value in values):
            return values
    classifiers = [item for item in fields.get("classifier", []) if item.startswith(_PREFIX)]
    return {item.rpartition(" :: ")[2] for item in classifiers}


def denied(expression: str, patterns: t.Sequence[str]) -> bool:
    """Tell whether every way to use it is denied: an alternative that is allowed is enough."""
    if not patterns:
        return False
    return _Expression(_TOKEN.findall(expression), patterns).denied()


class _Expression:
    """An SPDX or Debian licence expression; in Debian's a comma binds less than or."""

    def __init__(self, tokens: list[str], patterns: t.Sequence[str]) -> None:
        self.tokens = tokens
        self.patterns = [pattern.lower() for pattern in patterns]

    def denied(self) -> bool:
        """Read a whole expression, or the inside of one pair of parentheses."""
        found = self._alternatives()
        while self._next() == ",":
            self.tokens.pop(0)
            word = self._next()
            if word in ("and", "or"):
                self.tokens.pop(0)
            other = self._alternatives()
            found = (found and other) if word == "or" else (found or other)
        return found

    def _next(self) -> str:
        return self.tokens[0].lower() if self.tokens else ""

    def _alternatives(self) -> bool:
        found = self._every()
        while self._next() in ("or", "and/or"):
            self.tokens.pop(0)
            other = self._every()
            found = found and other
        return found

    def _every(self) -> bool:
        found = self._one()
        while self._next() == "and":
            self.tokens.pop(0)
            other = self._one()
            found = found or other
        return found

    def _one(self) -> bool:
        if self._next() == "(":
            self.tokens.pop(0)
            found = self.denied()
            if self._next() == ")":
                self.tokens.pop(0)
            return found
        words = []
        while self._next() not in ("", "(", ")", ",", "and", "or", "and/or"):
            words.append(self.tokens.pop(0).lower())
        # What comes after it is an exception or prose, which makes a licence no stricter.
        names = {words[0], " ".join(words), "-".join(words)} if words else set()
        return any(fnmatch.fnmatchcase(name, p) for name in names for p in self.patterns)
