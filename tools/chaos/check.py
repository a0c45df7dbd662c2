# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What must hold after a run that was disturbed and the run after it, seen from outside the collection.

C(amiss) and C(changes) return what is wrong, a text for each; C(converged) and C(unchanged) assert that nothing is.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.chaos.rig import REPLICAS, Release, Site, Tail
from tools.sample import rows

MUTATING = ("start", "register", "activate", "drain", "deregister", "destroy", "record")
DRAFTS = ("*.new", "*.new.*", ".ansible_tmp*")
"""How the collection, and Ansible itself, name a file that they have not finished."""


@dataclass(frozen=True)
class Seen:
    """One container as the engine shows it."""

    id: str
    name: str
    running: bool
    address: str
    env: Mapping[str, str]
    secrets: tuple[str, ...]


def containers(site: Site) -> list[Seen]:
    """Return every container of the app, running or not, by name."""
    label = f"label=immutable.cutover.app={site.app}"
    ids = site.docker("ps", "-aq", "--no-trunc", "--filter", label).split()
    found = json.loads(site.docker("inspect", *ids)) if ids else []
    return sorted(map(_seen, found), key=lambda item: item.name)


def _seen(shown: dict[str, Any]) -> Seen:
    networks = shown["NetworkSettings"]["Networks"].values()
    return Seen(
        id=shown["Id"],
        name=shown["Name"].lstrip("/"),
        running=shown["State"]["Running"],
        address=next((network["IPAddress"] for network in networks), ""),
        env=dict(word.split("=", 1) for word in shown["Config"]["Env"]),
        secrets=tuple(
            mount["Source"]
            for mount in shown["Mounts"]
            if mount["Destination"].startswith("/run/secrets")
        ),
    )


def ask(site: Site, command: str) -> str:
    """Ask HAProxy as a stranger would, not through the driver."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(site.socket))
        connection.sendall(command.encode() + b"\n")
        chunks = []
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks).decode()


def targets(site: Site) -> dict[str, tuple[str, str]]:
    """Return address and status of every server that HAProxy has."""
    lines = ask(site, "show stat shop 4 -1").strip().splitlines()
    table = csv.DictReader([lines[0].removeprefix("# "), *lines[1:]])
    return {row["svname"]: (row["addr"], row["status"]) for row in table}


def weights(site: Site) -> dict[str, int]:
    """Return the weight of every server that HAProxy has."""
    shown = ask(site, "show servers state shop").splitlines()
    lines = [line.split() for line in shown if line.strip()]
    header = lines[1][1:]
    found = [dict(zip(header, line, strict=True)) for line in lines[2:]]
    return {row["srv_name"]: int(row["srv_uweight"]) for row in found}


def persisted(site: Site) -> dict[str, str]:
    """Return the servers in haproxy.cfg, each with the rest of its line."""
    text = site.config.read_text(encoding="utf-8")
    lines = [line.split(maxsplit=2) for line in text.splitlines()]
    return {line[1]: line[2] for line in lines if line[:1] == ["server"]}


def answers(site: Site, enough: int, seconds: float = 30.0) -> set[tuple[str, str]]:
    """Send requests through HAProxy until that many replicas have answered; return how they call themselves.

    For some seconds all may go to one: the other has as many more requests of the load in flight.
    """
    found: set[tuple[str, str]] = set()
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        number += 1
        connection = http.client.HTTPConnection("127.0.0.1", site.sample.port, timeout=10)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            found.add((f"status {answer.status}", ""))
            break
        found.add((json.loads(body)["instance"], json.loads(body)["greeting"]))
        if number > 8 and len(found) >= enough:
            break
    return found


def serving(site: Site) -> set[str]:
    """Return which releases have a container, by the greeting that tells them apart."""
    return {item.env.get("GREETING", "") for item in containers(site)}


def converged(
    site: Site, release: Release, journalled: Iterable[dict[str, Any]] | None = None
) -> None:
    """Assert that this release and nothing else of ours runs, is registered, persisted and serves."""
    found = amiss(site, release, journalled)
    assert not found, "\n".join(found)


def unchanged(site: Site, release: Release) -> None:
    """Assert that one more run finds nothing to do."""
    found = changes(site, release)
    assert not found, "\n".join(found)


def amiss(
    site: Site, release: Release, journalled: Iterable[dict[str, Any]] | None = None
) -> list[str]:
    """Return why it is not so that this release and nothing else of ours runs, is registered, persisted and serves.

    C(journalled) is what was journalled since the last time that this was so, without it everything ever.
    """
    seen = containers(site)
    marks = [item.env["GREETING"] for item in seen]
    if marks != [release.mark] * REPLICAS:
        return [f"containers are of {marks}, wanted {REPLICAS} of {release.mark}"]
    return [
        *(f"{item.name} does not run" for item in seen if not item.running),
        *_balanced(site, seen, release),
        *_left_over(site, seen),
        *_lease(site),
        *_journal(site, seen, list(rows(site.journal) if journalled is None else journalled)),
    ]


def _balanced(site: Site, seen: list[Seen], release: Release) -> Iterator[str]:
    expected = {item.name: (f"{item.address}:8080", "UP") for item in seen}
    if targets(site) != expected:
        yield f"HAProxy has {targets(site)}, wanted {expected}"
        return
    if set(weights(site).values()) != {1}:
        yield f"HAProxy has the weights {weights(site)}, wanted 1 for all"
    # The role gives each replica its own name as INSTANCE.
    heard = answers(site, REPLICAS)
    if heard != {(item.name, release.mark) for item in seen}:
        yield f"those who answer are {sorted(heard)}"
    lines = persisted(site)
    if set(lines) != set(expected):
        yield f"haproxy.cfg has {sorted(lines)}, wanted {sorted(expected)}"
        return
    for item in seen:
        line = lines[item.name]
        if not line.startswith(f"{item.address}:8080 ") or line.endswith("disabled"):
            yield f"haproxy.cfg has server {item.name} {line}"


def _left_over(site: Site, seen: list[Seen]) -> Iterator[str]:
    folder = site.app_folder / "replicas"
    copies = set(os.listdir(folder)) if folder.exists() else set()
    mounted = {Path(source).parent.name for item in seen for source in item.secrets}
    if copies != mounted:
        yield f"copies of secrets are {sorted(copies)}, containers use {sorted(mounted)}"
    yield from (f"an unfinished file was left: {path}" for path in drafts(site))


def drafts(site: Site) -> list[Path]:
    """Return files of the collection that nobody finished."""
    folders = (site.app_folder, site.config.parent)
    return sorted(
        {path for folder in folders for pattern in DRAFTS for path in folder.rglob(pattern)}
    )


def _lease(site: Site) -> Iterator[str]:
    holder = site.lease()["holder"]
    if holder is not None:
        yield f"the lease is still held by {holder}"


def _journal(site: Site, seen: list[Seen], journalled: list[dict[str, Any]]) -> Iterator[str]:
    """No step of an earlier epoch ends well after a later one began, and the last word is a record."""
    newest = 0
    for row in journalled:
        newest = max(newest, row["epoch"])
        if row["epoch"] < newest and row["outcome"] == "ok" and row["step"] in MUTATING:
            yield f"an orphan changed something: {row}"
    if newest > site.lease()["epoch"]:
        yield f"the journal has epoch {newest}, the lease {site.lease()['epoch']}"
    runs = [row for row in journalled if row["step"] == "run"]
    begun = {row["run"] for row in runs if row["outcome"] == "begin"}
    for run in sorted(begun - {row["run"] for row in runs if row["outcome"] != "begin"}):
        yield f"run {run} has no last word in the journal"
    ended = [row for row in journalled if row["epoch"] == newest and row["step"] in MUTATING]
    if not ended:
        return
    last = ended[-1]
    if (last["step"], last["outcome"]) != ("record", "ok"):
        yield f"the journal ends with {last}"
    elif {f"{site.app}-web-{last['release']}-{slot}" for slot in range(1, REPLICAS + 1)} != {
        item.name for item in seen
    }:
        yield f"the journal ends with a record of release {last['release']}"


def changes(site: Site, release: Release) -> list[str]:
    """Return why it is not so that one more run finds nothing to do."""
    before = containers(site)
    ended = site.play("replace", release)
    if ended.code != 0:
        return [f"one more run ends with {ended.code}: {ended.text[-2000:]}"]
    problems = []
    if ended.changed != 0:
        problems.append(f"one more run changed something: {ended.text[-2000:]}")
    if containers(site) != before:
        problems.append("one more run replaced containers")
    if persisted(site).keys() != {item.name for item in before}:
        problems.append(f"after one more run haproxy.cfg has {sorted(persisted(site))}")
    return problems


def secrets_left(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that have a secret in clear."""
    # grep ends with 1 when it finds nothing, and names what it could not read.
    found = subprocess.run(
        ["grep", "-rlF", "--", secret, str(folder)], capture_output=True, text=True, check=False
    )
    return [f"a secret was left in {line}" for line in found.stdout.splitlines()]


def tail(site: Site) -> Tail:
    """Begin to read the journal here."""
    return Tail(site.journal)
