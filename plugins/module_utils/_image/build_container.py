# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build makes on an engine, and takes away again; private, no stability promised."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import typing as t
import uuid
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._clock import (
    Clock,
    SystemClock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import build_python
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_owner import (
    is_dead,
    this_process,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_secrets import Secrets
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import ImageContents
from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
    EngineImages,
    engine_errors,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.foreign import open_engine
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    LABEL,
    Blob,
    Layout,
    image_manifest,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import find_tool
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    LayerRecord,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

OWNER = LABEL + "build"
# Folders in memory: what is written there is in no layer, and neither is what is mounted below.
MEMORY = {"/run": "rw,nosuid,nodev,mode=755", "/tmp": "rw,exec,nosuid,nodev,mode=1777"}
_IDLE = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
_TAIL = 2000
_PIDS = 4096
_ATTEMPTS, _PAUSE = 50, 0.2


@dataclass(frozen=True)
class Command:
    """One command in a build container; what is its name in a failure."""

    what: str
    words: tuple[str, ...]
    env: t.Mapping[str, str]
    user: str = "0"
    workdir: str = "/"
    timeout: int = 600


@dataclass
class BuildEngine:
    """An engine while something is built on it; everything made there is removed at the end."""

    images: EngineImages
    secrets: Secrets = field(default_factory=Secrets)
    made: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    owner: str = field(default_factory=lambda: f"{this_process()} {uuid.uuid4().hex}")
    clock: Clock = field(default_factory=SystemClock)

    @contextlib.contextmanager
    def session(self) -> t.Iterator[BuildEngine]:
        """Take away what builds left that died, and in the end what this one made."""
        self._sweep()
        try:
            yield self
        finally:
            self._remove()

    def load(self, layout: Layout, config: t.Mapping[str, t.Any], layers: t.Sequence[Blob]) -> str:
        """Load these layers as an image to start from, under a name of this build, and return its ID."""
        described = dict(config.get("config") or {})
        labels = {
            key: value
            for key, value in (described.get("Labels") or {}).items()
            if not key.startswith(LABEL)
        }
        described["Labels"] = {**labels, OWNER: self.owner}
        data = canonical_json({**config, "config": described})
        with work_folder("bake-load-") as folder:
            fresh = Layout(folder)
            fresh.create()
            for layer in layers:
                link = fresh.blob_path(layer.digest)
                if not os.path.lexists(link):
                    os.symlink(layout.blob_path(layer.digest), link)
            image_id = fresh.add_bytes(data).digest
            manifest = fresh.add_bytes(image_manifest(data, layers)).digest
            record = _temporary_record(image_id, manifest, layers)
            self.made.append(record.tag)
            self.images.load(fresh, record)
        return image_id

    def start(self, image_id: str, mounts: t.Mapping[str, str]) -> str:
        """Start a container without a network that does nothing, with these folders and files mounted read-only."""
        client = self.images.client
        with engine_errors("cannot start a build container"):
            host_config = client.create_host_config(
                network_mode="none",
                binds={source: {"bind": place, "mode": "ro"} for place, source in mounts.items()},
                tmpfs=dict(MEMORY),
                pids_limit=_PIDS,
                cap_drop=["NET_RAW", "NET_BIND_SERVICE", "MKNOD"],
            )
            created = client.create_container(
                image_id,
                entrypoint=build_python.command("-c", _IDLE),
                command=[],
                hostname="bake",
                name=f"bake-{uuid.uuid4().hex[:12]}",
                labels={OWNER: self.owner},
                healthcheck={"test": ["NONE"]},
                network_disabled=True,
                host_config=host_config,
                # The SDK would give it the proxy of the caller's own configuration, with its password.
                use_config_proxy=False,
            )
            self.containers.append(created["Id"])
            client.start(created["Id"])
        return str(created["Id"])

    def run(self, container: str, command: Command) -> None:
        """Run a command; its failure is one line that shows the end of what it said, without secrets."""
        env = [word for key, value in command.env.items() for word in ("--env", f"{key}={value}")]
        argv = [
            *(find_tool("docker", "Docker's command line"), "--host", self.images.host, "exec"),
            *("--user", command.user, "--workdir", command.workdir, *env, container),
            *command.words,
        ]
        self.watch(argv, command.what, command.timeout)

    def watch(
        self,
        argv: t.Sequence[str],
        what: str,
        timeout: int,
        env: t.Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: t.IO[bytes] | int = subprocess.DEVNULL,
        begin: str = "",
    ) -> None:
        """Run a program of this host until it ends or its time is over; what it says before C(begin) is not shown."""
        with tempfile.TemporaryFile() as said:
            try:
                done = subprocess.run(
                    list(argv),
                    stdin=stdin,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                end = self._end(said, begin)
                raise CutoverError(
                    f"{what} exceeded its timeout of {timeout} s{end}", timeout=timeout
                ) from error
            except OSError as error:
                raise CutoverError(f"cannot run {argv[0]}: {error.strerror}") from error
            if done.returncode != 0:
                raise CutoverError(
                    f"{what} failed with exit code {done.returncode}{self._end(said, begin)}",
                    exit_code=done.returncode,
                )

    def _end(self, said: t.IO[bytes], begin: str) -> str:
        size = said.seek(0, os.SEEK_END)
        # More than is shown, so that a secret cut in two at the start is not taken for another word.
        said.seek(max(0, size - 16 * _TAIL))
        text = self.secrets.scrub(said.read().decode("utf-8", "replace"))
        text = text[max(0, text.find(begin)) :][-_TAIL:].strip()
        return f": {text}" if text else ""

    def commit(self, container: str) -> str:
        """Stop a container and return what became of its files as an image."""
        client = self.images.client
        tag = f"{_NAME}:{uuid.uuid4().hex}"
        with engine_errors("cannot keep what the build made"):
            client.kill(container)
            self.made.append(tag)
            name, _colon, version = tag.partition(":")
            image_id = str(client.commit(container, repository=name, tag=version)["Id"])
            client.remove_container(container, force=True)
            self.containers.remove(container)
        return image_id

    @contextlib.contextmanager
    def opened(self, image_id: str) -> t.Iterator[ImageContents]:
        """Look into an image of the engine."""
        with open_engine(self.images.save, image_id) as found:
            yield found[0].contents

    def config(self, image_id: str) -> dict[str, t.Any]:
        """Return the part of an image's configuration that says how a container starts, without our own command."""
        found = dict((self.images.inspect(image_id) or {}).get("Config") or {})
        entrypoint = found.get("Entrypoint") or []
        if entrypoint and str(entrypoint[0]).startswith(build_python.PLACE):
            found["Entrypoint"] = None
        return found

    def _remove(self) -> None:
        client = self.images.client
        for container in self.containers:
            with contextlib.suppress(EngineError), engine_errors("cannot remove"):
                client.remove_container(container, force=True, v=True)
        for image in reversed(self.made):
            with contextlib.suppress(EngineError), engine_errors("cannot remove"):
                client.remove_image(image, force=True)
        self.containers.clear()
        self.made.clear()
        # What the engine's builder made for itself, and takes away when it notices that nobody listens any more.
        for _attempt in range(_ATTEMPTS):
            if not self._remove_labelled(f"{OWNER}={self.owner}"):
                break
            self.clock.sleep(_PAUSE)

    def _remove_labelled(self, label: str) -> int:
        """Remove what has a label, and return how much that was."""
        client, found = self.images.client, 0
        with contextlib.suppress(EngineError), engine_errors("cannot look for what is left"):
            for container in client.containers(all=True, filters={"label": label}):
                found += 1
                with contextlib.suppress(EngineError), engine_errors("cannot remove"):
                    client.remove_container(container["Id"], force=True, v=True)
            for image in client.images(filters={"label": label}):
                found += 1
                with contextlib.suppress(EngineError), engine_errors("cannot remove"):
                    client.remove_image(image["Id"], force=True)
        return found

    def _sweep(self) -> None:
        """Remove what builds of this machine left that are not running any more."""
        client = self.images.client
        with engine_errors("cannot look for what earlier builds left"):
            for found in client.containers(all=True, filters={"label": OWNER}):
                if is_dead(found["Labels"].get(OWNER, "")):
                    self.containers.append(found["Id"])
            for image in client.images(filters={"label": OWNER}):
                if is_dead((image.get("Labels") or {}).get(OWNER, "")):
                    self.made.append(image["Id"])
        self._remove()


_NAME = "immutable-cutover-build"


def _temporary_record(image_id: str, manifest: str, layers: t.Sequence[Blob]) -> BakeRecord:
    return BakeRecord(
        name=_NAME,
        version=uuid.uuid4().hex,
        kind="app",
        arch="",
        image_id=image_id,
        manifest_digest=manifest,
        recipe_hash="",
        base="",
        epoch=0,
        size=0,
        layers=tuple(LayerRecord(layer.digest, layer.size, layer.purpose) for layer in layers),
    )
