# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the Docker SDK's exceptions become EngineError, for what uses the SDK; private, no stability promised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_errors import (
    refused,
    timed_out,
    unreachable,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError

try:
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException, Timeout
except ImportError:
    HAS_SDK = False
else:
    HAS_SDK = True


def require_sdk() -> None:
    """Raise unless the SDK is there."""
    if not HAS_SDK:
        raise CutoverError(missing_required_lib("docker (Debian: python3-docker)"))


@contextmanager
def sdk_errors(what: str, host: str) -> Iterator[None]:
    """Turn everything the SDK raises while it does C(what) into one EngineError."""
    try:
        yield
    except APIError as error:
        answer = error.explanation
        words = (
            answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer or error)
        )
        raise refused(what, error.status_code, words) from error
    except Timeout as error:
        raise timed_out(what, host) from error
    except (RequestException, DockerException) as error:
        raise unreachable(what, host, error) from error
