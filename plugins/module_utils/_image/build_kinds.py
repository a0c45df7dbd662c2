# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recipe may run; private, no stability promised.

Most recipes run nothing, and reading those imports nothing more than this.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.dockerfile import (
        Dockerfile,
    )

STEP_TIMEOUT = 600
BUILD_TIMEOUT = 3600
BUILD_KEYS = ("run", "play", "dockerfile", "inputs", "secrets")


@dataclass(frozen=True)
class Step:
    """One command that is run in the build container, without a shell of ours."""

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    user: str = "0"
    workdir: str = "/"
    timeout: int = STEP_TIMEOUT


@dataclass(frozen=True)
class Play:
    """An Ansible play that is applied to the build container; everything beside the playbook is locked."""

    playbook: str
    timeout: int = BUILD_TIMEOUT

    @property
    def folder(self) -> str:
        """Return the folder whose files the play may use."""
        return os.path.dirname(self.playbook)


@dataclass(frozen=True)
class DockerBuild:
    """A Dockerfile of the context, as it was read, and what its build is given."""

    path: str
    args: tuple[tuple[str, str], ...]
    timeout: int
    content: Dockerfile


@dataclass(frozen=True)
class Build:
    """What is run to make an image; nothing for an image that is only assembled."""

    steps: tuple[Step, ...] = ()
    play: Play | None = None
    docker: DockerBuild | None = None
    inputs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def purpose(self) -> str:
        """Return what the layer of the build is called; empty if nothing is run."""
        if self.docker is not None:
            return "dockerfile"
        return "run" if self.steps or self.play else ""


NO_BUILD = Build()
