# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of a JSON source that an analysis asks; pure, private, no stability promised."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN, InvalidInput

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]{1,4000}", re.ASCII)
_METADATA = ("metadata", "metadata.google.internal", "instance-data")


@dataclass(frozen=True)
class SourceUrl:
    """A URL that was found harmless as far as its text tells."""

    tls: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        """Name it in messages, without its query, which may have what nobody should read."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path.partition('?')[0]}"
        )


def parse_source_url(text: str, option: str) -> SourceUrl:
    """Return the parts; raises InvalidInput for what is not to be asked (B25, SE-16)."""
    try:
        parts = urlsplit(text) if _PRINTABLE.fullmatch(text) else None
        port = parts.port if parts else None
    except ValueError:
        parts = None
    if parts is None or not parts.hostname:
        raise InvalidInput(option, HIDDEN, "must be a URL such as http://metrics.example:9090/path")
    if parts.scheme not in ("http", "https"):
        raise InvalidInput(option, parts.scheme, "scheme must be http or https")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(option, HIDDEN, "must not have credentials in it")
    host = parts.hostname
    _check_host(host, option)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return SourceUrl(
        parts.scheme == "https", host, port or (443 if parts.scheme == "https" else 80), path
    )


def _check_host(host: str, option: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host) or host.rstrip(".").lower() in _METADATA:
            raise InvalidInput(option, host, "host must be one that answers with figures") from None
        return
    if refused(address):
        raise InvalidInput(option, host, "host must not be a link-local or reserved address")


def refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an address is one that never is asked: link-local, where clouds tell secrets, or no host at all."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return refused(mapped)
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address == ipaddress.ip_address("fd00:ec2::254")
    )
