# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must have for a release, checked before anything changes; private, no stability promised."""

from __future__ import annotations

import os

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.probes import readiness_probe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import Releases
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    check_cpus,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World


def check_host(release: Release, engine: Engine) -> None:
    """Refuse a network or a limit that this host does not have."""
    networks = engine.networks()
    if release.spec.network not in networks:
        raise InvalidInput(
            "network",
            release.spec.network,
            f"network not found on this host; have {', '.join(networks)}",
        )
    cpus = os.cpu_count() or 1
    for process in release.spec.processes:
        readiness_probe(process)
        check_cpus(process.limits, f"processes.{process.name}.resources", cpus)


def check_secrets(release: Release) -> None:
    """Refuse a secret that is not there; those of a new release are placed after its plan was made."""
    for secret in release.spec.secrets:
        if not os.path.isfile(secret.source):
            raise InvalidInput(
                f"secrets.{secret.name}.source", secret.source, "must be a file on this host"
            )


def check_processes(release: Release, world: World) -> None:
    """Refuse to forget a process that still runs."""
    known = {process.name for process in release.spec.processes}
    for replica in world.replicas:
        if replica.process not in known:
            raise InvalidInput(
                "processes",
                sorted(known),
                f"must keep {replica.process}: {replica.name} still runs",
            )


def check_commands(release: Release, world: World, engine: Engine, releases: Releases) -> None:
    """Refuse a command that the image of a new release does not have, before anything is started (B33).

    Only for commands that the spec itself gives: those of the image were seen by whoever baked it. It costs a few
    calls of the engine, so a release that this host knows, or already runs, is not looked at again.
    """
    spec = release.spec
    known = any(replica.release == release.id for replica in world.replicas)
    given = {item.command[0]: item.name for item in spec.processes if item.command}
    if not given or known or releases.get(release.id) is not None:
        return
    path = dict(spec.env).get("PATH", "")
    for program in engine.missing_programs(release.image_id, list(given), path):
        raise InvalidInput(
            f"processes.{given[program]}.command",
            program,
            f"command not found in image {release.image_id}, or not executable there",
        )
