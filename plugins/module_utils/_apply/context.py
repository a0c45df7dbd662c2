# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of one run work with; private, no stability promised."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._apply.scrub import secret_values
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    Engine,
    Resources,
    SecretFile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    LoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release import names, weights
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    ProcessSpec,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    release_id,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.strategy import (
    canary_replicas,
)


class GroupCommit:
    """Persist a load balancer once for all changes that were confirmed while the last write ran."""

    def __init__(self, balancer: LoadBalancer) -> None:
        self._balancer = balancer
        self._writing = threading.Lock()
        self._count = threading.Lock()
        self._requested = 0
        self._written = 0

    def persist(self) -> None:
        """Return when everything changed before this call is on disk."""
        with self._count:
            self._requested += 1
            ticket = self._requested
        with self._writing:
            if self._written >= ticket:
                return
            with self._count:
                covers = self._requested
            self._balancer.persist()
            self._written = covers


@dataclass(frozen=True)
class Balancer:
    """A load balancer backend with its own group commit."""

    driver: LoadBalancer
    commit: GroupCommit


@dataclass(frozen=True)
class Release:
    """The wanted release: validated spec, image ID, release ID, the argv each process runs."""

    spec: AppSpec
    image_id: str
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    passed: frozenset[str] = frozenset()
    """The gates it was let through."""
    going_back: bool = False
    """It ran before, and what ran since is given up."""
    delay: float = 0
    """How many seconds longer what it replaced is kept."""
    took_over: bool = False

    @property
    def id(self) -> str:
        """The release ID."""
        return release_id(self.spec, self.image_id)

    def goal(self) -> Goal:
        """Return what the planner works towards."""
        return Goal(
            self.spec.scope,
            self.id,
            tuple(self._want(process) for process in self.spec.processes),
            strategy=self.spec.strategy.type,
            passed=self.passed,
            going_back=self.going_back,
            gates=self.spec.strategy.gates,
            delay=self.delay,
            took_over=self.took_over,
            steps=self.spec.strategy.steps,
            equal=weights.FLEET if self.spec.balancer_hosts else weights.EQUAL,
        )

    @property
    def wanted_replicas(self) -> int:
        """How many replicas it has in all; 0 for the release that takes everything away."""
        return sum(process.replicas for process in self.spec.processes)

    def secret_values(self) -> tuple[str, ...]:
        """Return what no message may show, read from the host's files at this moment; OSError: unreadable."""
        return secret_values(dict(self.spec.env), (item.source for item in self.spec.secrets))

    def labels(self, process: str) -> Mapping[str, str]:
        """Return the labels that every replica of a process carries, whatever its release."""
        return {names.APP: self.spec.app, names.PROCESS: process}

    def _want(self, process: ProcessSpec) -> Want:
        return Want(
            process=process.name,
            release=self.id,
            replicas=process.replicas,
            port=process.port,
            max_surge=process.max_surge,
            max_unavailable=process.max_unavailable,
            load_balancers=sum(ref.process == process.name for ref in self.spec.load_balancers),
            warm_up=bool(process.warm_up.requests),
            version=self.spec.version,
            canary=canary_replicas(self.spec.strategy, process.replicas),
        )

    def replica_name(self, process: str, slot: int) -> str:
        """Name one of its replicas."""
        return names.replica_name(self.spec.scope, process, self.id, slot)

    def container(
        self, process: ProcessSpec, slot: int, state_dir: str, port: int = 0
    ) -> ContainerSpec:
        """Return what a replica of this release is created from; C(port): published at the host's address."""
        app, address = self.spec.app, self.spec.fleet.address
        published = {names.PUBLISHED: f"{address}:{port}"} if port else {}
        return ContainerSpec(
            name=self.replica_name(process.name, slot),
            image_id=self.image_id,
            network=self.spec.network,
            labels={
                names.APP: app,
                names.PROCESS: process.name,
                names.RELEASE: self.id,
                names.REPLICA: str(slot),
                names.VERSION: self.spec.version,
                names.PORT: str(process.port),
                **published,
            },
            env={**dict(self.spec.env), "PORT": str(process.port)},
            resources=Resources(process.limits.memory, process.limits.cpus, process.limits.pids),
            command=process.command or self.commands.get(process.name, ()),
            secrets=tuple(SecretFile(secret.name, secret.source) for secret in self.spec.secrets),
            stop_signal=process.stop.signal,
            secrets_dir=self.secrets_dir(state_dir),
            publish=(address, port, process.port) if port else None,
        )

    def secrets_dir(self, state_dir: str) -> str:
        """Return the folder for the copies of secrets that containers mount."""
        return os.path.join(state_dir, "apps", self.spec.app, "replicas")


@dataclass(frozen=True)
class Site:
    """The host: its engine, its load balancers by process, its state folder, its clock."""

    engine: Engine
    balancers: Mapping[str, tuple[Balancer, ...]]
    state_dir: str
    clock: Clock
    scope: str = ""
    """What the names of the app's replicas on this host begin with; empty: the app's name."""

    def drivers(self, process: str) -> tuple[LoadBalancer, ...]:
        """Return the load balancer drivers of a process type."""
        return tuple(balancer.driver for balancer in self.balancers.get(process, ()))
