# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Engine behind the engine seam; private, no stability promised.

Costs decide the shape: one round trip per list, image users and subnets remembered (they never
change under one ID), the API version negotiated once, one client per thread because requests
sessions are not safe across threads.
"""

from __future__ import annotations

import contextlib
import re
import secrets as randomness
import threading
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock, SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._disk import Space, space
from ansible_collections.immutable.cutover.plugins.module_utils._engine import (
    docker_config as config,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine import docker_look as look
from ansible_collections.immutable.cutover.plugins.module_utils._engine import (
    secrets as secret_files,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.addresses import (
    dynamic_range,
    fixed_range,
    pick_address,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Engine,
    Image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_errors import (
    MINIMUM_API,
    engine_errors,
    too_old,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

try:
    from docker import APIClient
except ImportError:
    APIClient = None  # the factory says so before a driver is made

DEFAULT_HOST = "unix:///var/run/docker.sock"
NETWORK_LABEL = "immutable.cutover.network"

_TESTED_API = (1, 44)
"""The newest API whose answers this driver was written against; newer engines still speak it."""

_ATTEMPTS = 5


class DockerEngine(Engine):
    """One Docker Engine, on this host, by its unix socket."""

    def __init__(
        self, host: str = DEFAULT_HOST, timeout: int = 60, clock: Clock | None = None
    ) -> None:
        self._host = host
        self._timeout = timeout
        self._clock = clock or SystemClock()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._api = ""
        self._users: dict[str, config.User] = {}
        self._ranges: dict[str, IPv4Network | None] = {}
        self._reserved: set[tuple[str, str]] = set()

    def version(self) -> str:
        """Return the engine's version; shows that it can be reached, used, and is new enough."""
        with self._errors("connect"):
            return str(self._client().version()["Version"])

    def image(self, reference: str) -> Image | None:
        """Return the image with this ID or reference, or None."""
        try:
            with self._errors(f"inspect image {reference}"):
                return config.image_from(self._client().inspect_image(reference))
        except EngineError as error:
            if error.details.get("kind") in ("image_missing", "not_found"):
                return None
            raise

    def images(self, labels: Mapping[str, str]) -> tuple[Image, ...]:
        """Return the images that carry all these labels, newest first."""
        with self._errors("list images"):
            rows = self._client().images(filters=config.label_filter(labels))
            found = sorted(rows, key=lambda row: (-int(row["Created"]), row["Id"]))
        images = (self.image(row["Id"]) for row in found)
        return tuple(image for image in images if image is not None)

    def missing_programs(
        self, image_id: str, programs: Sequence[str], path: str
    ) -> tuple[str, ...]:
        """Return those programs that a container of the image could not run."""
        with self._errors(f"look into image {image_id}"):
            return look.missing_programs(self._client(), image_id, programs, path, self._clock)

    def containers(self, labels: Mapping[str, str]) -> tuple[Container, ...]:
        """Return the containers with these labels, in one round trip; without start times."""
        with self._errors("list containers"):
            rows = self._client().containers(all=True, filters=config.label_filter(labels))
        return tuple(sorted(map(config.container_from_list, rows), key=lambda found: found.name))

    def inspect(self, container_id: str) -> Container | None:
        """Return one container by ID or name, or None when it is gone."""
        answer = self._inspect(container_id)
        return None if answer is None else config.container_from_inspect(answer)

    def start(self, spec: ContainerSpec) -> Container:
        """Create and start a hardened container; a failed start leaves nothing behind."""
        if not config.is_ours(spec.labels):
            raise EngineError(f"start {spec.name}: it has no label {config.OUR_LABEL}")
        user = self._user(spec.image_id)
        refused: set[str] = set()
        for attempt in range(1, _ATTEMPTS + 1):
            with self._address(spec, refused) as address:
                try:
                    return self._start(spec, user, address)
                except EngineError as error:
                    if (
                        error.details.get("kind") != "address_in_use"
                        or not address
                        or attempt == _ATTEMPTS
                    ):
                        raise
                    refused.add(address)
        raise AssertionError("the last attempt returns or raises")

    def ask_to_stop(self, container_id: str, signal: str) -> None:
        """Send the signal by ID, once, and do not wait."""
        answer = self._to_stop(container_id)
        if not answer["State"]["Running"]:
            return
        client = self._client()
        try:
            with self._errors(f"stop {answer['Name'].lstrip('/')}"):
                # Only the container's own stop signal keeps the engine from restarting it.
                client.update_container(container_id, restart_policy={"Name": "no"})
                client.kill(container_id, signal)
        except EngineError as error:
            if error.details.get("kind") != "conflict":  # it has ended by itself
                raise

    def _to_stop(self, container_id: str) -> Mapping[str, Any]:
        answer = self._inspect(container_id)
        if answer is None:
            raise EngineError(f"stop {container_id[:12]}: it is gone", kind="not_found")
        self._check_ours("stop", answer)
        return answer

    def stop(self, container_id: str, signal: str, grace_period: int) -> int:
        """Stop by ID and return the exit code; 137 means that it had to be killed."""
        answer = self._to_stop(container_id)
        if answer["State"]["Running"] and answer["Config"].get("StopSignal") != signal:
            self.ask_to_stop(container_id, signal)
            _wait_gone(self._client(), container_id, grace_period)
            grace_period = 0
        with self._errors(f"stop {answer['Name'].lstrip('/')}"):
            self._client().stop(container_id, timeout=grace_period)
        after = self.inspect(container_id)
        return -1 if after is None or after.exit_code is None else after.exit_code

    def remove(self, container_id: str) -> bool:
        """Remove a stopped container and its secrets; False when it was gone."""
        answer = self._inspect(container_id)
        if answer is None:
            return False
        self._check_ours("remove", answer)
        name = answer["Name"].lstrip("/")
        try:
            with self._errors(f"remove {name}"):
                self._client().remove_container(answer["Id"], v=True)
        except EngineError as error:
            if error.details.get("kind") != "not_found":
                raise
        secret_files.discard_mounted(config.secret_sources(answer), name)
        return True

    def logs(self, container_id: str, tail: int) -> str:
        """Return the last lines it logged, stdout and stderr in order."""
        with self._errors(f"read the log of {container_id[:12]}"):
            raw: bytes = self._client().logs(container_id, stdout=True, stderr=True, tail=tail)
        return raw.decode(errors="replace").rstrip("\n")

    def remove_image(self, image_id: str) -> bool:
        """Remove an image with all its tags, unless a container, running or not, uses it."""
        with self._errors(f"remove image {image_id}"):
            users = self._client().containers(all=True, filters={"ancestor": image_id})
        if users:
            names = ", ".join(sorted(config.container_from_list(row).name for row in users))
            raise EngineError(f"remove image {image_id}: used by {names}", kind="in_use")
        try:
            with self._errors(f"remove image {image_id}"):
                self._client().remove_image(image_id, force=True)
        except EngineError as error:
            if error.details.get("kind") in ("image_missing", "not_found"):
                return False
            raise
        return True

    def ensure_network(self, name: str) -> bool:
        """Make the network unless it is there; half of its subnet is kept for fixed addresses."""
        made = ""
        for _attempt in range(2 * _ATTEMPTS):
            same_name = self._networks_named(name)
            if (
                len(same_name) > 1
            ):  # made by two processes at the same moment: each withdraws its own
                if made:
                    self._remove_network(made)
                    made = ""
                self._clock.sleep(randomness.randbelow(200) / 1000)
            elif same_name:
                return made in same_name
            else:
                made = self._make_network(name, self._free_subnet(name))
        raise EngineError(f"make network {name}: others keep making it too", kind="conflict")

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks."""
        with self._errors("list networks"):
            return tuple(sorted(row["Name"] for row in self._client().networks()))

    def space(self) -> Space | None:
        """Return where images and containers are kept, and what is free there."""
        if not self._host.startswith("unix://"):
            return None
        with self._errors("ask where images are kept"):
            return space(str(self._client().info().get("DockerRootDir", "")))

    def sweep_secrets(self, secrets_dir: str, *, look: bool = False) -> tuple[str, ...]:
        """Remove what a start that was killed left over."""
        if not secret_files.entries(secrets_dir):
            return ()
        return secret_files.sweep(secrets_dir, self.secret_sources(), look=look)

    def secret_sources(self) -> tuple[str, ...]:
        """Return every host path that a container mounts as a secret (to sweep the others)."""
        with self._errors("list containers"):
            rows = self._client().containers(all=True)
        return tuple(source for row in rows for source in config.secret_sources(row))

    def _client(self) -> Any:
        """Return this thread's client, with the API version agreed on once."""
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._new_client(self._api or self._negotiate())
            self._local.client = client
        return client

    def _new_client(self, version: str) -> Any:
        client = APIClient(base_url=self._host, version=version, timeout=self._timeout)
        client.trust_env = False  # no netrc and proxy look-ups for each call on a unix socket
        return client

    def _negotiate(self) -> str:
        """Ask for the engine's API version by the cheapest call there is."""
        client = self._new_client(_dotted(MINIMUM_API))
        try:
            answer = client.get(f"{client.base_url}/_ping", timeout=self._timeout)
            found = answer.headers.get("Api-Version", "0.0")
        finally:
            client.close()
        theirs = tuple(int(part) for part in found.split("."))
        if theirs < MINIMUM_API:
            raise too_old(f"API {found}")
        self._api = _dotted(min(theirs, _TESTED_API))
        return self._api

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        with engine_errors(what, self._host):
            yield

    def _inspect(self, container_id: str) -> config.Json | None:
        try:
            with self._errors(f"inspect container {container_id[:12]}"):
                answer: config.Json = self._client().inspect_container(container_id)
        except EngineError as error:
            if error.details.get("kind") == "not_found":
                return None
            raise
        return answer

    def _check_ours(self, verb: str, answer: config.Json) -> None:
        if not config.is_ours(answer["Config"].get("Labels") or {}):
            raise EngineError(
                f"{verb} {answer['Name'].lstrip('/')}: not ours, it has no label {config.OUR_LABEL}"
            )

    def _user(self, image_id: str) -> config.User:
        user = self._users.get(image_id)
        if user is None:
            image = self.image(image_id)
            if image is None:
                raise EngineError(f"image {image_id} is not on this host", kind="image_missing")
            user = self._users[image_id] = config.numeric_user(image)
        return user

    def _start(self, spec: ContainerSpec, user: config.User, address: str | None) -> Container:
        client = self._client()
        with contextlib.ExitStack() as on_failure:
            mounts: tuple[config.SecretMount, ...] = ()
            if spec.secrets:
                directory, mounts = secret_files.place(spec, user)
                on_failure.callback(secret_files.discard, directory)
            with self._errors(f"create container {spec.name}"):
                body = config.create_config(spec, mounts, address)
                container_id = client.create_container_from_config(body, spec.name)["Id"]
            on_failure.callback(self._discard_container, container_id)
            with self._errors(f"start container {spec.name}"):
                client.start(container_id)
            started = self.inspect(container_id)
            if started is None:
                raise EngineError(f"start container {spec.name}: somebody removed it")
            on_failure.pop_all()
        return started

    def _discard_container(self, container_id: str) -> None:
        """Take back a container that never ran well; ours by its ID, whatever its labels."""
        with contextlib.suppress(EngineError), self._errors("remove the failed container"):
            self._client().remove_container(container_id, v=True, force=True)

    @contextlib.contextmanager
    def _address(self, spec: ContainerSpec, refused: set[str]) -> Iterator[str | None]:
        """Choose a fixed address and keep it from other threads until the container has it."""
        free = self._fixed_range(spec.network)
        if free is None:
            yield None
            return
        with self._lock:
            used = self._used_addresses(spec.network) | refused
            used |= {address for network, address in self._reserved if network == spec.network}
            address = pick_address(free, used, spec.name)
            self._reserved.add((spec.network, address))
        try:
            yield address
        finally:
            with self._lock:
                self._reserved.discard((spec.network, address))

    def _used_addresses(self, network: str) -> set[str]:
        with self._errors(f"list containers of network {network}"):
            rows = self._client().containers(all=True, filters={"network": network})
        return {address for row in rows for address in config.fixed_addresses(row, network)}

    def _fixed_range(self, network: str) -> IPv4Network | None:
        if network not in self._ranges:
            with self._errors(f"inspect network {network}"):
                pools = self._client().inspect_network(network)["IPAM"].get("Config") or [{}]
            self._ranges[network] = fixed_range(
                pools[0].get("Subnet") or "", pools[0].get("IPRange") or ""
            )
        return self._ranges[network]

    def _networks_named(self, name: str) -> list[str]:
        with self._errors(f"find network {name}"):
            rows = self._client().networks(filters={"name": f"^{re.escape(name)}$"})
        return [row["Id"] for row in rows if row["Name"] == name]

    def _free_subnet(self, name: str) -> str:
        """Let the engine choose: make a network, see what it got, remove it."""
        client = self._client()
        probe = f"{name}-subnet-{randomness.token_hex(4)}"
        with self._errors(f"find a free subnet for network {name}"):
            network_id = client.create_network(probe, driver="bridge")["Id"]
            try:
                return str(client.inspect_network(network_id)["IPAM"]["Config"][0]["Subnet"])
            finally:
                client.remove_network(network_id)

    def _make_network(self, name: str, subnet: str) -> str:
        """Return the new network's ID; empty when another process took name or subnet."""
        pool = {"Subnet": subnet, "IPRange": dynamic_range(subnet)}
        try:
            with self._errors(f"make network {name}"):
                answer = self._client().create_network(
                    name,
                    driver="bridge",
                    ipam={"Driver": "default", "Config": [pool]},
                    check_duplicate=True,
                    labels={NETWORK_LABEL: "1"},
                )
        except EngineError as error:
            if error.details.get("kind") in ("subnet_taken", "conflict"):
                return ""
            raise
        self._ranges.pop(name, None)
        return str(answer["Id"])

    def _remove_network(self, network_id: str) -> None:
        with self._errors("remove a network made twice"):
            self._client().remove_network(network_id)


def _wait_gone(client: Any, container_id: str, grace_period: int) -> None:
    """Wait for its end, at most the grace period; that it did not come is seen by what follows."""
    with contextlib.suppress(EngineError), engine_errors("wait", ""):
        client.wait(container_id, timeout=max(1, grace_period), condition="not-running")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
