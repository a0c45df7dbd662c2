# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the module replica, validated whole before anything is touched; private. No engine is asked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Resources,
    SecretFile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN, InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    Known,
    nothing_known,
    parse_reference,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import HttpProbe
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import (
    LABEL_PREFIX,
    check_env_name,
    check_name,
    names_a_secret,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    SIGNALS,
    check_cpus,
    parse_limits,
)

CONFIG_LABEL = LABEL_PREFIX + "config"

READINESS_SPEC: dict[str, dict[str, Any]] = {
    "path": {"type": "str", "default": "/readyz"},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "expect": {"type": "str", "default": ""},
    "interval": {"type": "int", "default": 1},
    "successes": {"type": "int", "default": 2},
    "timeout": {"type": "int", "default": 60},
}
RESOURCES_SPEC: dict[str, dict[str, Any]] = {
    "memory": {"type": "str", "default": "256m"},
    "cpus": {"type": "float", "default": 1},
    "pids": {"type": "int", "default": 128},
}
STOP_SPEC: dict[str, dict[str, Any]] = {
    "signal": {"type": "str", "choices": list(SIGNALS), "default": "SIGTERM"},
    "grace_period": {"type": "int", "default": 30},
}
SECRET_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "source": {"type": "path", "required": True},
}
REPLICA_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "default": ""},
    "port": {"type": "int", "default": 8080},
    "command": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "dict", "default": {}},
    # Names and paths of files; no value of a secret ever is an option.
    "secrets": {
        "type": "list",
        "elements": "dict",
        "options": SECRET_SPEC,
        "default": [],
        "no_log": False,
    },
    "labels": {"type": "dict", "default": {}},
    "network": {"type": "str", "default": "cutover"},
    "readiness": {"type": "dict", "options": READINESS_SPEC, "default": {}},
    "warm_up": {"type": "list", "elements": "str", "default": []},
    "resources": {"type": "dict", "options": RESOURCES_SPEC, "default": {}},
    "stop": {"type": "dict", "options": STOP_SPEC, "default": {}},
}

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,98}[a-z0-9])?", re.ASCII)
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class ReplicaWanted:
    """One replica as it was asked for; the image is a reference, still to be resolved."""

    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    secrets: tuple[SecretFile, ...]
    labels: Mapping[str, str]
    network: str
    resources: Resources
    probe: HttpProbe
    interval: int
    successes: int
    timeout: int
    warm_up: tuple[str, ...]
    signal: str
    grace_period: int

    def digest(self, image_id: str, secret_digests: Mapping[str, str]) -> str:
        """Return a short digest of all that a running container cannot change; too short to guess a secret by."""
        content = {
            "image": image_id,
            "command": self.command,
            "env": dict(self.env),
            "secrets": dict(secret_digests),
            "labels": dict(self.labels),
            "network": self.network,
            "resources": [self.resources.memory, self.resources.cpus, self.resources.pids],
            "signal": self.signal,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def read_replicas(
    items: list[Mapping[str, Any]],
    *,
    present: bool,
    cpus: int | None,
    known: Known = nothing_known,
) -> list[ReplicaWanted]:
    """Validate every replica; C(cpus) and the C(known) images are the host's."""
    if not items:
        raise InvalidInput("replicas", items, "must name at least one replica")
    found = [
        _replica(item, f"replicas[{index}]", cpus, known if present else None)
        for index, item in enumerate(items)
    ]
    seen: set[str] = set()
    for index, wanted in enumerate(found):
        if wanted.name in seen:
            raise InvalidInput(
                f"replicas[{index}].name", wanted.name, "every replica must be given once"
            )
        seen.add(wanted.name)
    return found


def _replica(
    item: Mapping[str, Any], path: str, cpus: int | None, known: Known | None
) -> ReplicaWanted:
    readiness, stop = item["readiness"], item["stop"]
    image = item["image"]
    if known is not None and not _IMAGE_ID.fullmatch(image):
        parse_reference(image, f"{path}.image", known)
    return ReplicaWanted(
        name=check_name(item["name"], f"{path}.name"),
        image=image,
        command=tuple(item["command"]),
        env=_env(item, path),
        secrets=_secrets(item["secrets"], f"{path}.secrets"),
        labels=_labels(item["labels"], f"{path}.labels"),
        network=check_name(item["network"], f"{path}.network"),
        resources=_resources(item["resources"], f"{path}.resources", cpus),
        probe=HttpProbe(
            readiness["path"],
            tuple(readiness["status"]),
            readiness["expect"],
            item["port"],
            option=f"{path}.readiness",
        ),
        interval=_seconds(readiness["interval"], f"{path}.readiness.interval"),
        successes=_whole(readiness["successes"], f"{path}.readiness.successes", 1, 100),
        timeout=_seconds(readiness["timeout"], f"{path}.readiness.timeout"),
        warm_up=_warm_up(item["warm_up"], f"{path}.warm_up", item["port"]),
        signal=stop["signal"],
        grace_period=_seconds(stop["grace_period"], f"{path}.stop.grace_period"),
    )


def _resources(options: Mapping[str, Any], path: str, cpus: int | None) -> Resources:
    limits = parse_limits(Fields(options, path))
    if cpus is not None:
        check_cpus(limits, path, cpus)
    return Resources(limits.memory, limits.cpus, limits.pids)


def _env(item: Mapping[str, Any], path: str) -> dict[str, str]:
    env = {}
    for name, value in sorted(item["env"].items()):
        option = f"{path}.env.{name}"
        check_env_name(name, option)
        if name == "PORT":
            raise InvalidInput(option, value, f"is set from {path}.port")
        if names_a_secret(name):
            raise InvalidInput(option, HIDDEN, "looks like a secret; use secrets")
        if value is None or isinstance(value, (dict, list)) or "\0" in str(value):
            raise InvalidInput(option, value, "must be a string, a number or a boolean")
        env[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return {**env, "PORT": str(item["port"])}


def _secrets(items: list[Mapping[str, Any]], path: str) -> tuple[SecretFile, ...]:
    found: list[SecretFile] = []
    for index, item in enumerate(items):
        name = check_env_name(item["name"], f"{path}[{index}].name")
        if name in [secret.name for secret in found]:
            raise InvalidInput(f"{path}[{index}].name", name, "every secret must be given once")
        if not item["source"].startswith("/"):
            raise InvalidInput(
                f"{path}[{index}].source", item["source"], "must be an absolute path on the host"
            )
        found.append(SecretFile(name, item["source"]))
    return tuple(found)


def _labels(labels: Mapping[str, Any], path: str) -> dict[str, str]:
    for key, value in labels.items():
        if not _LABEL.fullmatch(key):
            raise InvalidInput(
                f"{path}.{key}", key, "label must be lower-case letters, digits and . _ / -"
            )
        if key.startswith(LABEL_PREFIX):
            raise InvalidInput(f"{path}.{key}", key, "label prefix is reserved")
        if not isinstance(value, str) or not value.isprintable():
            raise InvalidInput(
                f"{path}.{key}", value, "must be a string without control characters"
            )
    return dict(labels)


def _warm_up(paths: list[str], path: str, port: int) -> tuple[str, ...]:
    for index, request in enumerate(paths):
        HttpProbe(request, (200,), "", port, option=f"{path}[{index}]")
    return tuple(paths)


def _seconds(value: int, path: str) -> int:
    if not 1 <= value <= 86400:
        raise InvalidInput(path, value, "must be a duration in whole seconds, 1-86400")
    return value


def _whole(value: int, path: str, low: int, high: int) -> int:
    if not low <= value <= high:
        raise InvalidInput(path, value, f"must be an integer {low}-{high}")
    return value
