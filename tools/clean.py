# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Remove what this project made on this machine, and nothing else.

That is: containers, networks, volumes and images that carry a label `immutable.cutover.*`; the folders in STATE; the
folders in LOCAL inside the repository; and the Docker Engine only if the role `engine` started it in the background (it
wrote a pid file) and nobody else's container runs in it. Distribution packages stay.

Runs with any Python 3.11 and no library: it also removes the virtual environment.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import stat
import sys
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "immutable.cutover."
STATE = tuple(Path(parent) / "immutable-cutover" for parent in ("/etc", "/run", "/var/lib"))
PID_FILE = Path("/var/lib/immutable-cutover/engine/dockerd.pid")
# .venv is last: this may be running from it.
LOCAL = (
    "build",
    "tests/output",
    "changelogs/.plugin-cache.yaml",
    ".hypothesis",
    ".ansible",
    ".cache",
    ".venv",
)
PROTECTED = (".git", ".venv")


@dataclass(frozen=True)
class Kind:
    """One kind of object in the engine: where its list is, and how one is removed."""

    name: str
    list_path: str
    list_key: str | None
    id_key: str
    remove_path: str


# In the order of removal: what uses another goes first.
KINDS = (
    Kind("container", "/containers/json?all=1", None, "Id", "/containers/{}?force=1&v=1"),
    Kind("network", "/networks", None, "Id", "/networks/{}"),
    Kind("volume", "/volumes", "Volumes", "Name", "/volumes/{}?force=1"),
    Kind("image", "/images/json?all=1", None, "Id", "/images/{}?force=1"),
)


@dataclass(frozen=True)
class Found:
    """An object in the engine that is ours."""

    kind: Kind
    identity: str
    title: str


class EngineError(Exception):
    """The engine refused something."""


class Engine:
    """The little of the engine's API that is needed here, over its Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    def call(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        try:
            connection.sock.connect(self._path)
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status >= 400 and not (method == "DELETE" and response.status == 404):
            raise EngineError(
                f"{method} {path}: {response.status} {body.decode(errors='replace').strip()}"
            )
        return json.loads(body) if body and method == "GET" else None


def ours(labels: dict[str, str] | None) -> bool:
    return any(key.startswith(PREFIX) for key in labels or {})


def title(item: dict[str, Any], fallback: str) -> str:
    """The name a reader knows the object by."""
    names = item.get("Names") or item.get("RepoTags") or [item.get("Name") or fallback]
    return str(names[0]).lstrip("/")


def selected(kind: Kind, listing: Any) -> Iterator[Found]:
    """Those objects of a listing that carry one of our labels."""
    items = listing[kind.list_key] if kind.list_key else listing
    for item in items or ():
        if ours(item.get("Labels")):
            identity = item[kind.id_key]
            yield Found(kind, identity, title(item, identity))


def foreign_running(listing: Iterable[dict[str, Any]]) -> list[str]:
    """Running containers that are not ours: an engine with one of these is not stopped."""
    return [
        title(item, item["Id"])
        for item in listing
        if item.get("State") == "running" and not ours(item.get("Labels"))
    ]


def engine_socket(docker_host: str | None) -> str | None:
    """The path of the engine's socket, or None when the engine is somewhere else."""
    if not docker_host:
        return "/var/run/docker.sock"
    return docker_host.removeprefix("unix://") if docker_host.startswith("unix://") else None


def clean_engine(engine: Engine) -> list[str]:
    """Remove our objects; the names of what could not be removed."""
    left = []
    for kind in KINDS:
        for found in selected(kind, engine.call("GET", kind.list_path)):
            try:
                engine.call(
                    "DELETE", kind.remove_path.format(urllib.parse.quote(found.identity, safe=":"))
                )
            except EngineError as error:
                left.append(f"{kind.name} {found.title}: {error}")
            else:
                print(f"removed {kind.name} {found.title}")
    return left


def our_engine(pid_file: Path) -> int | None:
    """The process of the engine that the role `engine` started, if it still runs."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if f"--pidfile={pid_file}".encode() in words else None


def stop_engine(pid: int) -> bool:
    """Ask dockerd to end, and wait until it has."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = (
                Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
            )
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.2)
    return False


def remove_path(path: Path) -> bool:
    """Remove a file or folder, not following a symbolic link; whether there was one."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        path.unlink()
    print(f"removed {path}")
    return True


def caches(root: Path) -> Iterator[Path]:
    """The folders of byte code that Python left beside the sources."""
    for folder, names, _files in os.walk(root):
        names[:] = [name for name in names if name not in PROTECTED]
        if "__pycache__" in names:
            names.remove("__pycache__")
            yield Path(folder) / "__pycache__"


def finish_engine(engine: Engine) -> list[str]:
    """Stop the engine if it is the project's own and nobody else uses it; what is left otherwise."""
    pid = our_engine(PID_FILE)
    if pid is None:
        return []
    others = foreign_running(engine.call("GET", "/containers/json"))
    if others:
        return [
            f"the engine (pid {pid}): these containers are not the project's: {', '.join(others)}"
        ]
    if not stop_engine(pid):
        return [f"the engine (pid {pid}): it did not end within 60 s"]
    print(f"stopped the engine (pid {pid})")
    return []


def clean_host() -> list[str]:
    """Everything outside the repository; what is left."""
    path = engine_socket(os.environ.get("DOCKER_HOST"))
    if path is None:
        return ["everything in the engine: DOCKER_HOST is not a Unix socket of this machine"]
    engine = Engine(path)
    try:
        left = clean_engine(engine)
        left += finish_engine(engine)
    except (FileNotFoundError, ConnectionRefusedError):
        print(f"no engine answers on {path}: nothing to remove there")
        left = []
    except (OSError, EngineError, http.client.HTTPException) as error:
        left = [f"objects in the engine on {path}: {error}"]
    if left:
        return [*left, *(f"{folder}: kept while the above is left" for folder in STATE)]
    for folder in STATE:
        remove_path(folder)
    return []


def main() -> int:
    left = clean_host()
    for folder in caches(ROOT):
        shutil.rmtree(folder)
    for name in LOCAL:
        remove_path(ROOT / name)
    for line in left:
        print(f"left: {line}", file=sys.stderr)
    print("clean" if not left else f"not clean: {len(left)} left")
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
