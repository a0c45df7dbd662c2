# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host knows and shows of an app, read only; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import status
from ansible_collections.immutable.cutover.plugins.module_utils._apply.connect import connect_all
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.describe import (
    describe_world,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    ReleaseRecord,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    Engine,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import LoadBalancerError
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._process import is_dead
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    parse_spec,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Replica,
    World,
)
from ansible_collections.immutable.cutover.plugins.module_utils._shown import age

UNKNOWN = "unknown"


def release_info(
    app: str,
    spec: Mapping[str, Any] | None,
    state_dir: str,
    last: int,
    engine: Engine,
    clock: Clock,
) -> dict[str, Any]:
    """Return what runs, what is kept, who holds the lease, what is under way and the last journal rows."""
    check_name(app, "app")
    releases = Releases(state_dir, app)
    kept, begun = releases.all(), releases.begun()
    known = parse_spec(spec) if spec else parse_spec(kept[-1].spec) if kept else None
    balancers, problems = _reachable(known, clock)
    site = Site(engine, balancers, state_dir, clock)
    world = observe(site, app)
    lease = Lease(state_dir, app, clock)
    held, now = lease.read(), clock.now()
    found: dict[str, Any] = {
        "app": app,
        "current": kept[-1].id if kept else "",
        "version": kept[-1].version if kept else "",
        "processes": _processes(site, world, problems),
        "wanted": {process.name: process.replicas for process in known.processes} if known else {},
        "releases": [_release(item) for item in kept],
        "lease": {
            **asdict(held),
            "expired": held.holder is not None and held.expired(now),
            "dead": held.holder is not None and is_dead(asdict(held.holder)),
            "line": [asdict(place.holder) for place in lease.line()],
        },
        "under_way": asdict(begun) if begun else {},
        "problems": list(problems.values()),
        "journal": Journal(state_dir, app).read(last),
    }
    return {**found, "next": status.advice(found), "lines": status.lines(found, now)}


def _reachable(
    spec: AppSpec | None, clock: Clock
) -> tuple[dict[str, tuple[Balancer, ...]], dict[str, str]]:
    """Return the load balancers that answer, and for each process what those that do not say."""
    found: dict[str, tuple[Balancer, ...]] = {}
    problems: dict[str, str] = {}
    if spec is None:
        return found, problems
    for ref in spec.load_balancers:
        if ref.host:
            problems[ref.process] = (
                f"{ref.process}: its load balancer is on {ref.host}, which was not asked"
            )
    here = replace(spec, load_balancers=tuple(ref for ref in spec.load_balancers if not ref.host))
    for process, balancers in connect_all(here, clock).items():
        for balancer in balancers:
            try:
                balancer.driver.targets()
            except LoadBalancerError as error:
                problems[process] = error.message
            else:
                found[process] = (*found.get(process, ()), balancer)
    return found, problems


def _processes(
    site: Site, world: World, problems: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return each process's replicas with what only a person wants to know: health, work in flight, age."""
    work = _work(site, world)
    result: dict[str, list[dict[str, Any]]] = {}
    for process, replicas in describe_world(world).items():
        result[process] = [
            {**item, **_more(site, world.find(str(item["name"])), work)} for item in replicas
        ]
        for item in result[process] if process in problems else ():
            item["state"] = UNKNOWN if item["state"] != "dead" else "dead"
    return result


def _more(site: Site, replica: Replica | None, work: Mapping[str, int]) -> dict[str, Any]:
    if replica is None:
        return {}
    container = site.engine.inspect(replica.container_id) if replica.container_id else None
    targets = [target for target in replica.targets if target is not None]
    return {
        "health": ", ".join(sorted({target.check or target.health.value for target in targets})),
        "in_flight": work.get(replica.name),
        "age": _age(container, site.clock.now()),
    }


def _work(site: Site, world: World) -> dict[str, int]:
    """Return how much each replica has in flight, where all its load balancers say it."""
    total: dict[str, int] = {}
    for process, balancers in site.balancers.items():
        names = [replica.name for replica in world.of(process) if replica.registered]
        for balancer in balancers:
            try:
                figures = balancer.driver.in_flight(names) if names else {}
            except LoadBalancerError:
                continue
            for name, figure in figures.items():
                total[name] = total.get(name, 0) + figure.total
    return total


def _age(container: Container | None, now: float) -> float | None:
    found = age(container.started_at, now) if container and container.running else None
    return None if found is None else round(found, 1)


def _release(item: ReleaseRecord) -> dict[str, str]:
    return {"id": item.id, "version": item.version, "image": item.image, "image_id": item.image_id}
