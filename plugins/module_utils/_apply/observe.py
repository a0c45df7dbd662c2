# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the world: our containers on the engine, our targets in the load balancers; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Site
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Container
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Target
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Replica,
    World,
)

Views = Sequence[Mapping[str, Target]]


def observe(site: Site, app: str, settled: frozenset[str] = frozenset()) -> World:
    """Return what the engine and every load balancer show now. What is not ours is left out."""
    views = {
        process: [
            {target.name: target for target in balancer.driver.targets()} for balancer in balancers
        ]
        for process, balancers in site.balancers.items()
    }
    # Containers are read after the targets: a replica seen in a load balancer is then never taken for missing.
    ours = site.engine.containers({names.APP: app})
    containers = [item for item in map(_replica, ours) if item]
    found = {replica.name: replica for replica in containers}
    for process, targets in views.items():
        for name in _leftovers(site.scope or app, process, targets, found):
            release, slot = names.release_of_name(name)
            found[name] = Replica(name, process, release, slot)
    return World(
        tuple(_with_targets(replica, views) for replica in found.values()),
        settled,
        tasks=tuple(container.id for container in ours if names.TASK in container.labels),
    )


def _replica(container: Container) -> Replica | None:
    labels = container.labels
    process, release = labels.get(names.PROCESS, ""), labels.get(names.RELEASE, "")
    slot, inside = labels.get(names.REPLICA, ""), labels.get(names.PORT, "")
    if not (process and release and slot.isdigit() and inside.isdigit()):
        return None
    address, port = target_address(container)
    return Replica(
        name=container.name,
        process=process,
        release=release,
        slot=int(slot),
        container_id=container.id,
        running=container.running,
        address=address,
        port=port,
        version=labels.get(names.VERSION, ""),
    )


def target_address(container: Container) -> tuple[str, int]:
    """Return where load balancers reach a replica that runs."""
    address, port = container.address, container.labels.get(names.PORT, "0")
    published = container.labels.get(names.PUBLISHED, "")
    if published and container.running:
        address, _colon, port = published.rpartition(":")
    return address, int(port)


def _leftovers(scope: str, process: str, views: Views, found: Mapping[str, Replica]) -> list[str]:
    known = {name for view in views for name in view}
    return sorted(
        name for name in known - found.keys() if names.is_replica_name(name, scope, process)
    )


def _with_targets(replica: Replica, views: Mapping[str, Views]) -> Replica:
    targets = tuple(view.get(replica.name) for view in views.get(replica.process, ()))
    return Replica(**{**vars(replica), "targets": targets})
