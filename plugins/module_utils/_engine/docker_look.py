# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look into an image without running it; private, no stability promised.

The engine shows the files of a container only, so one is created, never started, and removed again. It has no network
and carries no label that a replica has. One that a killed process left is removed by a later look.
"""

from __future__ import annotations

import base64
import contextlib
import json
import posixpath
import secrets as randomness
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock

LABEL = "immutable.cutover.look"
LEFT_OVER = 60.0
"""Seconds after which a container made to look into an image belongs to nobody any more."""

_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NO_FILE = 1 << 31 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
"""Bits of Go's FileMode for what is no plain file: directory, device, pipe, socket, character device, irregular."""
_LINK = 1 << 27
_EXECUTABLE = 0o111


def missing_programs(
    client: Any, image: str, programs: Sequence[str], path: str, clock: Clock
) -> tuple[str, ...]:
    """Return those programs that the engine would not find in the image, or could not execute."""
    config: Mapping[str, Any] = client.inspect_image(image).get("Config") or {}
    if config.get("Entrypoint"):
        return ()  # it is what runs; what the spec gives are its arguments
    folders = (path or _path_of(config)).split(":")
    base = config.get("WorkingDir") or "/"
    _remove_left_overs(client, clock)
    with _container(client, image) as container_id:
        return tuple(
            program
            for program in programs
            if not any(
                _executable(client, container_id, place)
                for place in _places(program, folders, base)
            )
        )


def _path_of(config: Mapping[str, Any]) -> str:
    for line in config.get("Env") or ():
        name, _equals, value = line.partition("=")
        if name == "PATH":
            return str(value)
    return _USUAL_PATH


def _places(program: str, folders: Sequence[str], base: str) -> list[str]:
    if "/" in program:
        return [posixpath.join(base, program)]
    return [posixpath.join(base, folder, program) for folder in folders]


@contextlib.contextmanager
def _container(client: Any, image: str) -> Iterator[str]:
    body = {
        "Image": image,
        "Cmd": ["never-started"],
        "Labels": {LABEL: "1"},
        "NetworkDisabled": True,
        "HostConfig": {"NetworkMode": "none"},
    }
    name = f"immutable-cutover-look-{randomness.token_hex(4)}"
    container_id = client.create_container_from_config(body, name)["Id"]
    try:
        yield container_id
    finally:
        client.remove_container(container_id, v=True)


def _executable(client: Any, container_id: str, path: str) -> bool:
    """Ask for the file's mode only; a link is followed once more, the engine has resolved it to its end."""
    found = _stat(client, container_id, path)
    if found and found["mode"] & _LINK:
        found = _stat(client, container_id, str(found["linkTarget"]))
    return (
        bool(found) and not found["mode"] & (_NO_FILE | _LINK) and found["mode"] & _EXECUTABLE > 0
    )


def _stat(client: Any, container_id: str, path: str) -> dict[str, Any]:
    answer = client.head(
        f"{client.base_url}/containers/{container_id}/archive",
        params={"path": path},
        timeout=client.timeout,
    )
    if answer.status_code == 404:
        return {}
    answer.raise_for_status()
    stat: dict[str, Any] = json.loads(
        base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"])
    )
    return stat


def _remove_left_overs(client: Any, clock: Clock) -> None:
    for row in client.containers(all=True, filters={"label": [LABEL]}):
        if row["State"] == "created" and row["Created"] < clock.now() - LEFT_OVER:
            client.remove_container(row["Id"], v=True)
