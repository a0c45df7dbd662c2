# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""File modes that do not depend on the umask of whoever checked the files out; private, no stability promised."""

from __future__ import annotations

import re

_OCTAL = re.compile(r"\A0?[0-7]{3,4}\Z")
_CLAUSE = re.compile(r"\A([ugoa]+)([=+-])([rwxX]*)\Z")
_SHIFT = {"u": 6, "g": 3, "o": 0}


def is_mode(text: str) -> bool:
    """Tell whether this is an octal mode or comma-separated symbolic clauses."""
    return bool(_OCTAL.match(text)) or all(_CLAUSE.match(part) for part in text.split(","))


def apply_mode(text: str, executable: bool, directory: bool = False) -> int:
    """Return the mode for a file that was executable or not, as C(chmod) would from 0644 or 0755."""
    if _OCTAL.match(text):
        octal = int(text, 8)
        return octal | ((octal & 0o444) >> 2) if directory else octal
    searchable = executable or directory
    mode = 0o755 if searchable else 0o644
    for part in text.split(","):
        mode = _apply_clause(part, mode, searchable)
    return mode


def _apply_clause(part: str, mode: int, searchable: bool) -> int:
    match = _CLAUSE.match(part)
    if match is None:
        raise ValueError(f"not a mode: {part}")
    who, operator, letters = match.groups()
    bits = sum(
        bit
        for letter, bit in (("r", 4), ("w", 2), ("x", 1))
        if letter in letters or (letter == "x" and "X" in letters and searchable)
    )
    for target in "ugo" if "a" in who else who:
        shift = _SHIFT[target]
        if operator == "=":
            mode = mode & ~(7 << shift) | bits << shift
        elif operator == "+":
            mode |= bits << shift
        else:
            mode &= ~(bits << shift)
    return mode
