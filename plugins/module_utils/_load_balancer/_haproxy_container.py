# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validating a configuration with the HAProxy that runs in a container; private."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker import DEFAULT_HOST
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_api import DockerApi
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_errors import (
    engine_errors,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    EngineError,
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_file as file,
)

API_VERSION = "1.41"


class ContainerValidator:
    """Run C(haproxy -c) inside the container; the draft must lie in a directory that it mounts."""

    def __init__(self, container: str) -> None:
        self._container = container

    def __call__(self, draft: Path) -> None:
        """Raise INVALID_CONFIG unless that HAProxy accepts the draft."""
        host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        try:
            with engine_errors(f"run haproxy -c in container {self._container}", host):
                code, answer = self._run(DockerApi(host, API_VERSION, 60), draft)
        except EngineError as failure:
            raise LoadBalancerError(
                Kind.INVALID_CONFIG,
                f"cannot validate {draft.parent} in container {self._container}",
                failure.message,
            ) from failure
        if code != 0:
            raise file.rejected(draft, answer)

    def _run(self, api: DockerApi, draft: Path) -> tuple[int, str]:
        inside = path_inside(draft, api.inspect_container(self._container)["Mounts"])
        if inside is None:
            raise LoadBalancerError(
                Kind.INVALID_CONFIG,
                f"container {self._container} does not mount the directory {draft.parent}",
            )
        code, answer = api.execute(self._container, ["haproxy", "-c", "-f", inside])
        return code, answer.decode("utf-8", "replace")


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
