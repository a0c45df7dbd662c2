# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which registry, and how to prove who asks; private, no stability promised."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
import re
import subprocess
import typing as t
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    HIDDEN,
    CutoverError,
    InvalidInput,
)

REGISTRY_SPEC: dict[str, t.Any] = {
    "host": {"type": "str", "required": True},
    "username": {"type": "str", "default": ""},
    "password": {"type": "str", "no_log": True, "default": ""},
    "auth_file": {"type": "path", "default": ""},
    "ca_file": {"type": "path", "default": ""},
    "tls_verify": {"type": "bool", "default": True},
    "plain_http": {"type": "bool", "default": False},
    "allow_http": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 60},
}
"""Suboptions of C(registry); documented in the fragment C(_registry)."""

_HOST = re.compile(
    r"\A(?P<name>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]{1,5}))?\Z"
)
_SHORTEST_PASSWORD = 4
_HELPER_TIMEOUT = 30


@dataclass(frozen=True)
class Credentials:
    """Who asks; never part of a message."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class RegistryOptions:
    """One registry, validated."""

    host: str
    credentials: Credentials | None = None
    ca_file: str = ""
    tls_verify: bool = True
    plain_http: bool = False
    timeout: int = 60

    @property
    def loopback(self) -> bool:
        """Tell whether nothing sent there leaves this machine."""
        return _is_loopback(self.host)

    @property
    def url(self) -> str:
        """Return where its API begins."""
        return f"{'http' if self.plain_http else 'https'}://{self.host}"

    @property
    def verify(self) -> bool | str:
        """Return what certificates are checked against."""
        return self.ca_file or True if self.tls_verify else False


def registry_options(given: t.Mapping[str, t.Any], path: str = "registry") -> RegistryOptions:
    """Validate the option C(registry)."""
    host = given.get("host") or ""
    match = _HOST.match(host) if isinstance(host, str) else None
    if match is None or not 1 <= int(match["port"] or 443) <= 65535:
        raise InvalidInput(
            f"{path}.host", host, "must be a host name or address, optionally with :port 1-65535"
        )
    timeout = 60 if given.get("timeout") is None else given["timeout"]
    if isinstance(timeout, bool) or not isinstance(timeout, int) or not 1 <= timeout <= 3600:
        raise InvalidInput(f"{path}.timeout", timeout, "must be whole seconds, 1-3600")
    plain = bool(given.get("plain_http"))
    if plain and not given.get("allow_http") and not _is_loopback(host):
        raise InvalidInput(
            f"{path}.plain_http",
            True,
            f"must be false for {host}, which is another machine; set allow_http: true to send everything unprotected",
        )
    tls_verify = given.get("tls_verify")
    return RegistryOptions(
        host=host,
        credentials=_credentials(given, host, path),
        ca_file=_ca_file(given.get("ca_file") or "", path),
        tls_verify=True if tls_verify is None else bool(tls_verify),
        plain_http=plain,
        timeout=timeout,
    )


def _is_loopback(host: str) -> bool:
    match = _HOST.match(host)
    name = match["name"].strip("[]") if match else host
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _ca_file(value: str, path: str) -> str:
    if value and not os.path.isfile(value):
        raise InvalidInput(f"{path}.ca_file", value, "must be a file with PEM certificates")
    return value


def _credentials(given: t.Mapping[str, t.Any], host: str, path: str) -> Credentials | None:
    username, password = given.get("username") or "", given.get("password") or ""
    auth_file = given.get("auth_file") or ""
    if auth_file and (username or password):
        raise InvalidInput(f"{path}.auth_file", auth_file, "must not stand beside a user name")
    if auth_file:
        return _from_file(auth_file, host, path)
    if bool(username) != bool(password):
        missing = "password" if username else "username"
        raise InvalidInput(f"{path}.{missing}", None, "must stand beside its other half")
    if not username:
        return None
    # Ansible masks the value wherever it appears: a short one would mask every such letter of the result.
    if len(password) < _SHORTEST_PASSWORD:
        raise InvalidInput(
            f"{path}.password", HIDDEN, f"must have at least {_SHORTEST_PASSWORD} characters"
        )
    if ":" in username:
        raise InvalidInput(f"{path}.username", username, "must not contain a colon")
    return Credentials(username, password)


def _from_file(auth_file: str, host: str, path: str) -> Credentials:
    """Read a docker C(config.json): an entry of its own, or the helper it names."""
    try:
        with open(auth_file, "rb") as stream:
            data = json.loads(stream.read())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise InvalidInput(
            f"{path}.auth_file", auth_file, f"must be a docker config.json ({reason})"
        ) from error
    data = data if isinstance(data, dict) else {}
    entry = (data.get("auths") or {}).get(host) or {}
    helper = (data.get("credHelpers") or {}).get(host) or data.get("credsStore")
    if entry.get("auth"):
        return _decoded(str(entry["auth"]), auth_file, host, path)
    if entry.get("username") and entry.get("password"):
        return Credentials(str(entry["username"]), str(entry["password"]))
    if helper:
        return _ask_helper(str(helper), host)
    raise InvalidInput(f"{path}.auth_file", auth_file, f"must have an entry for {host}")


def _decoded(value: str, auth_file: str, host: str, path: str) -> Credentials:
    try:
        username, colon, password = base64.b64decode(value).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise InvalidInput(
            f"{path}.auth_file", auth_file, f"must have base64 of user:password for {host}"
        )
    return Credentials(username, password)


def _ask_helper(helper: str, host: str) -> Credentials:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", helper):
        raise CutoverError("the credential helper's name is no plain word")
    name = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [name, "get"],
            input=host.encode(),
            capture_output=True,
            timeout=_HELPER_TIMEOUT,
            check=True,
        )
        found = json.loads(done.stdout)
        return Credentials(str(found["Username"]), str(found["Secret"]))
    except FileNotFoundError as error:
        raise CutoverError(f"{name} not found on this host: install it") from error
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        # What the helper printed may hold the secret.
        raise CutoverError(f"{name} has no credentials for {host}") from error
