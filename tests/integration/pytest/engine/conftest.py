# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real engine, a 2 MB image made on the spot, and a network; everything made is removed again.

Needs a running Docker Engine, root, and Debian's busybox-static, which is installed here when it is missing.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from docker.errors import ImageNotFound

from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    Resources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker import DockerEngine
from tools.made import note_run

BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "httpd", "sleep", "cat", "id", "stat", "ls", "grep", "echo", "touch", "ip")
LABEL = "immutable.cutover.test"
UID = 10001

# Serves /www on $PORT: ready at once. The others are told apart by their command.
SERVE = ("/bin/sh", "-c", "exec httpd -f -p ${PORT:-8080} -h /www")
SLEEP = ("/bin/sleep", "600")

# What it serves at /cgi-bin/slow?s=SECONDS.
SLOW = b'#!/bin/sh\nsleep "${QUERY_STRING#s=}"\nprintf "Content-Type: text/plain\\r\\n\\r\\nslow"\n'
# What it serves at /cgi-bin/page: as slowly as its environment says.
PAGE = SLOW.replace(b"${QUERY_STRING#s=}", b"${PAGE_TAKES:-0}")

Spec = Callable[..., ContainerSpec]


@pytest.fixture(scope="session")
def api() -> APIClient:
    """The engine as the SDK shows it, to look behind the driver's back."""
    client = APIClient(version="auto")
    assert client.ping()
    return client


@pytest.fixture(scope="session")
def run_id() -> str:
    """What every name made in this session contains."""
    name = "it" + uuid.uuid4().hex[:8]
    note_run(name)  # what a session that is killed leaves over, `make clean` takes away
    return name


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A static busybox."""
    if not BUSYBOX.exists():
        command = ["apt-get", "install", "-y", "--no-install-recommends", "busybox-static"]
        subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    return BUSYBOX


MakeImage = Callable[..., str]


@pytest.fixture(scope="session")
def make_image(api: APIClient, busybox: Path, run_id: str) -> Iterator[MakeImage]:
    """Make images from the busybox; they are removed at the end."""
    made: list[str] = []

    def make(tag: str, *changes: str) -> str:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.add(busybox, "bin/busybox")
            for applet in APPLETS:
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
            served = {"readyz": b'{"status": "ok"}', "tag": tag.encode()}
            served |= {"cgi-bin/slow": SLOW, "cgi-bin/page": PAGE}
            for name, content in served.items():
                entry = tarfile.TarInfo(f"www/{name}")
                entry.size, entry.mode = len(content), 0o755 if "cgi-bin" in name else 0o644
                archive.addfile(entry, io.BytesIO(content))
        name = f"{run_id}:{tag}"
        api.import_image_from_data(
            data.getvalue(), repository=run_id, tag=tag, changes=list(changes)
        )
        made.append(api.inspect_image(name)["Id"])
        return made[-1]

    yield make
    for image_id in set(made):
        with contextlib.suppress(ImageNotFound):
            api.remove_image(image_id, force=True)


@pytest.fixture(scope="session")
def image(make_image: MakeImage) -> str:
    """An image that runs as a numeric, non-root user and serves /readyz."""
    command = "CMD " + str(list(SERVE)).replace("'", '"')
    return make_image("app", f"USER {UID}", command, f"LABEL {LABEL}=1")


@pytest.fixture(scope="session")
def network(run_id: str) -> Iterator[str]:
    """A network of our own."""
    name = f"{run_id}-net"
    DockerEngine().ensure_network(name)
    yield name
    APIClient(version="auto").remove_network(name)


@pytest.fixture
def engine(api: APIClient, run_id: str) -> Iterator[DockerEngine]:
    """The driver under test; containers of the test are gone afterwards, whatever it did."""
    yield DockerEngine()
    for row in api.containers(all=True, filters={"name": f"^/{run_id}"}):
        api.remove_container(row["Id"], force=True, v=True)


@pytest.fixture
def secrets_dir(run_id: str) -> Iterator[Path]:
    """Where the driver keeps its copies. Not below a folder others may not enter: the engine must reach it."""
    path = Path("/var/lib") / f"immutable-cutover-test-{run_id}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def spec(image: str, network: str, run_id: str, secrets_dir: Path) -> Spec:
    """Make container specs; C(name) is completed with the session's prefix."""

    def make(name: str, **changes: Any) -> ContainerSpec:
        values: dict[str, Any] = {
            "name": f"{run_id}-{name}",
            "image_id": image,
            "network": network,
            "labels": {"immutable.cutover.app": run_id, "immutable.cutover.process": "web"},
            "env": {"PORT": "8080"},
            "resources": Resources(memory=64 << 20, cpus=0.5, pids=64),
            "secrets_dir": str(secrets_dir),
        }
        return ContainerSpec(**(values | changes))

    return make
