# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host knows and shows of an app, read only; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply.connect import connect_all
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.deployment import (
    describe_world,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    parse_spec,
)


def release_info(
    app: str,
    spec: Mapping[str, Any] | None,
    state_dir: str,
    last: int,
    engine: Engine,
    clock: Clock,
) -> dict[str, Any]:
    """Return what runs, what is kept, who holds the lease and the last journal rows."""
    check_name(app, "app")
    releases = Releases(state_dir, app)
    kept = releases.all()
    known = parse_spec(spec) if spec else parse_spec(kept[-1].spec) if kept else None
    site = Site(engine, _balancers_here(known, clock), state_dir, clock)
    world = observe(site, app)
    lease = Lease(state_dir, app, clock).read()
    begun = releases.begun()
    return {
        "app": app,
        "current": kept[-1].id if kept else "",
        "version": kept[-1].version if kept else "",
        "processes": describe_world(world),
        "releases": [
            {"id": item.id, "version": item.version, "image": item.image, "image_id": item.image_id}
            for item in kept
        ],
        "under_way": asdict(begun) if begun else {},
        "lease": asdict(lease),
        "journal": Journal(state_dir, app).read(last),
        "lines": [
            *_lines(app, known, describe_world(world), str(lease.holder or "free")),
            *_under_way(begun),
        ],
    }


def _under_way(begun: Begun | None) -> list[str]:
    """Say of a release that is not completed where it stands."""
    if begun is None:
        return []
    if begun.held:
        return [f"release {begun.release} is held at gate {begun.held}: promote or abort it"]
    return [f"release {begun.release} is under way"]


def _balancers_here(spec: AppSpec | None, clock: Clock) -> dict[str, tuple[Balancer, ...]]:
    """Return the load balancers on this host; what those on others show, only they can be asked."""
    if spec is None:
        return {}
    here = tuple(ref for ref in spec.load_balancers if not ref.host)
    return connect_all(replace(spec, load_balancers=here), clock)


def _lines(
    app: str, spec: AppSpec | None, processes: Mapping[str, list[dict[str, Any]]], holder: str
) -> list[str]:
    """Return the status as a person reads it."""
    lines = [f"{app} {spec.version if spec else '(no release completed yet)'}, lease: {holder}"]
    if spec and spec.balancer_hosts:
        lines.append(
            f"its load balancers are on {', '.join(spec.balancer_hosts)} and were not asked"
        )
    for process, replicas in processes.items():
        for replica in replicas:
            version = replica["version"] or replica["release"]
            lines.append(
                f"{process:<10} {replica['name']:<40} {version:<12} {replica['state']:<10} {replica['address']}"
            )
    return lines
