# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few calls of the Docker Engine API that a cutover needs, by its unix socket; private, no stability promised.

Importing the Docker SDK takes longer than all the calls of a replica's life, and every module call pays for it.
A connection is made for each call (0.1 ms on a unix socket), so any number of threads may share one client, and
no call meets a connection that went stale. Nothing is ever sent twice.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

_FRAME = 8
"""Bytes in front of each piece of a log: which stream, and how long."""


class ApiRefused(Exception):
    """The engine answered, and it was no: the status and its own words."""

    def __init__(self, status: int, answer: str) -> None:
        super().__init__(answer)
        self.status = status
        self.answer = answer


class DockerApi:
    """One engine at one API version. Raises ApiRefused, TimeoutError, OSError and HTTPException."""

    def __init__(self, host: str, version: str, timeout: float) -> None:
        self._path = host.removeprefix("unix://")
        self._prefix = f"/v{version}"
        self._timeout = timeout

    def ping(self) -> str:
        """Return the newest API version that the engine speaks."""
        response = self._send("GET", "/_ping")
        return response.headers.get("Api-Version", "0.0")

    def version(self) -> Mapping[str, Any]:
        """Return what the engine says of itself."""
        return self._json("GET", "/version")

    def inspect_image(self, reference: str) -> Mapping[str, Any]:
        """Return everything about an image."""
        return self._json("GET", f"/images/{_quoted(reference)}/json")

    def images(self, filters: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        """List images."""
        return list(self._json("GET", "/images/json", filters=filters))

    def containers(self, filters: Mapping[str, list[str]] | None = None) -> list[dict[str, Any]]:
        """List containers, also those that do not run."""
        return list(self._json("GET", "/containers/json", all=1, filters=filters or {}))

    def create_container(self, name: str, body: Mapping[str, Any]) -> str:
        """Create a container and return its ID."""
        return str(self._json("POST", "/containers/create", body, name=name)["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self._send("POST", f"/containers/{_quoted(container)}/start")

    def inspect_container(self, container: str) -> Mapping[str, Any]:
        """Return everything about a container."""
        return self._json("GET", f"/containers/{_quoted(container)}/json")

    def never_restart(self, container: str) -> None:
        """Take the restart policy from a container."""
        body = {"RestartPolicy": {"Name": "no"}}
        self._send("POST", f"/containers/{_quoted(container)}/update", body)

    def kill(self, container: str, signal: str) -> None:
        """Send a signal to its process."""
        self._send("POST", f"/containers/{_quoted(container)}/kill", signal=signal)

    def stop(self, container: str, grace_period: int) -> None:
        """Send its stop signal, and kill it after the grace period."""
        path = f"/containers/{_quoted(container)}/stop"
        self._send("POST", path, timeout=self._timeout + grace_period, t=grace_period)

    def wait(self, container: str, seconds: float) -> None:
        """Wait until it does not run."""
        path = f"/containers/{_quoted(container)}/wait"
        self._send("POST", path, timeout=seconds, condition="not-running")

    def remove_container(self, container: str, *, force: bool = False) -> None:
        """Remove a container and its anonymous volumes."""
        self._send("DELETE", f"/containers/{_quoted(container)}", v=1, force=int(force))

    def logs(self, container: str, tail: int) -> bytes:
        """Return the last lines of both output streams."""
        path = f"/containers/{_quoted(container)}/logs"
        response = self._send("GET", path, stdout=1, stderr=1, tail=tail)
        return b"".join(_pieces(response.body))

    def execute(self, container: str, command: list[str]) -> tuple[int, bytes]:
        """Run a command in a container to its end; return its exit code and what it printed."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": command}
        process = self._json("POST", f"/containers/{_quoted(container)}/exec", body)["Id"]
        output = self._send("POST", f"/exec/{process}/start", {"Detach": False, "Tty": False}).body
        code = self._json("GET", f"/exec/{process}/json")["ExitCode"]
        if code is None:
            raise http.client.HTTPException(f"{command[0]} went on after its output had ended")
        return int(code), b"".join(_pieces(output))

    def remove_image(self, image: str) -> None:
        """Remove an image with all its tags."""
        self._send("DELETE", f"/images/{_quoted(image)}", force=1)

    def networks(self, filters: Mapping[str, list[str]] | None = None) -> list[dict[str, Any]]:
        """List networks."""
        return list(self._json("GET", "/networks", filters=filters or {}))

    def inspect_network(self, network: str) -> Mapping[str, Any]:
        """Return everything about a network."""
        return self._json("GET", f"/networks/{_quoted(network)}")

    def create_network(self, body: Mapping[str, Any]) -> str:
        """Create a network and return its ID."""
        return str(self._json("POST", "/networks/create", body)["Id"])

    def remove_network(self, network: str) -> None:
        """Remove a network."""
        self._send("DELETE", f"/networks/{_quoted(network)}")

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any
    ) -> Any:
        answer = self._send(method, path, body, **query).body
        try:
            return json.loads(answer)
        except ValueError as error:
            raise http.client.HTTPException(f"{path}: the answer is not JSON") from error

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **query: Any,
    ) -> _Response:
        connection = _Connection(self._path, self._timeout if timeout is None else timeout)
        data = None if body is None else json.dumps(body)
        headers = {"Host": "docker", "Connection": "close"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._prefix + path + _query(query), data, headers)
            answer = connection.getresponse()
            response = _Response(answer.headers, answer.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise ApiRefused(answer.status, _message(response.body) or answer.reason)
        return response


class _Response:
    """The headers and the whole body of an answer."""

    def __init__(self, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.headers = headers
        self.body = body


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _quoted(name: str) -> str:
    return quote(name, safe="/:")


def _query(query: Mapping[str, Any]) -> str:
    """Encode a query; filters are lists of text, as JSON."""
    values = {key: value for key, value in query.items() if key != "filters"}
    if query.get("filters"):
        values["filters"] = json.dumps(query["filters"])
    return f"?{urlencode(values)}" if values else ""


def _message(body: bytes) -> str:
    """Return the engine's own words."""
    text = body.decode(errors="replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return str(found.get("message") or text) if isinstance(found, dict) else text


def _pieces(raw: bytes) -> Iterator[bytes]:
    """Take the frames off a log; a container with a terminal has none."""
    position = 0
    while position + _FRAME <= len(raw):
        head = raw[position : position + _FRAME]
        if head[0] > 2 or head[1:4] != b"\0\0\0":
            yield raw[position:]
            return
        size = int.from_bytes(head[4:], "big")
        yield raw[position + _FRAME : position + _FRAME + size]
        position += _FRAME + size
