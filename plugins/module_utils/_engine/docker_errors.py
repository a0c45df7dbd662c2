# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the Docker SDK's exceptions become EngineError; private, no stability promised."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

try:
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException, Timeout
except ImportError:
    # The factory has said so before anything here is reached; these keep the module importable.
    class DockerException(Exception):  # type: ignore[no-redef]  # only without the SDK
        """Stands in for the SDK's."""

    class APIError(DockerException):  # type: ignore[no-redef]  # only without the SDK
        """Stands in for the SDK's."""

    class RequestException(OSError):  # type: ignore[no-redef]  # only without the SDK
        """Stands in for the SDK's."""

    class Timeout(RequestException):  # type: ignore[no-redef]  # only without the SDK
        """Stands in for the SDK's."""


MINIMUM_API = (1, 41)
MINIMUM_ENGINE = "20.10"

# Part of the engine's own words -> kind. Order matters: the first that is found counts.
_WORDS = (
    ("no space left on device", "no_space"),
    ("address already in use", "address_in_use"),
    ("is already in use by container", "name_conflict"),
    ("no such image", "image_missing"),
    ("pool overlaps with other", "subnet_taken"),
    ("is ambiguous", "network_ambiguous"),
    ("has active endpoints", "network_in_use"),
    ("is too new", "too_old"),
)
_SAYS = {
    "no_space": "the disk of the engine is full",
    "address_in_use": "the fixed address is in use",
    "name_conflict": "the name is in use",
    "image_missing": "the image is not on this host",
    "network_missing": "the network does not exist on this host",
    "not_found": "not found",
    "too_old": f"docker >= {MINIMUM_ENGINE} needed",
}


@contextmanager
def engine_errors(what: str, host: str) -> Iterator[None]:
    """Turn everything the SDK raises while it does C(what) into one EngineError."""
    try:
        yield
    except APIError as error:
        raise _refused(what, error) from error
    except Timeout as error:
        raise EngineError(
            f"{what}: the engine at {host} did not answer in time", kind="timeout"
        ) from error
    except (RequestException, DockerException) as error:
        raise _unreachable(what, host, error) from error


def too_old(found: str) -> EngineError:
    """Say that the engine is older than what this collection needs."""
    return EngineError(f"docker >= {MINIMUM_ENGINE} needed, found {found}", kind="too_old")


def _refused(what: str, error: APIError) -> EngineError:
    answer = error.explanation
    answer = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer or error)
    answer = " ".join(answer.split())
    kind = _kind(answer.lower(), error.status_code)
    reason = _SAYS.get(kind)
    text = f"{what}: {reason}: {answer}" if reason else f"{what}: {answer}"
    return EngineError(text, kind=kind, answer=answer)


def _kind(words: str, status: int | None) -> str:
    for part, kind in _WORDS:
        if part in words:
            return kind
    if status == 404:
        return "network_missing" if words.startswith("network ") else "not_found"
    return "conflict" if status == 409 else "refused"


def _unreachable(what: str, host: str, error: BaseException) -> EngineError:
    cause = _system_error(error)
    if cause is not None and cause.errno in (errno.EACCES, errno.EPERM):
        return EngineError(
            f"{what}: this user may not open {host}: permission denied", kind="permission_denied"
        )
    if cause is not None and cause.errno == errno.ENOENT:
        reason = "no such socket; is the engine installed and started?"
    elif cause is not None and cause.errno == errno.ECONNREFUSED:
        reason = "connection refused; is the engine started?"
    else:
        reason = " ".join(str(cause or error).split())
    return EngineError(
        f"{what}: the engine at {host} cannot be reached: {reason}", kind="unreachable"
    )


def _system_error(error: BaseException) -> OSError | None:
    """Find the system's own error inside what requests and urllib3 wrapped around it."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, OSError) and isinstance(current.errno, int):
            return current
        linked = (current.__cause__, current.__context__, *current.args)
        todo.extend(entry for entry in linked if isinstance(entry, BaseException))
    return None
