# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and the labels they travel in; private, no stability promised."""

from __future__ import annotations

import re

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput

LABEL_PREFIX = "immutable.cutover."
APP = LABEL_PREFIX + "app"
PROCESS = LABEL_PREFIX + "process"
RELEASE = LABEL_PREFIX + "release"
REPLICA = LABEL_PREFIX + "replica"
VERSION = LABEL_PREFIX + "version"
PORT = LABEL_PREFIX + "port"
TASK = LABEL_PREFIX + "task"
TASK_TIMEOUT = LABEL_PREFIX + "task-timeout"
ADHOC = LABEL_PREFIX + "adhoc"
"""On a task that a person started, and no release."""
PUBLISHED = LABEL_PREFIX + "published"
"""Address and port at which a load balancer on another host reaches the replica."""

NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_NAME = re.compile(NAME_PATTERN)
_ENV_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile("(?i)PASSWORD|PASSWD|TOKEN|SECRET|APIKEY|API_KEY|PRIVATE_KEY|CREDENTIAL")
MAX_NAME = 63
RELEASE_ID_LENGTH = 8
# A dash of a process, inside the name of a replica: see replica_name().
_DASH = "__"
_UNCLEAR = re.compile("__|-_|_-")
AT = ".at."
"""Between app and member in the names of replicas, where the hosts of an app share a load balancer."""
# "-<release id>-<slot>": what a replica's name adds to app and process.
_NAME_SUFFIX = 1 + RELEASE_ID_LENGTH + 1 + 3


def check_name(value: object, path: str) -> str:
    """Return a name that engines, load balancers and file systems all take as it is."""
    if not isinstance(value, str) or value == "":
        raise InvalidInput(path, value, f"must be a name matching {NAME_PATTERN}")
    for position, character in enumerate(value):
        if not character.isascii():
            raise InvalidInput(
                path,
                value,
                f"must match {NAME_PATTERN}; non-ASCII character U+{ord(character):04X} at position {position}",
            )
    if len(value) > MAX_NAME:
        raise InvalidInput(path, value, f"must not be longer than {MAX_NAME} characters")
    if not _NAME.fullmatch(value):
        raise InvalidInput(path, value, f"must match {NAME_PATTERN}")
    return value


def scope(app: str, member: str) -> str:
    """Return what the names of an app's replicas on one host begin with; no app's own name has C(AT) in it."""
    return f"{app}{AT}{member}" if member else app


def check_app(value: object, path: str) -> str:
    """Return an app's name."""
    name = check_name(value, path)
    if AT in name:
        raise InvalidInput(path, value, f"must not have {AT!r} in it")
    return name


def names_a_secret(name: str) -> bool:
    """Tell whether the value of a variable of this name is likely to be a secret, and not where one is."""
    return _SECRET.search(name) is not None and not name.endswith("_FILE")


def check_env_name(value: object, path: str) -> str:
    """Return the name of an environment variable."""
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        raise InvalidInput(path, value, f"env name must match {_ENV_NAME.pattern}")
    return value


def check_name_pair(app: str, process: str) -> None:
    """Refuse an app and process whose replicas' names would not fit, or could be taken for another process's."""
    path = f"processes.{process}"
    if _UNCLEAR.search(process):
        raise InvalidInput(path, process, "must not have a _ next to another _ or to a -")
    longest = len(app) + 1 + len(_without_dash(process)) + _NAME_SUFFIX
    if longest > MAX_NAME:
        raise InvalidInput(
            path,
            process,
            f"app and process name together must not be longer than {MAX_NAME - _NAME_SUFFIX - 1} characters"
            + (" (each - of the process counts twice)" if "-" in process else ""),
        )


def check_task_name(app: str, name: str, path: str) -> None:
    """Refuse a task whose container's name would not fit."""
    check_name(name, path)
    room = MAX_NAME - len(task_name(app, "", "0" * RELEASE_ID_LENGTH))
    if len(name) > room:
        raise InvalidInput(path, name, f"must not be longer than {room} characters in app {app}")


def task_name(app: str, task: str, of: str) -> str:
    """Name the container of a task; C(of): the release, or the run of a person.

    Its end is no slot, so no replica has such a name.
    """
    return f"{app}-task-{task}-{of}"


def replica_name(app: str, process: str, release: str, slot: int) -> str:
    """Name the container and the target of one replica; no two replicas of any two apps have one name.

    Read from its end, a name is slot, release and process, none of which has a dash, and the rest is the app. So
    a dash of the process is written as two underscores, which check_name_pair() keeps out of a process's own name:
    app shop with process web-x gives shop-web__x-..., app shop-web with process x gives shop-web-x-...
    """
    return f"{app}-{_without_dash(process)}-{release}-{slot}"


def is_replica_name(name: str, app: str, process: str) -> bool:
    """Tell whether a target's name is one this collection gave to a replica of that process."""
    head = re.escape(f"{app}-{_without_dash(process)}")
    pattern = f"{head}-[0-9a-f]{{{RELEASE_ID_LENGTH}}}-[0-9]{{1,3}}"
    return re.fullmatch(pattern, name) is not None


def release_of_name(name: str) -> tuple[str, int]:
    """Split release ID and slot off a replica's name."""
    head, slot = name.rsplit("-", 1)
    return head.rsplit("-", 1)[1], int(slot)


def _without_dash(process: str) -> str:
    return process.replace("-", _DASH)
