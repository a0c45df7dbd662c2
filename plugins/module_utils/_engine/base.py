# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine seam; private, no stability promised. A driver knows no plan and no load balancer."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._disk import Space


@dataclass(frozen=True)
class Resources:
    """Limits of one container: bytes, cores, processes."""

    memory: int
    cpus: float
    pids: int


@dataclass(frozen=True)
class SecretFile:
    """A secret that is already a root-only file on the host and is shown to the container read-only.

    C(source) is a host path; it appears as C(/run/secrets/<name>), mode 0400, owned by the container's user.
    """

    name: str
    source: str


@dataclass(frozen=True)
class ContainerSpec:
    """Everything a container is created from. Hardening is not an option here: it is what the driver does."""

    name: str
    image_id: str
    network: str
    labels: Mapping[str, str]
    env: Mapping[str, str]
    resources: Resources
    command: tuple[str, ...] = ()
    """Replaces the image's command when not empty."""
    secrets: tuple[SecretFile, ...] = ()
    tmpfs: tuple[str, ...] = ("/tmp",)
    stop_signal: str = "SIGTERM"
    secrets_dir: str = ""
    """Host directory (0700, ours) below which the driver keeps per-container secret copies."""
    restarts: bool = True
    """Whether the engine starts it again a few times when its process fails."""
    publish: tuple[str, int, int] | None = None
    """Address and port of the host, and the container's own port behind them."""


@dataclass(frozen=True)
class Container:
    """One container as the engine shows it now."""

    id: str
    name: str
    image_id: str
    state: str
    """created, running, restarting, exited, dead, removing, paused."""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    """Its address on the network it was created on; empty when not running."""
    exit_code: int | None = None
    started_at: str = ""
    error: str = ""

    @property
    def running(self) -> bool:
        """Whether its process runs now."""
        return self.state == "running"


@dataclass(frozen=True)
class Image:
    """One image on the engine."""

    id: str
    labels: Mapping[str, str]
    tags: tuple[str, ...]
    user: str
    architecture: str
    size: int = 0


class Engine(abc.ABC):
    """One container engine on one host. Every failure is an EngineError. Safe to use from several threads."""

    @abc.abstractmethod
    def version(self) -> str:
        """Return the engine's version; the check that it can be reached and used."""

    @abc.abstractmethod
    def image(self, reference: str) -> Image | None:
        """Return the image with this ID or reference, or None."""

    @abc.abstractmethod
    def images(self, labels: Mapping[str, str]) -> tuple[Image, ...]:
        """Return the images that carry all these labels (an empty value matches any)."""

    @abc.abstractmethod
    def missing_programs(
        self, image_id: str, programs: Sequence[str], path: str
    ) -> tuple[str, ...]:
        """Return those programs that a container of the image could not run; C(path): its PATH, if not the image's.

        Nothing is run for it. An image with an entrypoint of its own runs that, whatever the programs are.
        """

    @abc.abstractmethod
    def containers(self, labels: Mapping[str, str]) -> tuple[Container, ...]:
        """Return the containers, running or not, that carry all these labels, sorted by name."""

    @abc.abstractmethod
    def inspect(self, container_id: str) -> Container | None:
        """Return one container by ID, or None when it is gone."""

    @abc.abstractmethod
    def start(self, spec: ContainerSpec) -> Container:
        """Create and start a container with a fixed address; a failed start leaves nothing behind."""

    @abc.abstractmethod
    def ask_to_stop(self, container_id: str, signal: str) -> None:
        """Send the signal by ID, once, and do not wait; what ends of it is not started anew."""

    @abc.abstractmethod
    def stop(self, container_id: str, signal: str, grace_period: int) -> int:
        """Stop by ID, wait, and return the exit code; 137 means that it had to be killed."""

    @abc.abstractmethod
    def remove(self, container_id: str) -> bool:
        """Remove a stopped container and what start() made for it; False when it was gone."""

    @abc.abstractmethod
    def logs(self, container_id: str, tail: int) -> str:
        """Return the last lines it logged."""

    @abc.abstractmethod
    def remove_image(self, image_id: str) -> bool:
        """Remove an image no container uses; False when it was gone."""

    @abc.abstractmethod
    def ensure_network(self, name: str) -> bool:
        """Make a user-defined bridge network with room for fixed addresses; return whether it was made."""

    @abc.abstractmethod
    def sweep_secrets(self, secrets_dir: str, *, look: bool = False) -> tuple[str, ...]:
        """Remove secret copies below a ContainerSpec.secrets_dir that no container uses; return their names.

        C(look): only return them.
        """

    @abc.abstractmethod
    def space(self) -> Space | None:
        """Return where on this host images and containers are kept, and what is free there; None: not known."""

    @abc.abstractmethod
    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks."""
