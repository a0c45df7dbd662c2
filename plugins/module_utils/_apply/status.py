# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of an app as a person reads it; pure, private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._shown import span, who

SHORT = 19
"""C(sha256:) and twelve digits."""


def lines(found: Mapping[str, Any], now: float) -> list[str]:
    """Return what runs, what is kept, who deploys, what is under way and what to do next."""
    result = [_head(found)]
    for process in sorted({*found["wanted"], *found["processes"]}):
        result += _process(process, found["processes"].get(process, []), found["wanted"])
    result += [f"  {problem}" for problem in found["problems"]]
    result += [_kept(found), _lease(found["lease"], now)]
    waiting = [who(holder) for holder in found["lease"]["line"]]
    result += [f"  in line: {'; '.join(waiting)}"] if waiting else []
    result += [f"  under way: {_under_way(found)}"] if found["under_way"] else []
    return result + [f"  next: {line}" for line in advice(found)]


def advice(found: Mapping[str, Any]) -> list[str]:
    """Say what a person should do now; nothing where all is well."""
    lease, under_way = found["lease"], found["under_way"]
    if lease["holder"] and (lease["dead"] or lease["expired"]):
        gone = "is dead" if lease["dead"] else "has not been heard from for longer than its lease"
        return [f"the run that has the lease {gone}: run recover, or replace again to go on"]
    if lease["holder"]:
        return ["wait for the run that has the lease"]
    if under_way.get("held"):
        return [f"run promote to pass the gate {under_way['held']}, or abort to go back"]
    if under_way:
        return [
            "no run works on what was begun: run recover (it finishes or undoes it), replace again or rollback"
        ]
    return _repairs(found)


def _repairs(found: Mapping[str, Any]) -> list[str]:
    if found["problems"]:
        return ["see to the load balancer: what it routes to is not known"]
    if not found["releases"]:
        return []
    short = [
        process
        for process, wanted in found["wanted"].items()
        if _serving(found["processes"].get(process, [])) < wanted
    ]
    odd = [
        replica["name"]
        for replicas in found["processes"].values()
        for replica in replicas
        if replica["state"] != "serving"
    ]
    if short or odd:
        return [f"run recover: {', '.join(odd) or ', '.join(short)} should serve and does not"]
    return []


def _head(found: Mapping[str, Any]) -> str:
    current = found["releases"][-1] if found["releases"] else None
    if current is None:
        return f"{found['app']}: no release completed yet"
    name, _at, digest = current["image"].rpartition("@")
    return f"{found['app']} {_named(current)}, image {name}@{digest[:SHORT]}"


def _process(
    process: str, replicas: Sequence[Mapping[str, Any]], wanted: Mapping[str, int]
) -> list[str]:
    of = f", {wanted[process]} wanted" if process in wanted else ""
    rows = [
        (
            replica["name"],
            replica["version"] or replica["release"],
            replica["state"],
            replica["address"],
            "" if replica.get("in_flight") is None else f"{replica['in_flight']} in flight",
            "" if replica.get("age") is None else f"up {span(replica['age'])}",
            replica.get("health", ""),
        )
        for replica in replicas
    ]
    return [
        f"  {process}: {_serving(replicas)} serve{of}",
        *(f"    {line}" for line in _table(rows)),
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width
        ).rstrip()
        for row in rows
    ]


def _serving(replicas: Sequence[Mapping[str, Any]]) -> int:
    return sum(replica["state"] == "serving" for replica in replicas)


def _kept(found: Mapping[str, Any]) -> str:
    earlier = [_named(item) for item in found["releases"][-2::-1]]
    return f"  kept for a rollback: {', '.join(earlier) or 'none'}"


def _named(release: Mapping[str, Any]) -> str:
    return f"{release['version']} ({release['id']})" if release["version"] else str(release["id"])


def _lease(lease: Mapping[str, Any], now: float) -> str:
    if not lease["holder"]:
        return "  lease: free"
    state = "dead" if lease["dead"] else "expired" if lease["expired"] else ""
    return (
        f"  lease: {who(lease['holder'])}, for {span(now - lease['acquired'])}, "
        f"renewed {span(now - lease['renewed'])} ago{', ' + state if state else ''}"
    )


def _under_way(found: Mapping[str, Any]) -> str:
    begun = found["under_way"]
    versions = {
        replica["release"]: replica["version"]
        for replicas in found["processes"].values()
        for replica in replicas
    }
    named = _named({"id": begun["release"], "version": versions.get(begun["release"], "")})
    held = f", held at gate {begun['held']}" if begun.get("held") else ""
    return f"release {named}{held}"
