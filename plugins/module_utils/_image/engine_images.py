# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a container engine: is it there, load it, list ours; private, no stability promised."""

from __future__ import annotations

import contextlib
import itertools
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._disk import require, space
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError
from ansible_collections.immutable.cutover.plugins.module_utils._image.docker_archive import (
    docker_archive,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    LABEL,
    Layout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

try:
    import docker
    import docker.errors
    import requests.exceptions
except ImportError as error:
    DOCKER_ERROR: ImportError | None = error
else:
    DOCKER_ERROR = None

# Reading an archive of some hundred megabytes takes an engine on a busy disk this long at most.
_LOAD_TIMEOUT = 300


@contextlib.contextmanager
def engine_errors(what: str) -> t.Iterator[None]:
    """Turn what the SDK raises into one error of ours."""
    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EngineError(f"{what}: {error}") from error


class EngineImages:
    """What a bake needs of an engine."""

    def __init__(self, host: str, timeout: int = 60) -> None:
        if DOCKER_ERROR is not None:
            raise EngineError(
                "loading images needs the Docker SDK for Python: install docker",
                cause=str(DOCKER_ERROR),
            )
        self.host = host
        with engine_errors(f"cannot reach the container engine at {host}"):
            self.client = docker.APIClient(
                host, version="auto", timeout=max(timeout, _LOAD_TIMEOUT)
            )

    def inspect(self, image: str) -> dict[str, t.Any] | None:
        """Return what the engine knows about an image by ID or tag; None if it has none."""
        with engine_errors(f"cannot inspect image {image}"):
            try:
                return t.cast("dict[str, t.Any]", self.client.inspect_image(image))
            except docker.errors.ImageNotFound:
                return None

    def has(self, image_id: str) -> bool:
        """Tell whether the engine has exactly this image."""
        return (self.inspect(image_id) or {}).get("Id") == image_id

    def hash_of_tag(self, tag: str) -> str:
        """Return the recipe hash of the image that has this tag, empty if there is none."""
        found = self.inspect(tag)
        if found is None:
            return ""
        labels = (found.get("Config") or {}).get("Labels") or {}
        return labels.get(LABEL + "recipe-hash", "") or "none"

    def tagged(self, record: BakeRecord) -> bool:
        """Tell whether the human name points to this image."""
        return (self.inspect(record.tag) or {}).get("Id") == record.image_id

    def load(
        self, layout: Layout, record: BakeRecord, complete: t.Callable[[], None] = lambda: None
    ) -> int:
        """Load an image, sending only the layers the engine lacks; return how many were sent.

        C(complete) is called before the others are read after all: an engine may refuse an archive that lacks some.
        """
        known = self.shared_layers([layer.digest for layer in record.layers])
        self.require_room(record, {layer.digest: layer.size for layer in record.layers}, known)
        if not known or not self.load_archive(docker_archive(layout, record, known), record):
            known = set()
            complete()
            self.load_archive(docker_archive(layout, record), record, must=True)
        return len({layer.digest for layer in record.layers} - known)

    def require_room(
        self, record: BakeRecord, sizes: t.Mapping[str, int], known: t.Collection[str]
    ) -> None:
        """Refuse an image whose layers that are not there yet do not fit on the engine's disk."""
        if self.host.startswith("unix://"):
            needed = sum(size for digest, size in sizes.items() if digest not in known)
            require(space(str(self.info().get("DockerRootDir", ""))), needed, f"image {record.tag}")

    def load_archive(
        self, archive: t.Iterable[bytes] | t.BinaryIO, record: BakeRecord, must: bool = False
    ) -> bool:
        """Load what C(docker load) reads; return whether that gave the engine the image of the record.

        An archive without some of the layers may be refused, a whole one must not.
        """
        with contextlib.nullcontext() if must else contextlib.suppress(EngineError):
            self._load(archive, record)
        if self.has(record.image_id):
            return True
        if must:
            found = (self.inspect(record.tag) or {}).get("Id", "nothing")
            raise EngineError(
                f"{record.tag}: the engine names what it loaded {found}, not {record.image_id}; "
                "engines with the containerd image store are not supported yet"
            )
        return False

    def info(self) -> dict[str, t.Any]:
        """Return what the engine says about itself."""
        with engine_errors(f"cannot ask the container engine at {self.host}"):
            return t.cast("dict[str, t.Any]", self.client.info())

    def tag(self, record: BakeRecord) -> None:
        """Point the human name to the image."""
        with engine_errors(f"cannot tag {record.tag}"):
            self.client.tag(record.image_id, record.name, record.version)

    def save(self, image: str) -> t.Iterator[bytes]:
        """Yield the archive of an image by ID, tag or digest, whoever built it."""
        if self.inspect(image) is None:
            raise EngineError(f"{self.host} has no image {image}")
        with engine_errors(f"cannot read image {image}"):
            yield from self.client.get_image(image)

    def _load(self, archive: t.Iterable[bytes] | t.BinaryIO, record: BakeRecord) -> None:
        with engine_errors(f"cannot load {record.tag}"):
            for answer in self.client.load_image(archive):
                if "error" in answer:
                    raise EngineError(f"cannot load {record.tag}: {answer['error']}")

    def shared_layers(self, wanted: t.Sequence[str]) -> set[str]:
        """Return the first layers that some image of ours on the engine has too; a layer counts with all below it."""
        longest = 0
        for image in self._ours():
            found = ((self.inspect(image["Id"]) or {}).get("RootFS") or {}).get("Layers") or []
            pairs = zip(found, wanted, strict=False)
            shared = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
            longest = max(longest, shared)
        return set(wanted[:longest])

    def _ours(self) -> list[dict[str, t.Any]]:
        with engine_errors("cannot list images"):
            listed = self.client.images(filters={"label": LABEL + "recipe-hash"})
        return t.cast("list[dict[str, t.Any]]", listed)

    def list_ours(self) -> list[dict[str, t.Any]]:
        """Return every image of the engine that a bake made, in a stable order."""
        found = [
            {
                "image_id": image["Id"],
                "tags": sorted(image.get("RepoTags") or []),
                "name": image["Labels"].get(LABEL + "name", ""),
                "version": image["Labels"].get(LABEL + "version", ""),
                "kind": image["Labels"].get(LABEL + "kind", ""),
                "recipe_hash": image["Labels"][LABEL + "recipe-hash"],
                "size": image["Size"],
            }
            for image in self._ours()
        ]
        return sorted(found, key=lambda item: (item["name"], item["version"], item["image_id"]))
