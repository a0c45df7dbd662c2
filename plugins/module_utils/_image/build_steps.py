# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recipe runs, one by one; only what builds imports this. Private, no stability promised."""

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
