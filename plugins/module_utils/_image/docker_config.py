# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Dockerfile says about how a container starts, held to a recipe's rules; private, no stability promised."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN
from ansible_collections.immutable.cutover.plugins.module_utils._image.dockerfile import (
    is_secret_env,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import LABEL
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    RESERVED_LABELS,
    ImageConfig,
    Recipe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.validate import (
    Problems,
    odd_character,
)

_USER = re.compile(r"\A[0-9]{1,9}(?::[0-9]{1,9})?\Z")
_SIGNAL = re.compile(r"\ASIG[A-Z]+[0-9+]*\Z")
_PORT = re.compile(r"\A[0-9]{1,5}/(?:tcp|udp|sctp)\Z")


def with_config(
    recipe: Recipe, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]
) -> Recipe:
    """Return the recipe with the configuration that a build added to what it began with."""
    problems = Problems(recipe.path)
    config = ImageConfig(
        user=after.get("User") or "",
        workdir=after.get("WorkingDir") or "",
        expose=tuple(sorted(after.get("ExposedPorts") or {})),
        stop_signal=after.get("StopSignal") or "",
        env=_added(_pairs(before.get("Env")), _pairs(after.get("Env"))),
        env_required=recipe.config.env_required,
        labels=_labels(before, after),
    )
    started = [tuple(after.get(key) or ()) for key in ("Entrypoint", "Cmd")]
    if started != [tuple(before.get(key) or ()) for key in ("Entrypoint", "Cmd")]:
        config = replace(config, entrypoint=started[0], cmd=started[1])
    _check(config, recipe, problems)
    problems.raise_any()
    return replace(recipe, config=config)


def _pairs(items: t.Sequence[str] | None) -> dict[str, str]:
    return {name: value for name, _equals, value in (item.partition("=") for item in items or ())}


def _added(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in after.items() if before.get(item[0]) != item[1]))


def _labels(
    before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]
) -> tuple[tuple[str, str], ...]:
    added = _added(before.get("Labels") or {}, after.get("Labels") or {})
    return tuple(item for item in added if item[0] != LABEL + "build")


def _check(config: ImageConfig, recipe: Recipe, problems: Problems) -> None:
    given = recipe.content.get("config") or {}
    allow_root = isinstance(given, dict) and given.get("allow_root") is True
    _check_start(config, allow_root, problems)
    _check_env(config, problems)
    for name, value in config.labels:
        if name.startswith(RESERVED_LABELS):
            problems.add(f"LABEL {name}", value, "label prefix is reserved")
        elif odd := odd_character(name + value):
            problems.add(f"LABEL {name}", value, odd)


def _check_start(config: ImageConfig, allow_root: bool, problems: Problems) -> None:
    if not _USER.match(config.user) and not (allow_root and not config.user):
        problems.add("USER", config.user, "final user must be a number, as 10001 or 10001:10001")
    elif config.user and int(config.user.partition(":")[0]) == 0 and not allow_root:
        problems.add("USER", config.user, "final user is root: set another number")
    if config.stop_signal and not _SIGNAL.match(config.stop_signal):
        problems.add("STOPSIGNAL", config.stop_signal, "must be a signal name, as SIGTERM")
    for port in config.expose:
        if not _PORT.match(port):
            problems.add("EXPOSE", port, "must be a port, as 8080 or 8080/udp")


def _check_env(config: ImageConfig, problems: Problems) -> None:
    for name, value in config.env:
        if name in config.env_required:
            problems.add(f"ENV {name}", HIDDEN, "is required from outside: it has no default here")
        elif is_secret_env(name, value):
            problems.add(f"ENV {name}", HIDDEN, "looks like a secret: it would be in the image")
        elif odd := odd_character(value):
            problems.add(f"ENV {name}", value, odd)
