# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancers that a spec names, connected; private, no stability promised."""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    GroupCommit,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    LoadBalancerRef,
)

DEFAULT_BALANCER = "cutover-lb"


def connect_all(spec: AppSpec, clock: Clock) -> dict[str, tuple[Balancer, ...]]:
    """Return the load balancers of each process, refusing options no driver knows."""
    found: dict[str, list[Balancer]] = {}
    for index, ref in enumerate(spec.load_balancers):
        driver = factory.connect(_options(ref, f"load_balancers[{index}]"), clock)
        found.setdefault(ref.process, []).append(Balancer(driver, GroupCommit(driver)))
    return {process: tuple(balancers) for process, balancers in found.items()}


def _options(ref: LoadBalancerRef, path: str) -> dict[str, object]:
    """Return a driver's options; without a socket they are those of the role load_balancer, by name."""
    fields = Fields(dict(ref.options), path)
    name = check_name(fields.raw("name", DEFAULT_BALANCER), f"{path}.name")
    options = {
        key: fields.raw(key, option.get("default"))
        for key, option in factory.LOAD_BALANCER_SPEC.items()
    }
    fields.finish()
    if options["socket"]:
        return options
    sockets = f"/run/immutable-cutover/{name}"
    return {
        **options,
        "socket": f"{sockets}/admin.sock",
        "master_socket": f"{sockets}/master.sock",
        "config": f"/etc/immutable-cutover/{name}/haproxy.cfg",
        "container": name,
    }
