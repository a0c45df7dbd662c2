# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs, as plain data for results; private, no stability promised."""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World


def describe_world(world: World) -> dict[str, list[dict[str, object]]]:
    """Return each process's replicas as plain data, for before, after and the info modules."""
    result: dict[str, list[dict[str, object]]] = {}
    for replica in sorted(world.replicas, key=lambda item: (item.process, item.name)):
        result.setdefault(replica.process, []).append(
            {
                "name": replica.name,
                "release": replica.release,
                "version": replica.version,
                "state": replica.phase.value,
                "address": f"{replica.address}:{replica.port}" if replica.address else "",
            }
        )
    return result
