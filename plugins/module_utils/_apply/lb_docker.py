# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker calls behind the load balancer's container; private, no stability promised."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import (
    lb_container as wanted,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_errors import (
    engine_errors,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    EngineError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import resolve_image
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_file as file,
)

try:
    from docker import APIClient
    from docker.errors import NotFound
    from docker.types import LogConfig, Mount
except ImportError:
    APIClient = None  # the engine's factory says so before anything here is made

_BINARY = ["/usr/sbin/haproxy"]
_STOP_SECONDS = 10
_COMES_BACK = {"Name": "always"}
"""Not C(unless-stopped): engines take every signal that they hand on, also the one that reloads, for a wish to stop."""
_BIND_AS_ROOT = ["NET_BIND_SERVICE", "SETGID", "SETUID"]
"""What a master that runs as root keeps: bind the ports, and let its workers be an ordinary user."""


class LoadBalancerContainer:
    """One container, known by its name, and only touched when it carries our label."""

    def __init__(self, options: Mapping[str, Any], spec: wanted.Wanted) -> None:
        self._host = options.get("host") or "unix:///var/run/docker.sock"
        self._spec = spec
        self._client = APIClient(
            base_url=self._host, version="auto", timeout=options.get("timeout") or 60
        )

    def find(self) -> Mapping[str, Any] | None:
        """Return what the engine shows of it, or None."""
        with self._errors("look for it"):
            try:
                found: dict[str, Any] = self._client.inspect_container(self._spec.name)
            except NotFound:
                return None
        labels = found["Config"].get("Labels") or {}
        if labels.get(wanted.ROLE_LABEL) != "load_balancer":
            raise EngineError(
                f"container {self._spec.name} is not one of ours (no label {wanted.ROLE_LABEL});"
                " it was left as it is"
            )
        return found

    def image_id(self) -> str:
        """Return the ID of the image, which must be on the host."""
        if not self._spec.image:
            raise InvalidInput("image", self._spec.image, "must be an image on this host")
        if not self._spec.image.startswith("sha256:"):
            return resolve_image(self._spec.image, self._spec.state_dir, self._has_image)
        with self._errors(f"find image {self._spec.image}"):
            return str(self._client.inspect_image(self._spec.image)["Id"])

    def _has_image(self, image_id: str) -> bool:
        return any(row["Id"] == image_id for row in self._client.images())

    def start(self, image_id: str) -> None:
        """Create and start it; one that does not start is removed again."""
        with self._errors("start it"):
            made = self._client.create_container(
                image_id,
                use_config_proxy=False,
                entrypoint=_BINARY,
                command=self._command(),
                name=self._spec.name,
                user=self._user(),
                labels={
                    wanted.ROLE_LABEL: "load_balancer",
                    wanted.SPEC_LABEL: self._spec.digest(image_id),
                },
                host_config=self._host_config("host"),
            )["Id"]
            try:
                self._client.start(made)
            except BaseException:
                self._client.remove_container(made, force=True)
                raise

    def _command(self) -> list[str]:
        master = f"{wanted.SOCKETS_INSIDE}/master.sock,mode,660"
        return ["-W", "-db", "-S", master, "-f", f"{wanted.CONFIG_INSIDE}/haproxy.cfg"]

    def _user(self) -> str:
        return f"{0 if self._spec.needs_root else self._spec.user}:{self._spec.group}"

    def _host_config(self, network: str) -> Any:
        """Return its hardening. It shares the host's network: a published port hangs on a proxy process of the
        engine, and when that dies clients are refused although HAProxy runs."""
        return self._client.create_host_config(
            network_mode=network,
            restart_policy=_COMES_BACK if network != "none" else None,
            read_only=True,
            cap_drop=["ALL"],
            cap_add=_BIND_AS_ROOT if self._spec.needs_root else None,
            security_opt=["no-new-privileges"],
            pids_limit=256,
            log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
            mounts=[
                Mount(wanted.CONFIG_INSIDE, self._spec.config_dir, type="bind", read_only=True),
                Mount(wanted.SOCKETS_INSIDE, self._spec.socket_dir, type="bind"),
            ],
        )

    def restart(self, found: Mapping[str, Any]) -> None:
        """Start it again after it was stopped."""
        with self._errors("start it again"):
            self._client.start(found["Id"])

    def reload(self, found: Mapping[str, Any]) -> None:
        """Have the master read the file again; leaving workers finish what they have."""
        with self._errors("reload it"):
            if found["HostConfig"]["RestartPolicy"]["Name"] != _COMES_BACK["Name"]:
                # It was made by an earlier version.
                self._client.update_container(found["Id"], restart_policy=_COMES_BACK)
            self._client.kill(found["Id"], "SIGUSR2")

    def remove(self, found: Mapping[str, Any] | None) -> None:
        """Stop it, giving sessions a moment, and remove it."""
        if found is None:
            return
        with self._errors("remove it"):
            self._client.stop(found["Id"], timeout=_STOP_SECONDS)
            self._client.remove_container(found["Id"], force=True)

    def logs(self) -> str:
        """Return the last lines it logged."""
        with self._errors("read its log"):
            return str(self._client.logs(self._spec.name, tail=20).decode("utf-8", "replace"))

    def validator(self, image_id: str) -> file.Validator:
        """Return a check of a draft by the image that shall run it, in a container of its own."""

        def validate(draft: Path) -> None:
            with self._errors("validate its configuration"):
                code, answer = self._once(image_id, f"{wanted.CONFIG_INSIDE}/{draft.name}")
            if code != 0:
                raise file.rejected(draft, answer)

        return validate

    def _once(self, image_id: str, inside: str) -> tuple[int, str]:
        made = self._client.create_container(
            image_id,
            use_config_proxy=False,
            entrypoint=_BINARY,
            command=["-c", "-f", inside],
            user=self._user(),
            labels={wanted.ROLE_LABEL: "load_balancer_check"},
            host_config=self._host_config("none"),
        )["Id"]
        try:
            self._client.start(made)
            code = int(self._client.wait(made)["StatusCode"])
            return code, self._client.logs(made).decode("utf-8", "replace")
        finally:
            self._client.remove_container(made, force=True)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        with engine_errors(f"container {self._spec.name}: {what}", self._host):
            yield
