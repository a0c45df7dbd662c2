# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hide secret values in what leaves the host; private, no stability promised.

The log of an app and the answers of its probe are the app's own words: nothing keeps it from saying its secrets
there. So failures are scrubbed, of every value that the release gives its containers and that is secret: the content
of its secret files, variables whose names say so, and the password in a URL. What an app derives itself is not known
here and stays.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote, quote_plus, unquote

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError

SHOWN = "********"
UNREADABLE = "(not shown: a secret of the release cannot be read, so it cannot be hidden in this)"
APPS_WORDS = ("log", "probe_history", "last")
"""The details of an error that repeat what the app says."""

SHORTEST = 4
"""A shorter value is no secret, and would hide half of the text."""

_LARGEST = 1 << 20
_FEW = 50
_SECRET_NAME = re.compile("(?i)PASS|PWD|TOKEN|SECRET|KEY|CRED|AUTH|DSN|SALT|COOKIE|SESSION")
_NO_SECRET = re.compile("(?i)[0-9.]*|true|false|none|null|auto")
"""Values of variables that are named like a secret and say how one is used."""
_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")

Values = Callable[[], tuple[str, ...]]


def secret_values(env: Mapping[str, str], sources: Iterable[str]) -> tuple[str, ...]:
    """Return what must not be shown: of files, of variables named like a secret, and of URLs; OSError: unreadable."""
    named = [
        value
        for name, value in env.items()
        if _SECRET_NAME.search(name)
        and not name.upper().endswith("_FILE")
        and not _NO_SECRET.fullmatch(value)
    ]
    secret = [*map(_read, sources), *named]
    passwords = [found for value in [*secret, *env.values()] for found in _PASSWORD.findall(value)]
    lines = [line for value in secret for line in value.splitlines()]
    whole = {text.strip() for text in [*secret, *lines, *passwords, *map(unquote, passwords)]}
    return tuple(sorted(text for text in whole if len(text) >= SHORTEST))


class Scrubber:
    """Hides values that it reads once, and only when there is something to scrub."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._pattern: re.Pattern[str] | None = None
        self._blind = False
        self._ready = False

    def error(self, error: CutoverError) -> None:
        """Scrub the message and the details of an error, in place: it is about to leave the host."""
        self._prepare()
        error.message = self.text(error.message)
        error.args = (error.message,)
        error.details = {key: self._detail(key, value) for key, value in error.details.items()}

    def text(self, text: str) -> str:
        """Return a text with every secret value hidden."""
        self._prepare()
        if self._blind:
            return _without_answer(text)
        return self._pattern.sub(SHOWN, text) if self._pattern else text

    def _detail(self, key: str, value: object) -> object:
        if self._blind and key in APPS_WORDS:
            return UNREADABLE if isinstance(value, str) else [UNREADABLE]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self._detail(str(name), item) for name, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self._detail("", item) for item in value]
        return value

    def _prepare(self) -> None:
        if self._ready:
            return
        try:
            values = self._values()
        except OSError:
            self._blind, values = True, ()
        forms = {form for value in values for form in _forms(value)}
        if len(values) <= _FEW:
            forms.update(form for value in values for form in _cut_forms(value))
        if forms:
            # Longest first: what contains another value is hidden whole.
            ordered = sorted(forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, ordered)))
        self._ready = True


def _without_answer(text: str) -> str:
    """Cut the app's answer off a message that ends with it."""
    head, found, _answer = text.partition("; last answer: ")
    return f"{head}{found}{UNREADABLE}" if found else text


def _forms(value: str) -> Iterator[str]:
    """Yield how a value may be written: as it is, quoted for Python, JSON and URLs, and in base 64."""
    encoded = base64.b64encode(value.encode()).decode()
    yield from (value, repr(value)[1:-1], json.dumps(value)[1:-1], " ".join(value.split()))
    yield from (quote(value), quote(value, safe=""), quote_plus(value), encoded)


def _cut_forms(value: str) -> Iterator[str]:
    """Yield how a value ends where a long answer was cut off: a probe shows so much of it and three dots."""
    for end in range(SHORTEST, min(len(value), 100)):
        yield from (f"{value[:end]}...", f"{value[:end]}'...", f'{value[:end]}"...')


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path}: not a plain file")
        return stream.read(_LARGEST).decode(errors="replace")
