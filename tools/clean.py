# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Remove what the commands of this checkout made on this machine, and nothing else.

A label of the collection does not say who made something: an app that somebody deployed with it carries the same ones.
So what is removed is known from this checkout's own folders (tools/made.py): the sites of the demo, the bench and the
tests by their names, where their replicas run an image that was baked here; the images baked here that nothing else
uses; their state; the folders in LOCAL inside the repository; and the Docker Engine only if `make` in this checkout
started it and no container runs in it. Distribution packages stay.

Runs with any Python 3.11 and no library: it also removes the virtual environment.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # it is run as a file, by any Python
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.made import Made

ROOT = Path(__file__).resolve().parent.parent
APP = "immutable.cutover.app"
ROLE = "immutable.cutover.role"
NETWORK = "immutable.cutover.network"
SYSTEM = Path("/")
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
    remove_path: str


# In the order of removal: what uses another goes first.
KINDS = (
    Kind("container", "/containers/json?all=1", "/containers/{}?force=1&v=1"),
    Kind("network", "/networks", "/networks/{}"),
    Kind("image", "/images/json", "/images/{}?force=1"),
)


@dataclass(frozen=True)
class Found:
    """An object in the engine that this checkout made."""

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


def title(item: dict[str, Any], fallback: str) -> str:
    """The name a reader knows the object by."""
    names = item.get("Names") or item.get("RepoTags") or [item.get("Name") or fallback]
    return str(names[0]).lstrip("/")


def _container_is_ours(made: Made, item: dict[str, Any]) -> bool:
    name, labels = title(item, ""), item.get("Labels") or {}
    if made.of_a_test(name):
        return True
    if item.get("ImageID") not in made.images:
        return False
    return labels.get(APP) in made.sites or (ROLE in labels and name in made.balancers)


def _network_is_ours(made: Made, item: dict[str, Any]) -> bool:
    name = title(item, "")
    site = NETWORK in (item.get("Labels") or {}) and name in made.networks
    return site or made.of_a_test(name)


def _image_is_ours(made: Made, item: dict[str, Any]) -> bool:
    return item["Id"] in made.images or made.of_a_test(title(item, "").partition(":")[0])


OURS = {
    "container": _container_is_ours,
    "network": _network_is_ours,
    "image": _image_is_ours,
}


def selected(kind: Kind, listing: Any, made: Made) -> Iterator[Found]:
    """Those objects of a listing that this checkout made."""
    for item in listing or ():
        if OURS[kind.name](made, item):
            identity = item["Id"]
            yield Found(kind, identity, title(item, identity))


def in_use(listing: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The images that a container uses, running or not, and one that does."""
    return {item["ImageID"]: title(item, item["Id"]) for item in listing}


def running(listing: Iterable[dict[str, Any]]) -> list[str]:
    """The containers that run: an engine with one of these is not stopped."""
    return [title(item, item["Id"]) for item in listing if item.get("State") == "running"]


def engine_socket(docker_host: str | None) -> str | None:
    """The path of the engine's socket, or None when the engine is somewhere else."""
    if not docker_host:
        return "/var/run/docker.sock"
    return docker_host.removeprefix("unix://") if docker_host.startswith("unix://") else None


def clean_engine(engine: Engine, made: Made) -> tuple[list[str], frozenset[str]]:
    """Remove what was made here; what could not be removed, and the IDs of images that stay as others use them."""
    left, kept = [], set()
    for kind in KINDS:
        found = list(selected(kind, engine.call("GET", kind.list_path), made))
        # Last kind: what still uses an image is not from here.
        used = in_use(engine.call("GET", KINDS[0].list_path)) if kind.name == "image" else {}
        for item in found:
            if item.identity in used:
                print(f"kept {kind.name} {item.title}: {used[item.identity]} uses it")
                kept.add(item.identity)
                continue
            try:
                path = kind.remove_path.format(urllib.parse.quote(item.identity, safe=":"))
                engine.call("DELETE", path)
            except EngineError as error:
                left.append(f"{kind.name} {item.title}: {error}")
            else:
                print(f"removed {kind.name} {item.title}")
    return left, frozenset(kept)


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


def finish_engine(engine: Engine, made: Made) -> list[str]:
    """Stop the engine if this checkout started it and nothing runs in it; what is left otherwise."""
    pid = our_engine(PID_FILE)
    if pid is None or pid != made.engine:
        return []
    others = running(engine.call("GET", "/containers/json"))
    if others:
        return [f"the engine (pid {pid}): these containers run in it: {', '.join(others)}"]
    if not stop_engine(pid):
        return [f"the engine (pid {pid}): it did not end within 60 s"]
    print(f"stopped the engine (pid {pid})")
    remove_path(PID_FILE.parent)
    return []


def stop_own_engines(made: Made, system: Path) -> list[str]:
    """Stop the engines that a killed run of tools/chaos left, with all that runs in them; what did not end."""
    left = []
    for pid_file in made.engines(system):
        pid = our_engine(pid_file)
        if pid is None:
            continue
        os.kill(pid, signal.SIGCONT)  # it may have been stopped in the middle of a case
        if not stop_engine(pid):
            left.append(f"the engine (pid {pid}): it did not end within 60 s")
            continue
        print(f"stopped the engine (pid {pid})")
        for mounted in (pid_file.parent / "exec/netns/default", pid_file.parent / "data"):
            # Each start mounts it once more.
            while (
                subprocess.run(["umount", mounted], capture_output=True, check=False).returncode
                == 0
            ):
                pass
    return left


def clean_state(made: Made, system: Path) -> None:
    """Remove what the sites left on this host, and the folders around it that are empty then."""
    for path in made.state(system):
        remove_path(path)
    for folder in made.shared_folders(system):
        with contextlib.suppress(OSError):  # not there, or somebody else's is in it
            folder.rmdir()


def clean_host(made: Made) -> list[str]:
    """Everything outside the repository; what is left."""
    stuck = stop_own_engines(made, SYSTEM)
    if stuck:
        return stuck
    path = engine_socket(os.environ.get("DOCKER_HOST"))
    if path is None:
        return ["everything in the engine: DOCKER_HOST is not a Unix socket of this machine"]
    engine = Engine(path)
    try:
        left, kept = clean_engine(engine, made)
        made = replace(made, images=made.images - kept)  # who uses one wants its record, too
        left = left or finish_engine(engine, made)
    except (FileNotFoundError, ConnectionRefusedError):
        print(f"no engine answers on {path}: nothing to remove there")
        left = []
    except (OSError, EngineError, http.client.HTTPException) as error:
        left = [f"objects in the engine on {path}: {error}"]
    if not left:
        clean_state(made, SYSTEM)
    return left


def main(arguments: list[str]) -> int:
    if arguments:  # whoever asks for help does not want anything removed
        print(__doc__, file=sys.stderr)
        return 2
    left = clean_host(Made.by(ROOT))
    for folder in caches(ROOT):
        shutil.rmtree(folder)
    for name in LOCAL:
        if not (left and name == "build"):  # it says what was made here
            remove_path(ROOT / name)
    for line in left:
        print(f"left: {line}", file=sys.stderr)
    print("clean" if not left else f"not clean: {len(left)} left; build/ is kept to try again")
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
