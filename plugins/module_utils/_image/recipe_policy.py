# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy part of a recipe: budgets, licences and waivers; private, no stability promised."""

from __future__ import annotations

import datetime
import fnmatch
import re
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._image.validate import (
    Problems,
    Reader,
)

RULE_IDS = tuple(f"P{number}" for number in range(1, 14))
DEFAULT_MAX_SIZE = 512 << 20
DEFAULT_MAX_LAYERS = 20

# A secret that was waived by its path could be replaced by another one that nobody looked at.
_BY_CONTENT = frozenset({"P6"})
_SIZE = re.compile(r"\A([1-9][0-9]{0,14})([kmg]?)\Z")
_UNIT = {"": 0, "k": 10, "m": 20, "g": 30}
_DATE = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


@dataclass(frozen=True)
class Waiver:
    """A finding somebody decided to live with: why, and until the end of which day."""

    rule: str
    reason: str
    expires: datetime.date
    path: str = ""
    sha256: str = ""

    def covers(self, rule: str, path: str, sha256: str) -> bool:
        """Tell whether a finding is what this waiver is about, expired or not."""
        return (
            rule == self.rule
            and (not self.path or fnmatch.fnmatchcase(path, self.path))
            and (not self.sha256 or sha256 == self.sha256)
        )

    def expired(self, today: datetime.date) -> bool:
        """Tell whether the last day of the waiver is over."""
        return today > self.expires

    def __str__(self) -> str:
        return " ".join(part for part in (self.rule, self.path, self.sha256[:12]) if part)


@dataclass(frozen=True)
class Policy:
    """What the check phase is told by a recipe."""

    waivers: tuple[Waiver, ...] = ()
    max_size: int = DEFAULT_MAX_SIZE
    max_layers: int = DEFAULT_MAX_LAYERS
    denied_licences: tuple[str, ...] = ()


NO_POLICY = Policy()


def read_policy(data: object, path: str, problems: Problems) -> Policy:
    """Read the mapping below this option path; every mistake is noted."""
    part = Reader(data, path, problems)
    licences = Reader(
        part.raw("licences") if part.has("licences") else {}, f"{path}.licences", problems
    )
    denied = licences.texts("deny", r"[A-Za-z0-9.+*?_-]+", "must be a licence name, as AGPL-*")
    licences.finish()
    policy = Policy(
        waivers=_read_waivers(part, problems),
        max_size=_read_size(part),
        max_layers=_read_layers(part),
        denied_licences=denied,
    )
    part.finish()
    return policy


def parse_policy(data: object, path: str, source: str) -> Policy:
    """Return a policy that was given on its own; mistakes are one error, one line each."""
    problems = Problems(source)
    policy = read_policy(data, path, problems)
    problems.raise_any()
    return policy


def _read_size(part: Reader) -> int:
    value = part.raw("max_size")
    if not part.has("max_size"):
        return DEFAULT_MAX_SIZE
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    match = _SIZE.match(text)
    if match is None:
        part.bad("max_size", "must be a number of bytes, or a string like 256m")
        return DEFAULT_MAX_SIZE
    return int(match.group(1)) << _UNIT[match.group(2)]


def _read_layers(part: Reader) -> int:
    value = part.raw("max_layers")
    if not part.has("max_layers"):
        return DEFAULT_MAX_LAYERS
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 127:
        part.bad("max_layers", "must be an integer 1-127")
        return DEFAULT_MAX_LAYERS
    return value


def _read_waivers(part: Reader, problems: Problems) -> tuple[Waiver, ...]:
    value = part.raw("waivers")
    if not part.has("waivers"):
        return ()
    if not isinstance(value, list):
        part.bad("waivers", "must be a list of {rule, reason, expires}")
        return ()
    read = [
        _read_waiver(item, f"{part.at('waivers')}[{n}]", problems) for n, item in enumerate(value)
    ]
    return tuple(waiver for waiver in read if waiver is not None)


def _read_waiver(item: object, path: str, problems: Problems) -> Waiver | None:
    part = Reader(item, path, problems)
    rule = part.one_of("rule", RULE_IDS)
    reason = part.text("reason", rule="must say why in one line")
    expires = _read_date(part)
    where = part.text("path", "", r"/.*", "must be an absolute path in the image, * and ? allowed")
    sha256 = part.text("sha256", "", r"[0-9a-f]{64}", "must be 64 lower-case hex digits")
    if rule in _BY_CONTENT and not part.has("sha256"):
        part.bad("sha256", f"is required: a waiver of {rule} names the file by its content")
    part.finish()
    if not rule or not reason or expires is None:
        return None
    return Waiver(rule, reason, expires, where, sha256)


def _read_date(part: Reader) -> datetime.date | None:
    value = part.raw("expires")
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    if isinstance(value, str) and _DATE.match(value):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass
    missing = not part.has("expires")
    part.bad(
        "expires", "is required, as 2027-01-01" if missing else "must be a date like 2027-01-01"
    )
    return None
