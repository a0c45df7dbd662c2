# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error tree of the collection; private, no stability promised.

Code below a module's main raises one of these and never calls C(fail_json) itself;
the modules' main turns it into one failure with the details as results.
"""

from __future__ import annotations

import enum


class CutoverError(Exception):
    """Something a person has to know: one message, and details that a program may read."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(CutoverError):
    """Input that was refused before anything changed: option path, value, and what is allowed."""

    def __init__(self, path: str, value: object, allowed: str) -> None:
        path = printable(path)
        super().__init__(f"{path}: {allowed}, found {describe(value)}", path=path)
        self.path = path
        self.allowed = allowed


class StateError(CutoverError):
    """Our own state on the host cannot be trusted (truncated, newer schema, not a plain file)."""


class EngineError(CutoverError):
    """The container engine refused or cannot be reached."""


class ProbeError(CutoverError):
    """A probe did not pass in time, or what it probed ended."""


class WaitTimeout(CutoverError):
    """Something that was waited for did not come in time."""


class Fenced(CutoverError):
    """A late step of a run whose lease another run has taken since."""


class Repeated(Fenced):
    """A late step of a call whose run is in a later call already: the run itself goes on."""


class AbortFirst(CutoverError):
    """Another release has traffic and nobody who goes on with it: it is aborted before this one begins."""

    def __init__(self, release: str) -> None:
        super().__init__(f"release {release} was left half way: it is aborted first")
        self.release = release


class Overtaken(CutoverError):
    """Another run has changed what there is between the decision of this one and its lease: it has to decide again."""


class LeaseHeld(CutoverError):
    """Another run holds the deploy lease."""


class LoadBalancerErrorKind(str, enum.Enum):
    """Why a load balancer operation failed."""

    UNREACHABLE = "unreachable"
    PERMISSION_DENIED = "permission_denied"
    UNSUPPORTED = "unsupported"
    BACKEND_NOT_FOUND = "backend_not_found"
    TARGET_NOT_FOUND = "target_not_found"
    CONFLICT = "conflict"
    STALE = "stale"
    INVALID_CONFIG = "invalid_config"
    NOT_HEALTHY = "not_healthy"
    NOT_DRAINED = "not_drained"
    DRAIN_TIMEOUT = "drain_timeout"
    LAST_TARGET = "last_target"
    PERSIST_FAILED = "persist_failed"
    PARTIAL = "partial"


class LoadBalancerError(CutoverError):
    """A load balancer operation failed; carries the balancer's own words in C(answer)."""

    def __init__(
        self, kind: LoadBalancerErrorKind, message: str, answer: str = "", **details: object
    ) -> None:
        text = f"{message}: {answer.strip()}" if answer.strip() else message
        super().__init__(text, kind=kind.value, answer=answer, **details)
        self.kind = kind
        self.answer = answer


class RegistryErrorKind(str, enum.Enum):
    """Why a registry did not do what it was asked."""

    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    UNAUTHORIZED = "unauthorized"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    DIGEST_MISMATCH = "digest_mismatch"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported"
    VERSION_TAKEN = "version_taken"


class RegistryError(CutoverError):
    """A registry refused or cannot be reached, or sent something else than what was asked for."""

    def __init__(self, kind: RegistryErrorKind, message: str, **details: object) -> None:
        super().__init__(printable(message), kind=kind.value, **details)
        self.kind = kind


class Hidden:
    """Stands for a refused value that may be a secret."""

    def __repr__(self) -> str:
        return "something that is not shown"


HIDDEN = Hidden()


def printable(text: str) -> str:
    """Keep a message one line: a path may contain a key the user chose."""
    return "".join(part if part.isprintable() else repr(part)[1:-1] for part in text)


def describe(value: object) -> str:
    """Show a refused value in one short line, with its type where that is the mistake."""
    if isinstance(value, str):
        shown = repr(value)
        return f"string {shown}" if len(shown) <= 80 else f"string {shown[:77]}..."
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"boolean {str(value).lower()}"
    if isinstance(value, (list, tuple)):
        return "list"
    if isinstance(value, dict):
        return "mapping"
    return repr(value)
