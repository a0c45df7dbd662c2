# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a mapping key by key, collecting every mistake; private, no stability promised."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    Known,
    nothing_known,
)

NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
NAME_RULE = "must match [A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
ENV_NAME = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")


class Problems:
    """Every mistake of one input; raised together, one line each."""

    def __init__(self, source: str, known: Known = nothing_known) -> None:
        self.source = source
        self.known = known
        self.found: list[InvalidInput] = []

    def add(self, path: str, value: object, allowed: str) -> None:
        """Note a mistake and go on, so that one run shows them all."""
        self.found.append(InvalidInput(path, value, allowed))

    def note(self, error: InvalidInput) -> None:
        """Note a mistake that another parser found."""
        self.found.append(error)

    def raise_any(self) -> None:
        """Stop here if anything was wrong."""
        if self.found:
            lines = [f"{self.source}: {error.message}" for error in self.found]
            raise CutoverError("\n".join(lines), errors=[e.message for e in self.found])


class Reader:
    """A mapping being read: each key is asked for once, what is left over is unknown."""

    def __init__(self, data: object, path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self.asked: set[str] = set()
        self.data: t.Mapping[str, object] = {}
        if isinstance(data, dict):
            self.data = data
        else:
            problems.add(path or "recipe", data, "must be a mapping")

    def at(self, key: object) -> str:
        """Return the option path of one key."""
        return f"{self.path}.{key}" if self.path else str(key)

    def has(self, key: str) -> bool:
        """Tell whether the key was given."""
        self.asked.add(key)
        return key in self.data

    def raw(self, key: str) -> object:
        """Return the value as it was given."""
        self.asked.add(key)
        return self.data.get(key)

    def bad(self, key: str, allowed: str) -> None:
        """Note that the value of this key is not allowed."""
        self.problems.add(self.at(key), self.data.get(key), allowed)

    def text(
        self,
        key: str,
        default: str | None = None,
        pattern: str = "",
        rule: str = "must be a string",
    ) -> str:
        """Return a one-line string; without a default the key is required."""
        value = self.raw(key)
        if value is None and default is not None and key not in self.data:
            return default
        if not isinstance(value, str) or not value:
            self.bad(key, "is required" if key not in self.data else rule)
        elif problem := odd_character(value):
            self.bad(key, problem)
        elif pattern and not re.fullmatch(pattern, value):
            self.bad(key, rule)
        else:
            return value
        return default or ""

    def one_of(self, key: str, choices: t.Sequence[str]) -> str:
        """Return one of a few words."""
        value = self.raw(key)
        if value in choices:
            return str(value)
        self.bad(key, f"must be one of {', '.join(choices)}")
        return ""

    def flag(self, key: str) -> bool:
        """Return a boolean, false if absent."""
        value = self.raw(key)
        if not isinstance(value, bool) and key in self.data:
            self.bad(key, "must be true or false")
        return value is True

    def texts(self, key: str, pattern: str = "", rule: str = "") -> tuple[str, ...]:
        """Return a list of one-line strings, empty if absent."""
        value = self.raw(key)
        if key not in self.data:
            return ()
        if not isinstance(value, list):
            self.bad(key, "must be a list of strings")
            return ()
        for index, item in enumerate(value):
            path = f"{self.at(key)}[{index}]"
            if not isinstance(item, str) or not item:
                self.problems.add(path, item, rule or "must be a string")
            elif problem := odd_character(item):
                self.problems.add(path, item, problem)
            elif pattern and not re.fullmatch(pattern, item):
                self.problems.add(path, item, rule)
        return tuple(item for item in value if isinstance(item, str))

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """Return a mapping of strings as sorted pairs, empty if absent."""
        value = self.raw(key)
        if key not in self.data:
            return ()
        if not isinstance(value, dict):
            self.bad(key, "must be a mapping of strings")
            return ()
        for name, item in value.items():
            path = f"{self.at(key)}.{name}"
            if not isinstance(name, str) or not isinstance(item, str):
                self.problems.add(path, item, "must be a string; quote it")
            elif problem := odd_character(name + item):
                self.problems.add(path, item, problem)
        return tuple(sorted((str(name), str(item)) for name, item in value.items()))

    def finish(self) -> None:
        """Refuse every key that nobody asked for."""
        for key in self.data:
            if key not in self.asked:
                import difflib

                close = difflib.get_close_matches(str(key), sorted(self.asked), 1)
                hint = (
                    f"did you mean {close[0]}?"
                    if close
                    else f"known: {', '.join(sorted(self.asked))}"
                )
                self.problems.add(self.at(key), self.data[key], f"unknown option; {hint}")


def inside(path: str, value: str, problems: Problems) -> None:
    """Refuse a path that leads out of the context."""
    if "://" in value:
        problems.add(path, value, "nothing is fetched by URL: must be a path inside the context")
        return
    if os.path.isabs(value) or ".." in value.split("/"):
        problems.add(path, value, "must be a relative path inside the context")


def odd_character(value: str) -> str:
    """Return what is wrong with a character of this value, or an empty string."""
    for position, character in enumerate(value):
        if ord(character) < 32 or ord(character) == 127:
            return f"control character U+{ord(character):04X} at position {position}"
        if ord(character) > 126:
            return f"non-ASCII character U+{ord(character):04X} at position {position}"
    return ""
