# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What must hold after a run that was killed and the run after it, seen from outside the collection."""

from __future__ import annotations

import csv
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.pytest.kill_rig import REPLICAS, Release, Site
from tools.sample import rows

MUTATING = ("start", "register", "activate", "drain", "deregister", "destroy", "record")


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
    listing = [
        "docker",
        "ps",
        "-aq",
        "--no-trunc",
        "--filter",
        f"label=immutable.cutover.app={site.app}",
    ]
    ids = _output(listing).split()
    found = json.loads(_output(["docker", "inspect", *ids])) if ids else []
    return sorted(map(_seen, found), key=lambda item: item.name)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


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
        assert answer.status == 200, body
        found.add((json.loads(body)["instance"], json.loads(body)["greeting"]))
        if number > 8 and len(found) >= enough:
            break
    return found


def converged(site: Site, release: Release) -> None:
    """Assert that this release and nothing else of ours runs, is registered, persisted and serves."""
    seen = containers(site)
    assert [item.env["GREETING"] for item in seen] == [release.mark] * REPLICAS, seen
    assert all(item.running for item in seen), seen
    expected = {item.name: (f"{item.address}:8080", "UP") for item in seen}
    assert targets(site) == expected
    # The role gives each replica its own name as INSTANCE.
    assert answers(site, REPLICAS) == {(item.name, release.mark) for item in seen}
    lines = persisted(site)
    assert set(lines) == set(expected)
    for item in seen:
        assert lines[item.name].startswith(f"{item.address}:8080 "), lines
        assert not lines[item.name].endswith("disabled"), lines
    _no_secret_left(site, seen)
    assert site.lease()["holder"] is None
    _journal_holds(site, seen)


def _no_secret_left(site: Site, seen: list[Seen]) -> None:
    folder = site.app_folder / "replicas"
    copies = set(os.listdir(folder)) if folder.exists() else set()
    mounted = {Path(source).parent.name for item in seen for source in item.secrets}
    assert copies == mounted, "copies of secrets that no container uses"


def _journal_holds(site: Site, seen: list[Seen]) -> None:
    """No step of an earlier epoch ends well after a later one began, and the last word is a record."""
    newest = 0
    ended: list[dict[str, Any]] = []
    for row in rows(site.journal):
        newest = max(newest, row["epoch"])
        late = row["epoch"] < newest and row["outcome"] == "ok" and row["step"] in MUTATING
        assert not late, f"an orphan changed something: {row}"
        if row["epoch"] == newest:
            ended.append(row)
    assert newest <= site.lease()["epoch"]
    last = ended[-1]
    assert (last["step"], last["outcome"]) == ("record", "ok"), last
    assert {f"{site.app}-web-{last['release']}-{slot}" for slot in (1, 2)} == {
        item.name for item in seen
    }


def unchanged(site: Site, release: Release) -> None:
    """Assert that one more run finds nothing to do."""
    before = containers(site)
    ended = site.play("replace", release)
    assert ended.code == 0, ended.text
    assert ended.changed == 0, ended.text
    assert containers(site) == before
    assert persisted(site).keys() == {item.name for item in before}
