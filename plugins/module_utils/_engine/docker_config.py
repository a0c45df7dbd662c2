# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is created with, and what the Docker API's answers mean; private. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

Json = Mapping[str, Any]
"""An answer of the engine, as decoded from JSON."""

OUR_LABEL = "immutable.cutover.app"
"""Every container this collection starts carries it. Others of our labels say nothing: an image's labels show on
every container of it, whoever started that."""

SECRETS_MOUNT = "/run/secrets/"
TMPFS_OPTIONS = "rw,noexec,nosuid,nodev,size=64m"
RESTARTS = 5
_RESTARTS = {"Name": "on-failure", "MaximumRetryCount": RESTARTS}
LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}

_USER = re.compile(r"(\d{1,10})(?::(\d{1,10}))?", re.ASCII)
_EXITED = re.compile(r"Exited \((\d+)\)")


@dataclass(frozen=True)
class User:
    """The numeric user an image runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class SecretMount:
    """A secret's copy for one container, and the name it has inside."""

    name: str
    source: str


def numeric_user(image: Image) -> User:
    """Return the image's user; one that is root, or cannot be told from root, is refused."""
    match = _USER.fullmatch(image.user)
    if match is None and image.user not in ("", "root") and not image.user.startswith("root:"):
        raise EngineError(
            f"image {image.id}: user {image.user!r} is not numeric, so it cannot be told from root; "
            "set a numeric user in the recipe",
            kind="root_user",
        )
    if match is None or int(match.group(1)) == 0:
        raise EngineError(
            f"image {image.id} runs as root; set a numeric, non-root user in the recipe",
            kind="root_user",
        )
    return User(int(match.group(1)), int(match.group(2) or 0))


def create_config(
    spec: ContainerSpec, secrets: Sequence[SecretMount], address: str | None
) -> dict[str, Any]:
    """Return the body of the create call: hardened, on the one network, one published port at most."""
    endpoint: dict[str, Any] = {"IPAMConfig": {"IPv4Address": address}} if address else {}
    config: dict[str, Any] = {
        "Image": spec.image_id,
        "Hostname": spec.name[:63],
        "Env": [f"{name}={value}" for name, value in sorted(spec.env.items())],
        "Labels": dict(spec.labels),
        "StopSignal": spec.stop_signal,
        "HostConfig": _host_config(spec, secrets),
        "NetworkingConfig": {"EndpointsConfig": {spec.network: endpoint}},
    }
    if spec.command:
        config["Cmd"] = list(spec.command)
    if spec.publish:
        address, port, inside = spec.publish
        config["ExposedPorts"] = {f"{inside}/tcp": {}}
        place = {"HostIp": address, "HostPort": str(port)}
        config["HostConfig"]["PortBindings"] = {f"{inside}/tcp": [place]}
    return config


def _host_config(spec: ContainerSpec, secrets: Sequence[SecretMount]) -> dict[str, Any]:
    return {
        "NetworkMode": spec.network,
        "ReadonlyRootfs": True,
        "Tmpfs": dict.fromkeys(spec.tmpfs, TMPFS_OPTIONS),
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "PidsLimit": spec.resources.pids,
        "Memory": spec.resources.memory,
        "MemorySwap": spec.resources.memory,
        "NanoCpus": int(spec.resources.cpus * 1_000_000_000),
        "Init": True,
        "IpcMode": "private",
        "RestartPolicy": _RESTARTS if spec.restarts else {"Name": "no"},
        "LogConfig": LOG,
        "Mounts": [
            {
                "Type": "bind",
                "Source": secret.source,
                "Target": SECRETS_MOUNT + secret.name,
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate"},
            }
            for secret in secrets
        ],
    }


def image_from(answer: Json) -> Image:
    """Read an image inspect answer."""
    config = answer.get("Config") or {}
    return Image(
        id=answer["Id"],
        labels=dict(config.get("Labels") or {}),
        tags=tuple(sorted(answer.get("RepoTags") or ())),
        user=config.get("User") or "",
        architecture=answer.get("Architecture") or "",
        size=int(answer.get("Size") or 0),
    )


def container_from_list(answer: Json) -> Container:
    """Read one row of a container list. It has no start time: inspect() has."""
    exited = _EXITED.match(answer.get("Status") or "")
    return Container(
        id=answer["Id"],
        name=_own_name(answer.get("Names") or ()),
        image_id=answer["ImageID"],
        state=answer["State"],
        labels=dict(answer.get("Labels") or {}),
        address=_address(answer),
        exit_code=int(exited.group(1)) if exited else None,
    )


def container_from_inspect(answer: Json) -> Container:
    """Read a container inspect answer."""
    state = answer["State"]
    ended = state["Status"] in ("exited", "dead", "restarting")
    error = state.get("Error") or ""
    if state.get("OOMKilled"):
        error = f"killed by the kernel: out of memory. {error}".strip()
    return Container(
        id=answer["Id"],
        name=answer["Name"].lstrip("/"),
        image_id=answer["Image"],
        state=state["Status"],
        labels=dict(answer["Config"].get("Labels") or {}),
        address=_address(answer),
        exit_code=int(state["ExitCode"]) if ended else None,
        started_at=state.get("StartedAt") or "",
        error=error,
    )


def fixed_addresses(answer: Json, network: str) -> set[str]:
    """Return the addresses a container has or will have on a network, whether it runs or not."""
    endpoint = _networks(answer).get(network) or {}
    wanted = (endpoint.get("IPAMConfig") or {}).get("IPv4Address")
    return {address for address in (endpoint.get("IPAddress"), wanted) if address}


def is_ours(labels: Mapping[str, str]) -> bool:
    """Whether a container with these labels was started by this collection."""
    return OUR_LABEL in labels


def _own_name(names: Sequence[str]) -> str:
    """Return the name without the names other containers' links give it."""
    return min((name.lstrip("/") for name in names), key=lambda name: name.count("/"), default="")


def _networks(answer: Json) -> Mapping[str, Json]:
    return (answer.get("NetworkSettings") or {}).get("Networks") or {}


def _address(answer: Json) -> str:
    networks = _networks(answer)
    mode = (answer.get("HostConfig") or {}).get("NetworkMode") or ""
    endpoint = networks.get(mode) or next(iter(networks.values()), {})
    return endpoint.get("IPAddress") or ""


def secret_sources(answer: Json) -> tuple[str, ...]:
    """Return the host paths that a container mounts as secrets."""
    mounts = answer.get("Mounts") or ()
    return tuple(
        mount["Source"]
        for mount in mounts
        if str(mount.get("Destination", "")).startswith(SECRETS_MOUNT)
    )


def label_filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what a list is filtered by; an empty value matches any."""
    if not labels:
        return {}
    return {"label": [f"{key}={value}" if value else key for key, value in labels.items()]}
