# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy in a container: its configuration, its container, its reloads; private.

Its file has a managed part for each backend, which belongs to whoever registers targets. What is rendered here
takes that part over as it is, so that running the role never loses a target.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._argspec import STATE_DIR_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory as engines
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    EngineError,
    InvalidInput,
    LoadBalancerError,
    LoadBalancerErrorKind,
    WaitTimeout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_config as config_text,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_file as file,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_socket as runtime,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_state as state,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._names import (
    checked_address,
    checked_name,
    checked_port,
)
from ansible_collections.immutable.cutover.plugins.module_utils._wait import Verdict, wait_until

LB_CONTAINER_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "image": {"type": "str", "default": ""},
    **STATE_DIR_SPEC,
    "config": {"type": "str", "default": ""},
    "config_dir": {"type": "path", "required": True},
    "socket_dir": {"type": "path", "required": True},
    "network": {"type": "str", "default": "cutover"},
    "bind": {"type": "list", "elements": "str", "default": []},
    "user": {"type": "int", "default": 10002},
    "group": {"type": "int", "default": 10002},
    "engine": {"type": "dict", "options": engines.ENGINE_SPEC, "default": {}},
    "timeout": {"type": "int", "default": 30},
}

ROLE_LABEL = "immutable.cutover.role"
SPEC_LABEL = "immutable.cutover.lb-spec"
CONFIG_INSIDE = "/etc/haproxy/cfg"
SOCKETS_INSIDE = "/run/haproxy"
_LOADED = ".haproxy.cfg.loaded"


@dataclass(frozen=True)
class Wanted:
    """What the container is made from."""

    name: str
    image: str
    state_dir: str
    network: str
    config_dir: str
    socket_dir: str
    user: int
    group: int
    needs_root: bool
    """Whether a port is one that only root may bind: HAProxy then binds as root and works as C(user)."""

    def digest(self, image_id: str) -> str:
        """Return what differs when the container has to be made anew."""
        parts = [image_id, self.config_dir, self.socket_dir, self.user, self.group, self.needs_root]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def ensure_container(params: Mapping[str, Any], clock: Clock, *, check: bool) -> dict[str, Any]:
    """Bring configuration and container to the wanted state and return the module's result."""
    return HaproxyHost(params, clock, check=check).run()


class HaproxyHost:
    """One HAProxy on one host."""

    def __init__(self, params: Mapping[str, Any], clock: Clock, *, check: bool) -> None:
        self._wanted = _wanted(params)
        self._present = params["state"] == "present"
        self._text = params["config"]
        self._timeout = params["timeout"]
        self._clock = clock
        self._check = check
        self._engine = engines.connect(params["engine"], clock)
        self._docker = _docker(params["engine"], self._wanted)
        self._path = Path(self._wanted.config_dir) / "haproxy.cfg"
        self._actions: list[str] = []

    def run(self) -> dict[str, Any]:
        """Do what it takes."""
        before = self._docker.find()
        text_before = self._path.read_text() if self._path.exists() else ""
        if self._present:
            text_after = self._be_present(before, text_before)
        else:
            text_after = text_before
            self._be_absent(before)
        shown = {"container": _shown(before), "config": text_before}
        after = {"container": self._after(before), "config": text_after}
        return {
            "changed": bool(self._actions),
            "actions": self._actions,
            "before": shown,
            "after": after,
            "diff": {"before": shown, "after": after},
        }

    def _be_absent(self, before: Mapping[str, Any] | None) -> None:
        if before is not None:
            self._do(f"remove container {self._wanted.name}", lambda: self._docker.remove(before))

    def _be_present(self, before: Mapping[str, Any] | None, text_before: str) -> str:
        image_id = self._docker.image_id()
        text_after = self._write_config(text_before, image_id)
        if self._wanted.network not in self._engine.networks():
            self._do(
                f"make network {self._wanted.network}",
                lambda: self._engine.ensure_network(self._wanted.network),
            )
        self._run_container(before, image_id, text_after)
        return text_after

    def _run_container(self, before: Mapping[str, Any] | None, image_id: str, text: str) -> None:
        name = self._wanted.name
        if before is None:
            self._do(f"start container {name}", lambda: self._start(image_id, text))
        elif before["Config"]["Labels"].get(SPEC_LABEL) != self._wanted.digest(image_id):
            self._do(f"replace container {name}", lambda: self._replace(before, image_id, text))
        elif not before["State"]["Running"]:
            self._do(f"start stopped container {name}", lambda: self._restart(before, text))
        elif self._loaded() != _static_digest(text):
            self._do(f"reload container {name}", lambda: self._reload(before, text))

    def _do(self, action: str, step: Any) -> None:
        self._actions.append(action)
        if not self._check:
            step()

    def _write_config(self, text_before: str, image_id: str) -> str:
        """Write the new file with the targets of the old one; validated by the very image it is for."""
        if config_text.carry_over(self._text, _managed(text_before)) == text_before:
            return text_before
        self._actions.append(f"write {self._path}")
        if self._check:
            return config_text.carry_over(self._text, _managed(text_before))
        validate = self._docker.validator(image_id)
        written = file.ConfigFile(str(self._path), self._clock, validate)
        written.update(lambda text: config_text.carry_over(self._text, _managed(text)), default="")
        return written.read()

    def _persist(self) -> None:
        """Targets that run and are not in the file would not survive what comes now."""
        for backend in config_text.managed_backends(self._path.read_text()):
            options = {
                "socket": self._socket("admin.sock"),
                "backend": backend,
                "config": str(self._path),
                "validate": False,
            }
            try:
                factory.connect(options, self._clock).persist()
            except LoadBalancerError as error:
                # A backend that is new in the file.
                if error.kind is not LoadBalancerErrorKind.BACKEND_NOT_FOUND:
                    raise

    def _start(self, image_id: str, text: str) -> None:
        # Those of a container that ran as another user cannot be taken over.
        for name in ("admin.sock", "master.sock"):
            Path(self._socket(name)).unlink(missing_ok=True)
        self._docker.start(image_id)
        try:
            self._answers(text, "")
        except EngineError:
            self._docker.remove(self._docker.find())
            raise

    def _replace(self, before: Mapping[str, Any], image_id: str, text: str) -> None:
        if before["State"]["Running"]:
            self._persist()
        self._docker.remove(before)
        # Another HAProxy may not accept what this one did.
        self._path.with_name(f".{self._path.name}{file.VALID}").unlink(missing_ok=True)
        self._start(image_id, text)

    def _restart(self, before: Mapping[str, Any], text: str) -> None:
        self._docker.restart(before)
        self._answers(text, "")

    def _reload(self, before: Mapping[str, Any], text: str) -> None:
        pid = self._pid()
        self._persist()
        self._docker.reload(before)
        self._answers(text, pid)

    def _answers(self, text: str, old_pid: str) -> None:
        """Wait until a worker other than the old one answers, and note what it has loaded."""

        def look() -> Verdict[str]:
            try:
                pid = self._pid()
            except LoadBalancerError as silent:
                self._refuse_ended()
                return Verdict(False, "", silent.message)
            return Verdict(pid not in ("", old_pid), pid, f"worker {pid} answers")

        try:
            wait_until(
                look,
                what=f"container {self._wanted.name}: a new worker",
                timeout=self._timeout,
                interval=0.05,
                clock=self._clock,
            )
        except WaitTimeout as late:
            raise EngineError(late.message, log=self._docker.logs()) from late
        (self._path.with_name(_LOADED)).write_text(_static_digest(text))

    def _refuse_ended(self) -> None:
        """Raise when it does not run: waiting longer is useless."""
        found = self._docker.find()
        if found is None or not found["State"]["Running"] or found["RestartCount"]:
            log = self._docker.logs()
            why = next((line for line in log.splitlines() if "ALERT" in line), log[-200:])
            raise EngineError(f"container {self._wanted.name}: HAProxy ended: {why}", log=log)

    def _pid(self) -> str:
        socket = runtime.RuntimeSocket(self._socket("admin.sock"), self._clock)
        return state.parse_info(socket.ask("show info")).get("Pid", "")

    def _loaded(self) -> str:
        try:
            return self._path.with_name(_LOADED).read_text()
        except FileNotFoundError:
            return ""

    def _socket(self, name: str) -> str:
        return str(Path(self._wanted.socket_dir) / name)

    def _after(self, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if not self._present:
            return None
        if self._check:
            return _intent(self._wanted, self._docker.image_id())
        return _shown(self._docker.find() or before)


def _wanted(params: Mapping[str, Any]) -> Wanted:
    binds = [
        _address_and_port(f"bind[{number}]", text) for number, text in enumerate(params["bind"])
    ]
    if len(set(binds)) < len(binds):
        raise InvalidInput("bind", params["bind"], "every address and port must be given once")
    return Wanted(
        name=checked_name("name", params["name"]),
        image=params["image"],
        state_dir=params["state_dir"],
        network=checked_name("network", params["network"]),
        config_dir=params["config_dir"],
        socket_dir=params["socket_dir"],
        user=params["user"],
        group=params["group"],
        needs_root=any(port < _first_free_port() for _address, port in binds),
    )


def _first_free_port() -> int:
    """Return the lowest port of this host that any user may bind."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except OSError:
        return 1024


def _address_and_port(option: str, text: str) -> tuple[str, int]:
    address, _colon, port = text.rpartition(":")
    return (
        checked_address(option, address.removeprefix("[").removesuffix("]")),
        checked_port(option, int(port) if port.isdecimal() and port.isascii() else port),
    )


def _managed(text: str) -> dict[str, tuple[str, ...]]:
    return {
        backend: config_text.managed_lines(text, backend)
        for backend in config_text.managed_backends(text)
    }


def _static_digest(text: str) -> str:
    """Return the digest of what needs a reload when it changes."""
    return hashlib.sha256(config_text.without_managed(text).encode()).hexdigest()


def _intent(wanted: Wanted, image_id: str) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "image": image_id,
        "state": "running",
    }


def _shown(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Show a container in the shape of its intent."""
    if found is None:
        return None
    return {
        "name": found["Name"].lstrip("/"),
        "image": found["Image"],
        "state": found["State"]["Status"],
    }


def _docker(options: Mapping[str, Any], wanted: Wanted) -> Any:
    # engines.connect() has made sure that the Docker SDK is there; importing it takes 0.2 s.
    from ansible_collections.immutable.cutover.plugins.module_utils._apply import lb_docker

    return lb_docker.LoadBalancerContainer(options, wanted)
