# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image says of itself, and what is refused of it; private, no stability promised."""

from __future__ import annotations

import json
import os
import re

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Image
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import AppSpec

ENTRYPOINTS = "immutable.cutover.entrypoints"
ENV_REQUIRED = "immutable.cutover.env-required"
_NUMERIC_USER = re.compile(r"\d{1,10}(:\d{1,10})?", re.ASCII)


def check_image(image: Image) -> None:
    """Refuse an image that would run as root, or not on this machine."""
    user = image.user.split(":")[0]
    if user in ("", "0", "root"):
        raise InvalidInput(
            "image", image.id, "must run as a non-root user: set config.user in its recipe"
        )
    if not _NUMERIC_USER.fullmatch(image.user):
        raise InvalidInput(
            "image",
            image.id,
            f"its user {image.user!r} must be numeric, whether its /etc/passwd has it or not: "
            "a name cannot be told from root; set config.user in its recipe",
        )
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    if image.architecture and image.architecture != machine:
        raise InvalidInput("image", image.id, f"image is {image.architecture}, host {machine}")


def check_environment(image: Image, spec: AppSpec) -> None:
    """Refuse a release that sets nothing for a variable without which its image says it cannot run.

    What is set is the variable itself, the file that it is read from, or a secret of its name.
    """
    given = {name for name, _value in spec.env} | {secret.name for secret in spec.secrets}
    given |= {name.removesuffix("_FILE") for name in given} | {"PORT"}
    required = {name for name in image.labels.get(ENV_REQUIRED, "").split(",") if name}
    for name in sorted(required - given):
        raise InvalidInput(
            f"env.{name}",
            None,
            "is required by the image (config.env_required); set it in env or secrets",
        )


def commands_of(image: Image) -> dict[str, tuple[str, ...]]:
    """Return the argv of each process the image itself names."""
    text = image.labels.get(ENTRYPOINTS, "{}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CutoverError(f"image {image.id}: label {ENTRYPOINTS} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CutoverError(
            f"image {image.id}: label {ENTRYPOINTS} must be a mapping of process to argv"
        )
    return {str(name): tuple(str(word) for word in argv) for name, argv in found.items()}
