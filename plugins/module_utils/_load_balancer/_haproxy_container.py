# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validating a configuration with the HAProxy that runs in a container; private."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_file as file,
)

try:
    import docker
    import docker.errors
    import requests.exceptions
except ImportError:
    DOCKER_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    DOCKER_IMPORT_ERROR = None


class ContainerValidator:
    """Run C(haproxy -c) inside the container; the draft must lie in a directory that it mounts."""

    def __init__(self, container: str) -> None:
        self._container = container

    def __call__(self, draft: Path) -> None:
        """Raise INVALID_CONFIG unless that HAProxy accepts the draft."""
        if DOCKER_IMPORT_ERROR is not None:
            raise LoadBalancerError(
                Kind.INVALID_CONFIG,
                f"validating in container {self._container} needs the Python library docker",
            )
        try:
            code, answer = self._run(draft)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as failure:
            raise LoadBalancerError(
                Kind.INVALID_CONFIG,
                f"cannot validate {draft.parent} in container {self._container}",
                str(failure),
            ) from failure
        if code != 0:
            raise file.rejected(draft, answer)

    def _run(self, draft: Path) -> tuple[int, str]:
        client = docker.DockerClient.from_env(timeout=60)
        try:
            api = client.api
            mounts = api.inspect_container(self._container)["Mounts"]
            inside = path_inside(draft, mounts)
            if inside is None:
                raise LoadBalancerError(
                    Kind.INVALID_CONFIG,
                    f"container {self._container} does not mount the directory {draft.parent}",
                )
            command = ["haproxy", "-c", "-f", inside]
            process = api.exec_create(self._container, command)["Id"]
            answer = api.exec_start(process)
            code = api.exec_inspect(process)["ExitCode"]
        finally:
            client.close()
        return int(code), answer.decode("utf-8", "replace")


def path_inside(path: Path, mounts: Sequence[Mapping[str, Any]]) -> str | None:
    """Translate a path of the host into the container's, by the nearest mount."""
    wanted = path.parent.resolve() / path.name
    best: tuple[int, str] | None = None
    for mount in mounts:
        source = Path(str(mount.get("Source", "/nowhere"))).resolve()
        if wanted.is_relative_to(source):
            inside = str(PurePosixPath(str(mount["Destination"])) / wanted.relative_to(source))
            if best is None or len(source.parts) > best[0]:
                best = (len(source.parts), inside)
    return best[1] if best else None
