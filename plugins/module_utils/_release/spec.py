# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The app spec: what a user writes, validated whole; private, no stability promised.

C(parse_spec) is the only way in. It is pure: nothing here looks at an engine or a load balancer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN, InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.fleet import (
    Fleet,
    parse_fleet,
    parse_host,
    refuse_mixed,
    refuse_stuck,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import (
    RELEASE_ID_LENGTH,
    check_app,
    check_env_name,
    check_name,
    names_a_secret,
    scope,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    ProcessSpec,
    parse_process,
    process_mapping,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.strategy import (
    RECREATE,
    Strategy,
    parse_strategy,
    strategy_mapping,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.task_spec import (
    TaskSpec,
    parse_tasks,
    tasks_mapping,
)

_HEX64 = "[0-9a-f]{64}"
_PUBLIC_KEY = r"\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*"


@dataclass(frozen=True)
class Secret:
    """A secret by name; the value never is part of a spec, only its digest and where the host keeps it."""

    name: str
    sha256: str
    source: str


@dataclass(frozen=True)
class LoadBalancerRef:
    """The load balancer options of one process, for the driver factory to read."""

    process: str
    options: tuple[tuple[str, object], ...]
    host: str = ""
    """The inventory name of the host it runs on; empty: it runs where the replicas do."""


@dataclass(frozen=True)
class AppSpec:
    """A validated app spec."""

    app: str
    image: str
    version: str
    env: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    processes: tuple[ProcessSpec, ...]
    load_balancers: tuple[LoadBalancerRef, ...]
    strategy: Strategy
    network: str
    retain: int
    verify: str = "off"
    """C(required): no replica starts from an image that none of the keys has signed as what C(image) names."""
    verify_keys: tuple[str, ...] = ()
    fleet: Fleet = field(default_factory=Fleet)
    tasks: tuple[TaskSpec, ...] = ()

    @property
    def scope(self) -> str:
        """What the names of its replicas begin with."""
        return scope(self.app, self.fleet.member)

    @property
    def balancer_hosts(self) -> tuple[str, ...]:
        """The hosts that load balancers are on, other than the replicas' own."""
        return tuple(sorted({ref.host for ref in self.load_balancers if ref.host}))

    def floors(self) -> list[str]:
        """Say what has to serve of the whole fleet, a line for each process type."""
        return [
            f"of all hosts, targets of {process.name} that serve: never below {self.fleet.told(process.replicas)}"
            for process in self.processes
            if self.fleet.guards and process.replicas
        ]

    def process(self, name: str) -> ProcessSpec | None:
        """Return a process type by name."""
        return next((process for process in self.processes if process.name == name), None)


def parse_spec(value: object) -> AppSpec:
    """Validate a user's mapping whole and return it typed; raises InvalidInput for the first mistake."""
    if not isinstance(value, Mapping):
        raise InvalidInput("spec", value, "top level must be a mapping")
    if not value:
        raise InvalidInput(
            "spec", value, "is empty; it needs at least app, image, processes and load_balancers"
        )
    fields = Fields(value, "")
    app = check_app(fields.raw("app"), "app")
    fleet = parse_fleet(fields.fields("fleet"))
    strategy_fields = fields.fields("strategy")
    processes = _processes(scope(app, fleet.member), fields, strategy_fields)
    load_balancers = _load_balancers(fields, processes)
    hosts = [ref.host for ref in load_balancers]
    refuse_mixed(fleet, hosts, [process.drain.on_timeout for process in processes])
    spec = AppSpec(
        app=app,
        image=fields.text("image"),
        version=fields.text(
            "version", "", r"[0-9A-Za-z][0-9A-Za-z.+-]{0,62}|", "must be a version such as 1.4.2"
        ),
        env=_env(fields),
        secrets=_secrets(fields),
        processes=processes,
        load_balancers=load_balancers,
        strategy=parse_strategy(strategy_fields),
        network=check_name(fields.raw("network", "cutover"), "network"),
        retain=fields.integer("retain", 1, 50, 3),
        verify=_verify(fields),
        verify_keys=_verify_keys(fields),
        fleet=fleet,
        tasks=parse_tasks(app, fields),
    )
    fields.finish()
    _refuse_stuck(spec)
    return spec


def _refuse_stuck(spec: AppSpec) -> None:
    """Refuse what a whole fleet has to keep where this host could never take one replica away."""
    for process in spec.processes:
        all_go_first = spec.strategy.type == RECREATE
        away = process.replicas if all_go_first else int(process.max_surge == 0)
        refuse_stuck(spec.fleet, process.name, process.replicas, away)


def release_id(spec: AppSpec, image_id: str) -> str:
    """Name the release: a digest of the image and of everything its containers are configured with."""
    content = {
        "image": image_id,
        "env": list(spec.env),
        "secrets": [[secret.name, secret.sha256] for secret in spec.secrets],
        "network": spec.network,
        "processes": [
            [
                process.name,
                process.port,
                list(process.command),
                process.limits.memory,
                process.limits.cpus,
                process.limits.pids,
                process.stop.signal,
            ]
            for process in spec.processes
            if process.replicas
        ],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:RELEASE_ID_LENGTH]


def to_mapping(spec: AppSpec) -> dict[str, object]:
    """Return a spec as a mapping that C(parse_spec) reads back to an equal spec.

    A process type of which no replica is wanted is on its way out, and is not part of it.
    """
    processes = [process for process in spec.processes if process.replicas]
    names = {process.name for process in processes}
    return {
        "app": spec.app,
        "image": spec.image,
        "version": spec.version,
        "env": dict(spec.env),
        "secrets": {
            secret.name: {"sha256": secret.sha256, "source": secret.source}
            for secret in spec.secrets
        },
        "processes": {process.name: process_mapping(process) for process in processes},
        "load_balancers": [
            {"process": ref.process, "host": ref.host or None, **dict(ref.options)}
            for ref in spec.load_balancers
            if ref.process in names
        ],
        "strategy": strategy_mapping(spec.strategy),
        "network": spec.network,
        "retain": spec.retain,
        "verify": spec.verify,
        "verify_keys": list(spec.verify_keys),
        "fleet": spec.fleet.mapping(),
        "tasks": tasks_mapping(spec.tasks),
    }


def _verify(fields: Fields) -> str:
    # In YAML an unquoted off is false.
    if fields.raw("verify") is False:
        return "off"
    return fields.choice("verify", ("required", "off"), "off")


def _verify_keys(fields: Fields) -> tuple[str, ...]:
    keys = fields.strings("verify_keys")
    for index, pem in enumerate(keys):
        if not re.fullmatch(_PUBLIC_KEY, pem):
            # It may be the private key.
            raise InvalidInput(
                fields.path(f"verify_keys[{index}]"), HIDDEN, "must be a public key in PEM"
            )
    if _verify(fields) == "required" and not keys:
        raise InvalidInput(
            fields.path("verify_keys"), [], "needs a public key, because verify is required"
        )
    return keys


def _processes(app: str, fields: Fields, strategy: Fields) -> tuple[ProcessSpec, ...]:
    found = tuple(
        parse_process(app, name, Fields(value, f"processes.{name}"), strategy)
        for name, value in fields.pairs("processes")
    )
    if not found:
        raise InvalidInput("processes", {}, "needs at least one process, such as web")
    return found


def _env(fields: Fields) -> tuple[tuple[str, str], ...]:
    result = []
    for name, value in fields.pairs("env"):
        path = fields.path(f"env.{name}")
        check_env_name(name, path)
        if name == "PORT":
            raise InvalidInput(path, value, "is set by the collection; use processes.NAME.port")
        if names_a_secret(name):
            raise InvalidInput(path, HIDDEN, "looks like a secret; use secrets")
        if isinstance(value, (dict, list)) or value is None:
            raise InvalidInput(path, value, "must be a string, a number or a boolean")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if "\0" in text:
            raise InvalidInput(path, value, "must not contain a NUL character")
        result.append((name, text))
    return tuple(result)


def _secrets(fields: Fields) -> tuple[Secret, ...]:
    result = []
    for name, value in fields.pairs("secrets"):
        path = fields.path(f"secrets.{name}")
        check_env_name(name, path)
        result.append(_secret(name, value, path))
    return tuple(result)


def _secret(name: str, value: object, path: str) -> Secret:
    """Read one secret; what is refused may be the secret itself, so no message repeats it."""
    if not isinstance(value, Mapping):
        raise InvalidInput(
            path, HIDDEN, "must be a mapping with source and sha256 (the role makes it from file)"
        )
    entry = Fields(value, path)
    secret = Secret(
        name=name,
        sha256=entry.text("sha256", None, _HEX64, "must be 64 hex digits", shown=False),
        source=entry.text(
            "source", None, "/.+", "must be an absolute path on the host", shown=False
        ),
    )
    entry.finish()
    return secret


def _load_balancers(
    fields: Fields, processes: tuple[ProcessSpec, ...]
) -> tuple[LoadBalancerRef, ...]:
    names = [process.name for process in processes]
    default = names[0] if len(names) == 1 else "web"
    result = []
    for index, item in enumerate(fields.items("load_balancers")):
        path = f"load_balancers[{index}]"
        if not isinstance(item, Mapping):
            raise InvalidInput(path, item, "must be a mapping with driver, socket and backend")
        process = item.get("process", default)
        if process not in names:
            raise InvalidInput(f"{path}.process", process, f"must be one of {', '.join(names)}")
        options = tuple(
            sorted(
                (str(key), value) for key, value in item.items() if key not in ("process", "host")
            )
        )
        host = parse_host(item.get("host"), f"{path}.host")
        result.append(LoadBalancerRef(str(process), options, host))
        _refuse_twice(result, path)
    for name in names:
        if not any(ref.process == name for ref in result):
            raise InvalidInput(
                "load_balancers",
                [],
                f"needs an entry for process {name}: only processes behind a load balancer can be replaced",
            )
    return tuple(result)


def _refuse_twice(refs: list[LoadBalancerRef], path: str) -> None:
    """Refuse that two entries claim one backend: a load balancer tells the targets of a backend not apart."""
    new = refs[-1]
    for index, other in enumerate(refs[:-1]):
        if _place(other) == _place(new):
            raise InvalidInput(
                f"{path}.backend",
                dict(new.options).get("backend"),
                f"is claimed by {other.process} in load_balancers[{index}] too, and by {new.process} here",
            )


def _place(ref: LoadBalancerRef) -> tuple[object, ...]:
    options = dict(ref.options)
    return (ref.host, *(options.get(key) or "" for key in ("name", "socket", "backend")))
