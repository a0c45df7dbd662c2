# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a user's mapping field by field, refusing what is not understood; private, no stability promised.

Every refusal is one InvalidInput that names the option path, what is allowed and what was found.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN, InvalidInput

MAX_DURATION = 86400


class Fields:
    """The options of one mapping. Call finish() when all known ones were read."""

    def __init__(self, value: object, path: str, allowed: str = "must be a mapping") -> None:
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise InvalidInput(path or "spec", value, allowed)
        self._values: Mapping[object, object] = value
        self._path = path
        self._known: list[str] = []

    def path(self, key: str) -> str:
        """Return the full option path of a key."""
        return f"{self._path}.{key}" if self._path else key

    def raw(self, key: str, default: object = None) -> object:
        """Return a value as it was given; an explicit null counts as not given."""
        self._known.append(key)
        value = self._values.get(key)
        return default if value is None else value

    def has(self, key: str) -> bool:
        """Tell whether a key was given with a value."""
        return self._values.get(key) is not None

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number; neither a boolean nor a number in a string is one."""
        value = self.raw(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInput(self.path(key), value, f"must be an integer {low}-{high}")
        return value

    def seconds(self, key: str, default: int, low: int = 1) -> int:
        """Return a duration in whole seconds, up to a day."""
        value = self.raw(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not low <= value <= MAX_DURATION
        ):
            raise InvalidInput(
                self.path(key), value, f"must be a duration in whole seconds, {low}-{MAX_DURATION}"
            )
        return value

    def number(self, key: str, low: float, high: float, default: float) -> float:
        """Return a number within bounds."""
        value = self.raw(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not low <= value <= high
        ):
            raise InvalidInput(self.path(key), value, f"must be a number {low:g}-{high:g}")
        return float(value)

    def share(self, key: str, low: int, high: int, default: int) -> int | str:
        """Return a whole number, or a percentage as it was given."""
        value = self.raw(key, default)
        if isinstance(value, str) and re.fullmatch("([0-9]{1,2}|100)%", value):
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInput(
                self.path(key),
                value,
                f"must be an integer {low}-{high} or a percentage such as 25%",
            )
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """Return a real boolean."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise InvalidInput(self.path(key), value, "must be true or false")
        return value

    def text(
        self,
        key: str,
        default: str | None = None,
        pattern: str = "",
        allowed: str = "",
        *,
        shown: bool = True,
    ) -> str:
        """Return a string, optionally of one form; a refusal repeats it only if it may be C(shown)."""
        value = self.raw(key, default)
        if value is None:
            raise InvalidInput(self.path(key), value, "is required")
        if not isinstance(value, str) or (pattern and not re.fullmatch(pattern, value)):
            raise InvalidInput(
                self.path(key), value if shown else HIDDEN, allowed or "must be a string"
            )
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Return one of some words."""
        value = self.raw(key, default)
        if not isinstance(value, str) or value not in choices:
            raise InvalidInput(self.path(key), value, f"must be one of {', '.join(choices)}")
        return value

    def strings(self, key: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self.raw(key, list(default))
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise InvalidInput(self.path(key), value, "must be a list of strings")
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise InvalidInput(f"{self.path(key)}[{index}]", item, "must be a string")
        return tuple(value)

    def items(self, key: str) -> tuple[object, ...]:
        """Return a list as it was given."""
        value = self.raw(key, [])
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise InvalidInput(self.path(key), value, "must be a list")
        return tuple(value)

    def fields(self, key: str, allowed: str = "must be a mapping") -> Fields:
        """Return the options below a key; an absent key reads as an empty mapping."""
        return Fields(self.raw(key), self.path(key), allowed)

    def pairs(self, key: str) -> tuple[tuple[str, object], ...]:
        """Return a mapping whose keys the user chose, sorted by key."""
        value = self.raw(key, {})
        if not isinstance(value, Mapping):
            raise InvalidInput(self.path(key), value, "must be a mapping")
        for name in value:
            if not isinstance(name, str):
                raise InvalidInput(self.path(key), name, "must have strings as keys")
        return tuple(sorted(value.items()))

    def finish(self) -> None:
        """Refuse every key that nothing asked for."""
        for key in self._values:
            if key in self._known:
                continue
            close = difflib.get_close_matches(str(key), self._known, n=1)
            hint = (
                f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(self._known))}"
            )
            raise InvalidInput(self.path(str(key)), key, f"is an unknown option; {hint}")
