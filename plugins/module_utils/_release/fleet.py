# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of an app spec that is about several hosts; pure, private, no stability promised."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import AT, check_name

PORTS = "20000-20999"
MAX_SERVING = 10_000
MAX_HOSTS = 1000


@dataclass(frozen=True)
class Fleet:
    """What a host has to know of being one of several."""

    member: str = ""
    """The host's own name in the names of its replicas, where other hosts' targets are in the same backend."""
    address: str = ""
    """The host's address, at which load balancers on other hosts reach its replicas."""
    ports: tuple[int, int] = (20000, 20999)
    """The first and the last of the ports of that address that replicas may have."""
    min_serving: int | str = 0
    """How many targets of a backend, whosever they are, have to serve at any time; or a percentage, see C(hosts)."""
    wait: int = 600
    """Seconds that a drain waits for that: for other hosts to have replaced what they have drained."""
    hosts: int = 0
    """How many hosts have replicas in a backend, each as many as this one; what a percentage is of."""

    @property
    def guards(self) -> bool:
        """Whether anything has to serve beside what this host keeps by itself."""
        return self.min_serving not in (0, "0%")

    def floor(self, replicas: int) -> int:
        """Return how many targets have to serve in a backend to which every host gives so many replicas."""
        if isinstance(self.min_serving, int):
            return self.min_serving
        return -(-int(self.min_serving[:-1]) * replicas * self.hosts // 100)

    def told(self, replicas: int) -> str:
        """Say what C(floor) is, and of what."""
        if isinstance(self.min_serving, int):
            return f"{self.min_serving} (fleet.min_serving)"
        whole = f"{replicas} on each of {self.hosts} hosts"
        return f"{self.floor(replicas)} (fleet.min_serving: {self.min_serving} of {whole})"

    def mapping(self) -> dict[str, object]:
        """Return what C(parse_fleet) reads back to an equal value."""
        low, high = self.ports
        return {
            "member": self.member or None,
            "address": self.address or None,
            "ports": f"{low}-{high}",
            "min_serving": self.min_serving,
            "wait": self.wait,
            "hosts": self.hosts or None,
        }


def parse_fleet(fields: Fields) -> Fleet:
    """Read the options below C(fleet)."""
    fleet = Fleet(
        member=_member(fields),
        address=_address(fields),
        ports=_ports(fields),
        min_serving=fields.share("min_serving", 0, MAX_SERVING, 0),
        wait=fields.seconds("wait", 600),
        hosts=fields.integer("hosts", 1, MAX_HOSTS) if fields.has("hosts") else 0,
    )
    fields.raw("hosts")
    fields.finish()
    if isinstance(fleet.min_serving, str) and not fleet.hosts:
        raise InvalidInput(
            fields.path("hosts"),
            None,
            f"is required, because min_serving is {fleet.min_serving}: how many hosts have replicas in a backend",
        )
    return fleet


def parse_host(value: object, path: str) -> str:
    """Read the host of a load balancer: its name in the inventory."""
    if value is None:
        return ""
    if not isinstance(value, str) or not value.strip() or value != value.strip():
        raise InvalidInput(path, value, "must be the inventory name of the load balancer's host")
    return value


def refuse_mixed(fleet: Fleet, hosts: Sequence[str], on_timeout: Sequence[str]) -> None:
    """Refuse what does not go together where load balancers are on other hosts than the replicas."""
    if not any(hosts):
        return
    if not all(hosts):
        index = [bool(host) for host in hosts].index(False)
        raise InvalidInput(
            f"load_balancers[{index}].host",
            None,
            "is required, because another load balancer has one: they are all on other hosts, or none is",
        )
    if not fleet.member:
        raise InvalidInput(
            "fleet.member",
            None,
            "is required with load_balancers[0].host: a name of this host, such as its inventory name",
        )
    if "force" in on_timeout:
        raise InvalidInput(
            "processes.*.drain.on_timeout",
            "force",
            "must be fail where load balancers are on other hosts: nothing there can end a replica",
        )


def refuse_stuck(fleet: Fleet, process: str, replicas: int, away: int) -> None:
    """Refuse a share that no replica can be drained under, where C(away) of them go before others come."""
    most = replicas * fleet.hosts - away
    if isinstance(fleet.min_serving, str) and away and fleet.floor(replicas) > most:
        raise InvalidInput(
            "fleet.min_serving",
            fleet.min_serving,
            f"can never progress: {fleet.floor(replicas)} of {process} have to serve on all hosts, and the strategy "
            f"takes {away} of {replicas * fleet.hosts} away before others come; lower it, or use max_surge",
        )


def _member(fields: Fields) -> str:
    value = fields.raw("member")
    if value is None or value == "":
        return ""
    member = check_name(value, fields.path("member"))
    if AT in member:
        raise InvalidInput(fields.path("member"), value, f"must not have {AT!r} in it")
    return member


def _address(fields: Fields) -> str:
    value = fields.raw("address")
    if value is None or value == "":
        return ""
    allowed = "must be an IPv4 address of this host that its load balancers reach"
    try:
        address = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise InvalidInput(fields.path("address"), value, allowed) from None
    if address.is_unspecified or address.is_multicast:
        raise InvalidInput(fields.path("address"), value, allowed)
    return str(address)


def _ports(fields: Fields) -> tuple[int, int]:
    value = fields.text(
        "ports", PORTS, r"[0-9]{4,5}-[0-9]{4,5}", "must be a range of ports such as 20000-20999"
    )
    low, high = (int(part) for part in value.split("-"))
    if not 1024 <= low <= high <= 65535:
        raise InvalidInput(
            fields.path("ports"), value, "must be a range of ports within 1024-65535"
        )
    return low, high
