# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host is told of another: its containers, its targets; private, no stability promised.

Where replicas and load balancers are on different hosts, each host does its own part of a plan and sees the other one
as it was when that last worked. Nothing can be changed through what was handed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    Engine,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Capabilities,
    Health,
    LoadBalancer,
    Quality,
    Target,
    Traffic,
)

_NEEDED = ("id", "name", "image_id", "state", "labels", "address")


def _elsewhere(_self: object, *_arguments: Any, **_options: Any) -> NoReturn:
    raise CutoverError("this is on another host; nothing was changed there")


class HandedEngine(Engine):
    """The engine of another host, as it was seen."""

    def __init__(self, containers: Iterable[Mapping[str, Any]]) -> None:
        self._containers = tuple(
            Container(**{key: row[key] for key in _NEEDED}) for row in containers
        )

    def containers(self, labels: Mapping[str, str]) -> tuple[Container, ...]:
        """Return the containers that carried all these labels."""
        return tuple(
            item
            for item in self._containers
            if all(
                key in item.labels and value in ("", item.labels[key])
                for key, value in labels.items()
            )
        )

    version = image = images = missing_programs = inspect = start = stop = _elsewhere
    ask_to_stop = remove = logs = remove_image = ensure_network = sweep_secrets = networks = (
        space
    ) = _elsewhere


class HandedBalancer(LoadBalancer):
    """A backend of a load balancer on another host, as it was seen."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._where = str(row["where"])
        self._targets = tuple(target_from(item) for item in row["targets"])
        self._can = Capabilities(**{**row["can"], "in_flight": Quality(row["can"]["in_flight"])})
        self._traffic = {name: Traffic(**found) for name, found in row["traffic"].items()}

    @property
    def where(self) -> str:
        """Name it for messages."""
        return self._where

    def probe(self) -> Capabilities:
        """Return what its own host has found."""
        return self._can

    def targets(self) -> tuple[Target, ...]:
        """Return every target it had."""
        return self._targets

    def traffic(self, names: Sequence[str]) -> Mapping[str, Traffic]:
        """Return the counters as they were."""
        return {name: self._traffic[name] for name in names if name in self._traffic}

    def persist(self) -> bool:
        """Leave that to its own host."""
        return False

    def persisted(self) -> bool:
        """Leave that to its own host."""
        return True

    register = set_state = set_weight = deregister = in_flight = close = sessions = _elsewhere


def containers_data(containers: Sequence[Container]) -> list[dict[str, Any]]:
    """Return containers as plain data, without what no other host needs."""
    return [{key: asdict(item)[key] for key in _NEEDED} for item in containers]


def balancer_data(driver: LoadBalancer, host: str, counted: Sequence[str]) -> dict[str, Any]:
    """Return what a backend shows as plain data; C(counted): the targets whose counters are wanted."""
    can = driver.probe()
    traffic = driver.traffic(counted) if counted else {}
    return {
        "where": f"{driver.where} on {host}",
        "targets": targets_data(driver.targets()),
        "can": {**asdict(can), "in_flight": can.in_flight.value},
        "traffic": {name: asdict(found) for name, found in traffic.items()},
    }


def targets_data(targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Return targets as plain data."""
    return [
        {**asdict(item), "admin": item.admin.value, "health": item.health.value} for item in targets
    ]


def target_from(row: Mapping[str, Any]) -> Target:
    """Read a target back."""
    return Target(**{**row, "admin": Admin(row["admin"]), "health": Health(row["health"])})
