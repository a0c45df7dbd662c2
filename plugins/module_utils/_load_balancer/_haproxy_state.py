# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy's answers mean; pure, private, no stability promised."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    Target,
    Traffic,
)

# Bits of srv_admin_state. 0x04 only says that the configuration has the word "disabled".
_MAINTENANCE = 0x01 | 0x02 | 0x20 | 0x40
_DRAIN = 0x08 | 0x10
# Bits of srv_check_state.
_CHECK_CONFIGURED = 0x02
_CHECK_ENABLED = 0x04
_RUNNING = frozenset({1, 2})

_STAT_HEADER = "# pxname,"
_PROC = re.compile(r"^(\d+)\s+(\w+)")


@dataclass(frozen=True)
class Server:
    """One server line: state and load of a server in one HAProxy process."""

    name: str
    address: str
    port: int
    operational: int
    admin_bits: int
    weight: int
    initial_weight: int
    check_bits: int
    current: int = 0
    queued: int = 0
    ever_chosen: int = 0
    check: str = ""

    @property
    def admin(self) -> Admin:
        """The intent. HAProxy has one drain: standby is one that never had a request."""
        if self.admin_bits & _MAINTENANCE:
            return Admin.MAINTENANCE
        if self.admin_bits & _DRAIN or self.weight == 0:
            used = self.ever_chosen or self.current or self.queued
            return Admin.DRAINING if used else Admin.STANDBY
        return Admin.ACTIVE

    @property
    def health(self) -> Health:
        """HAProxy's verdict while active; before that only a check that has passed counts."""
        admin = self.admin
        if admin is Admin.ACTIVE:
            return Health.UP if self.operational in _RUNNING else Health.DOWN
        if admin is Admin.MAINTENANCE or not self.check_enabled:
            return Health.UNKNOWN
        code = self.check_code
        if code in ("", "INI", "UNK"):
            return Health.STARTING
        if code.endswith("OK"):
            return Health.UP if self.operational in _RUNNING else Health.STARTING
        return Health.DOWN

    @property
    def check_code(self) -> str:
        """The code of the last check, without the mark of one that is under way."""
        return self.check.removeprefix("* ").split(" ", 1)[0]

    @property
    def check_configured(self) -> bool:
        """Whether the server has a health check at all."""
        return bool(self.check_bits & _CHECK_CONFIGURED)

    @property
    def check_enabled(self) -> bool:
        """Whether its health check runs."""
        return bool(self.check_bits & _CHECK_ENABLED)

    def target(self) -> Target:
        """Show it as the seam wants it."""
        return Target(
            name=self.name,
            address=self.address,
            port=self.port,
            admin=self.admin,
            health=self.health,
            weight=self.weight,
            check=self.check,
        )


@dataclass(frozen=True)
class Load:
    """Sessions a server works on, and requests that wait for it, in one process."""

    current: int
    queued: int
    ever_chosen: int = 0
    check: str = ""


@dataclass(frozen=True)
class Processes:
    """What the master says runs under it."""

    workers: tuple[int, ...]
    leaving: tuple[int, ...]

    @property
    def pids(self) -> tuple[int, ...]:
        """All of them."""
        return self.workers + self.leaving


def servers_stat() -> str:
    """Return the command for the load of every server.

    Of all proxies, because a name would also find a frontend: one that is called like the backend hides its servers.
    """
    return "show stat -1 4 -1"


def backends_stat() -> str:
    """Return the command for one row a backend, again of all proxies."""
    return "show stat -1 2 -1"


def parse_balance(answer: str, backend: str) -> str:
    """Return the balance algorithm of a backend in what backends_stat() answers; empty if it is not told."""
    rows = (row for row in _stat_rows(answer) if row["pxname"] == backend)
    return next((row.get("algo") or "" for row in rows if row["svname"] == "BACKEND"), "")


def parse_servers(answer: str, backend: str) -> tuple[Server, ...]:
    """Read C(show servers state B) and servers_stat(): the intent of one, the load of the other."""
    states, found, stat = answer.partition(_STAT_HEADER)
    loads = parse_load(_STAT_HEADER + stat, backend)
    lines = [line.split() for line in states.splitlines() if line.strip()]
    header = next((line for line in lines if line[0] == "#"), None)
    if header is None or not found:
        raise ValueError("a header line is missing")
    rows = [
        dict(zip(header[1:], line, strict=True)) for line in lines if len(line) == len(header) - 1
    ]
    # A server added between the two answers has no load yet; every other one must have one.
    return tuple(_server(row, loads[row["srv_name"]]) for row in rows if row["srv_name"] in loads)


def _server(row: Mapping[str, str], load: Load) -> Server:
    return Server(
        name=row["srv_name"],
        address=row["srv_addr"],
        port=int(row["srv_port"]),
        operational=int(row["srv_op_state"]),
        admin_bits=int(row["srv_admin_state"]),
        weight=int(row["srv_uweight"]),
        initial_weight=int(row["srv_iweight"]),
        check_bits=int(row["srv_check_state"]),
        current=load.current,
        queued=load.queued,
        ever_chosen=load.ever_chosen,
        check=load.check,
    )


def parse_load(answer: str, backend: str) -> dict[str, Load]:
    """Read the rows of a backend's servers in what servers_stat() answers."""
    return {
        row["svname"]: Load(
            current=int(row["scur"] or 0),
            queued=int(row["qcur"] or 0),
            ever_chosen=int(row.get("lbtot") or 0),
            check=_check_text(row),
        )
        for row in _server_rows(answer, backend)
    }


def parse_traffic(answer: str, backend: str) -> dict[str, Traffic]:
    """Read the counters of a backend's servers in what servers_stat() answers."""
    return {row["svname"]: _traffic(row) for row in _server_rows(answer, backend)}


def _traffic(row: Mapping[str, str]) -> Traffic:
    """A broken answer counts in eresp, srv_abrt and its class; one that never came only in eresp, nor one of 5xx."""
    refused, broken = _number(row, "econ"), _number(row, "eresp")
    if row.get("mode") == "tcp":
        return Traffic(_number(row, "stot"), refused + broken)
    unanswered = max(0, broken - _number(row, "srv_abrt"))
    return Traffic(
        requests=_number(row, "req_tot") + refused + unanswered,
        errors=_number(row, "hrsp_5xx") + refused + broken,
        response_ms=float(_number(row, "rtime")),
    )


def _number(row: Mapping[str, str], column: str) -> int:
    return int(row.get(column) or 0)


def _server_rows(answer: str, backend: str) -> list[dict[str, str]]:
    return [
        row
        for row in _stat_rows(answer)
        if row["pxname"] == backend
        and row["svname"] not in ("FRONTEND", "BACKEND")
        and row.get("type") in ("2", None)
    ]


def _stat_rows(answer: str) -> list[dict[str, str]]:
    lines = [line for line in answer.splitlines() if line.strip()]
    if not lines or not lines[0].startswith(_STAT_HEADER):
        raise ValueError("no statistics header")
    return list(csv.DictReader([lines[0].removeprefix("# "), *lines[1:]]))


def _check_text(row: Mapping[str, str]) -> str:
    parts = (row.get("check_status"), row.get("check_code"), row.get("last_chk"))
    words: list[str] = []
    for part in parts:
        if part and part not in words:
            words.append(part)
    return " ".join(words)


def parse_info(answer: str) -> dict[str, str]:
    """Read C(show info)."""
    pairs = (line.partition(":") for line in answer.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _sep, value in pairs}


def parse_processes(answer: str) -> Processes:
    """Read C(show proc) of the master."""
    found: dict[str, list[int]] = {"workers": [], "old workers": []}
    section = ""
    for line in answer.splitlines():
        if line.startswith("# "):
            section = line[2:].strip()
            continue
        match = _PROC.match(line)
        if match and section in found and match.group(2) == "worker":
            found[section].append(int(match.group(1)))
    return Processes(tuple(found["workers"]), tuple(found["old workers"]))


def parse_names(answer: str) -> tuple[str, ...]:
    """Read C(show backend)."""
    return tuple(line.strip() for line in answer.splitlines() if line.strip() and line[0] != "#")


def version_tuple(text: str) -> tuple[int, int]:
    """Return major and minor of a version as HAProxy prints it, (0, 0) when there is none."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)
