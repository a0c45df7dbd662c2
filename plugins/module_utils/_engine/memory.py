# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reference engine in memory, for tests of what drives an engine; private, no stability promised.

It keeps the contract of the seam (idempotence, errors, fixed addresses, nothing left after a failed start) and can
be told to fail: C(fail("start", "shop-web-1"), times=1), C(crash(id, 1)).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.immutable.cutover.plugins.module_utils._disk import Space
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Engine,
    Image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

Address = Callable[[ContainerSpec, int], str]


def any_address(_spec: ContainerSpec, number: int) -> str:
    """Return a different address for each container."""
    return f"10.0.{number // 250}.{number % 250 + 1}"


@dataclass
class Fault:
    """What will fail: an operation on a name, a number of times, after or before it took effect."""

    operation: str
    name: str
    times: int
    after: bool
    error: EngineError


@dataclass
class _Stored:
    container: Container
    spec: ContainerSpec
    address: str
    log: list[str] = field(default_factory=list)


class MemoryEngine(Engine):
    """An engine whose containers are entries of a dictionary."""

    def __init__(
        self, *images: Image, address: Address = any_address, network: str = "cutover"
    ) -> None:
        self.calls: list[tuple[str, str]] = []
        """Every call that changes something: operation and container name, image ID or network name."""
        self.exit_code_on_stop = 143
        self.deaf: set[str] = set()
        """Who ends only when it is killed."""
        self.programs: set[str] | None = None
        """The programs that every image has; None: all there are."""
        self.looks = 0
        self.started_at = "2026-01-01T00:00:00"
        """When what starts from now on has started; each gets a fraction of its own."""
        self.free: int | None = None
        """Bytes that are free; None: not known."""
        self._images = {image.id: image for image in images}
        self._address = address
        self._networks = {network}
        self._containers: dict[str, _Stored] = {}
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # What tests do to it.

    def fail(
        self,
        operation: str,
        name: str = "",
        *,
        times: int = 1,
        after: bool = False,
        error: EngineError | None = None,
    ) -> None:
        """Make the next calls of an operation fail; C(after): only once it took effect."""
        wanted = error or EngineError(f"{operation} {name}: injected fault", kind="refused")
        self._faults.append(Fault(operation, name, times, after, wanted))

    def crash(self, name: str, exit_code: int = 1, *log: str) -> None:
        """End a container's process."""
        with self._lock:
            stored = self._named(name)
            if stored is None:
                raise KeyError(name)
            stored.log.extend(log)
            stored.container = _ended(stored.container, exit_code)

    def restart(self, name: str) -> None:
        """End a container's process and start it anew, at the same address."""
        with self._lock:
            stored = self._named(name)
            if stored is None:
                raise KeyError(name)
            stored.container = _running(stored, next(self._numbers), self.started_at)

    def add(self, spec: ContainerSpec, state: str = "running") -> Container:
        """Put a container there as if somebody else had made it."""
        with self._lock:
            stored = self._make(spec)
            if state == "running":
                stored.container = _running(stored, next(self._numbers), self.started_at)
            else:
                stored.container = replace(stored.container, state=state)
            return stored.container

    # The seam.

    def version(self) -> str:
        """Return a version."""
        self._fault("version", "", after=False)
        return "memory"

    def image(self, reference: str) -> Image | None:
        """Return the image with this ID or tag, or None."""
        found = self._images.get(reference)
        return found or next(
            (image for image in self._images.values() if reference in image.tags), None
        )

    def images(self, labels: Mapping[str, str]) -> tuple[Image, ...]:
        """Return the images that carry all these labels."""
        return tuple(image for image in self._images.values() if _carries(image.labels, labels))

    def missing_programs(
        self, image_id: str, programs: Sequence[str], path: str
    ) -> tuple[str, ...]:
        """Return those programs that a test did not put into the images."""
        self.looks += 1
        known = set(programs) if self.programs is None else self.programs
        return tuple(program for program in programs if program not in known)

    def containers(self, labels: Mapping[str, str]) -> tuple[Container, ...]:
        """Return the containers that carry all these labels, sorted by name."""
        self._fault("containers", "", after=False)
        with self._lock:
            found = [stored.container for stored in self._containers.values()]
        carrying = (container for container in found if _carries(container.labels, labels))
        return tuple(sorted(carrying, key=lambda container: container.name))

    def inspect(self, container_id: str) -> Container | None:
        """Return one container by ID or name, or None when it is gone."""
        with self._lock:
            stored = self._containers.get(container_id) or self._named(container_id)
            return stored.container if stored else None

    def start(self, spec: ContainerSpec) -> Container:
        """Create and start; a failed start leaves nothing behind."""
        with self._lock, self._operation("start", spec.name):
            if self._named(spec.name) is not None:
                raise EngineError(
                    f"create container {spec.name}: the name is in use", kind="name_conflict"
                )
            if self.image(spec.image_id) is None:
                raise EngineError(
                    f"image {spec.image_id} is not on this host", kind="image_missing"
                )
            if spec.network not in self._networks:
                raise EngineError(f"network {spec.network} does not exist", kind="network_missing")
            stored = self._make(spec)
            stored.container = _running(stored, next(self._numbers), self.started_at)
            return stored.container

    def ask_to_stop(self, container_id: str, signal: str) -> None:
        """Send the signal, which ends it at once unless it is in C(deaf)."""
        with self._lock:
            stored = self._containers.get(container_id)
            if stored is None:
                raise EngineError(f"stop {container_id}: it is gone", kind="not_found")
            with self._operation("ask_to_stop", stored.spec.name):
                if stored.container.running and stored.spec.name not in self.deaf:
                    stored.container = _ended(stored.container, self.exit_code_on_stop)

    def stop(self, container_id: str, signal: str, grace_period: int) -> int:
        """Stop by ID and return the exit code."""
        with self._lock:
            stored = self._containers.get(container_id)
            if stored is None:
                raise EngineError(f"stop {container_id}: it is gone", kind="not_found")
            with self._operation("stop", stored.spec.name):
                if stored.container.running:
                    stored.container = _ended(stored.container, self.exit_code_on_stop)
            return stored.container.exit_code or 0

    def remove(self, container_id: str) -> bool:
        """Remove a stopped container; False when it was gone."""
        with self._lock:
            stored = self._containers.get(container_id)
            if stored is None:
                return False
            with self._operation("remove", stored.spec.name):
                if stored.container.running:
                    raise EngineError(f"remove {stored.spec.name}: it is running", kind="conflict")
                del self._containers[container_id]
            return True

    def logs(self, container_id: str, tail: int) -> str:
        """Return the last lines a test gave it."""
        stored = self._containers.get(container_id)
        return "\n".join(stored.log[-tail:]) if stored else ""

    def remove_image(self, image_id: str) -> bool:
        """Remove an image no container uses; False when it was gone."""
        with self._lock, self._operation("remove_image", image_id):
            users = [
                name.spec.name
                for name in self._containers.values()
                if name.spec.image_id == image_id
            ]
            if users:
                raise EngineError(
                    f"remove image {image_id}: used by {', '.join(users)}", kind="in_use"
                )
            return self._images.pop(image_id, None) is not None

    def ensure_network(self, name: str) -> bool:
        """Make a network; return whether it was made."""
        with self._lock, self._operation("ensure_network", name):
            made = name not in self._networks
            self._networks.add(name)
            return made

    def space(self) -> Space | None:
        """Return what a test says is free."""
        return None if self.free is None else Space("/memory", self.free)

    def sweep_secrets(self, secrets_dir: str, *, look: bool = False) -> tuple[str, ...]:
        """Find nothing: this engine keeps no files."""
        return ()

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks."""
        return tuple(sorted(self._networks))

    # The pieces.

    def _make(self, spec: ContainerSpec) -> _Stored:
        number = next(self._numbers)
        container = Container(
            id=f"{number:064x}",
            name=spec.name,
            image_id=spec.image_id,
            state="created",
            labels=dict(spec.labels),
        )
        stored = _Stored(container, spec, self._address(spec, number))
        self._containers[container.id] = stored
        return stored

    def _named(self, name: str) -> _Stored | None:
        return next((found for found in self._containers.values() if found.spec.name == name), None)

    def _operation(self, operation: str, name: str) -> _Operation:
        return _Operation(self, operation, name)

    def _fault(self, operation: str, name: str, *, after: bool) -> None:
        for fault in self._faults:
            hit = fault.operation == operation and fault.name in ("", name) and fault.after == after
            if hit and fault.times > 0:
                fault.times -= 1
                raise fault.error


class _Operation:
    """Record a changing call, and raise what was injected before or after it takes effect."""

    def __init__(self, engine: MemoryEngine, operation: str, name: str) -> None:
        self._engine = engine
        self._operation = operation
        self._name = name

    def __enter__(self) -> None:
        self._engine._fault(self._operation, self._name, after=False)
        self._engine.calls.append((self._operation, self._name))

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._engine._fault(self._operation, self._name, after=True)


def _running(stored: _Stored, number: int, started_at: str) -> Container:
    return replace(
        stored.container,
        state="running",
        address=stored.address,
        exit_code=None,
        started_at=f"{started_at}.{number:09d}Z",
    )


def _ended(container: Container, exit_code: int) -> Container:
    return replace(container, state="exited", address="", exit_code=exit_code)


def _carries(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(key in found and (not value or found[key] == value) for key, value in wanted.items())
