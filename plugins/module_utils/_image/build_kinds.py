# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recipe may run, as a whole; private, no stability promised.

Most recipes run nothing, and reading those imports nothing more than this: it is in every call.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.build_steps import (
        DockerBuild,
        Play,
        Step,
    )

BUILD_KEYS = ("run", "play", "dockerfile", "inputs", "secrets")


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
