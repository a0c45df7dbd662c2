# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image configuration, manifest and OCI layout, all written by us; private, no stability promised.

Layers are stored uncompressed: then neither digest depends on the version of a compressor.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    LAYER_FORMAT,
    canonical_json,
    locked,
    sha256_bytes,
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LABEL = "immutable.cutover."
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Blob:
    """One piece of an image in the layout."""

    digest: str
    size: int
    purpose: str = ""


@dataclass(frozen=True)
class BaseImage:
    """The image an app is assembled on, as its own configuration describes it."""

    record: BakeRecord
    config: t.Mapping[str, t.Any]
    layers: tuple[Blob, ...]


def image_config(
    recipe: Recipe, lock: Lock, recipe_hash: str, layers: t.Sequence[Blob], base: BaseImage | None
) -> bytes:
    """Return the configuration whose sha256 is the image ID."""
    inherited = base.config if base else {}
    created = timestamp(lock.epoch)
    history = list(inherited.get("history", []))
    for layer in layers[len(base.layers) if base else 0 :]:
        history.append({"created": created, "created_by": f"immutable.cutover {layer.purpose}"})
    return canonical_json(
        {
            "architecture": lock.arch,
            "config": _run_config(recipe, lock, recipe_hash, inherited.get("config", {}), base),
            "created": created,
            "history": history,
            "os": "linux",
            "rootfs": {"diff_ids": [layer.digest for layer in layers], "type": "layers"},
        }
    )


def timestamp(epoch: int) -> str:
    """Return an epoch as the time format of image configurations."""
    moment = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _run_config(
    recipe: Recipe,
    lock: Lock,
    recipe_hash: str,
    inherited: t.Mapping[str, t.Any],
    base: BaseImage | None,
) -> dict[str, t.Any]:
    config = recipe.config
    entrypoints = dict(recipe.entrypoints)
    cmd = config.cmd or entrypoints.get("web", ())
    replaced = bool(config.entrypoint or cmd)
    ports = {**inherited.get("ExposedPorts", {}), **{port: {} for port in config.expose}}
    merged: dict[str, t.Any] = {
        "Cmd": list(cmd) if replaced else inherited.get("Cmd"),
        "Entrypoint": list(config.entrypoint) if replaced else inherited.get("Entrypoint"),
        "Env": _environment(recipe, inherited.get("Env", [])),
        "ExposedPorts": ports,
        "Labels": _labels(recipe, lock, recipe_hash, inherited.get("Labels", {}), base),
        "StopSignal": config.stop_signal or inherited.get("StopSignal"),
        "User": config.user or inherited.get("User"),
        "WorkingDir": config.workdir or inherited.get("WorkingDir"),
    }
    return {key: value for key, value in merged.items() if value}


def _environment(recipe: Recipe, inherited: t.Sequence[str]) -> list[str]:
    env = {"PATH": _PATH}
    for item in inherited:
        key, _equals, value = item.partition("=")
        env[key] = value
    if recipe.python is not None:
        env["PATH"] = "/opt/app/bin:" + env["PATH"]
        env["PYTHONPATH"] = "/opt/app/site-packages"
    env.update(recipe.config.env)
    return [f"{key}={env[key]}" for key in sorted(env)]


def _labels(
    recipe: Recipe,
    lock: Lock,
    recipe_hash: str,
    inherited: t.Mapping[str, str],
    base: BaseImage | None,
) -> dict[str, str]:
    labels = {key: value for key, value in inherited.items() if not key.startswith(LABEL)}
    labels.update(recipe.config.labels)
    labels.update(
        {
            LABEL + "abi": inherited.get(LABEL + "abi", "unknown") if base else _abi(recipe, lock),
            LABEL + "kind": recipe.kind,
            LABEL + "layer-format": LAYER_FORMAT,
            LABEL + "name": recipe.name,
            LABEL + "recipe-hash": recipe_hash,
            LABEL + "version": recipe.version,
            "org.opencontainers.image.created": timestamp(lock.epoch),
            "org.opencontainers.image.title": recipe.name,
            "org.opencontainers.image.version": recipe.version,
        }
    )
    if recipe.entrypoints:
        processes = {name: list(command) for name, command in recipe.entrypoints}
        labels[LABEL + "entrypoints"] = canonical_json(processes).decode("ascii")
    if recipe.config.env_required:
        labels[LABEL + "env-required"] = ",".join(sorted(recipe.config.env_required))
    if base is not None:
        labels["org.opencontainers.image.base.name"] = base.record.tag
        labels["org.opencontainers.image.base.digest"] = base.record.manifest_digest
    return labels


def _abi(recipe: Recipe, lock: Lock) -> str:
    """Return what a program on this base depends on: moving an app to a base of the same is safe."""
    versions = {deb.name: _minor(deb.version) for deb in lock.apt}
    parts = {
        "arch": lock.arch,
        "libc": versions.get("libc6", "none"),
        "python": versions.get("python3", "none"),
        "suite": recipe.suite,
    }
    return " ".join(f"{key}={value}" for key, value in sorted(parts.items()))


def _minor(version: str) -> str:
    """Return major and minor of a Debian version."""
    match = re.match(r"(?:[0-9]+:)?([0-9]+(?:\.[0-9]+)?)", version)
    return match.group(1) if match else version


def image_manifest(config: bytes, layers: t.Sequence[Blob]) -> bytes:
    """Return the manifest whose sha256 registries and specs name."""
    described = [
        {"digest": layer.digest, "mediaType": LAYER_TYPE, "size": layer.size} for layer in layers
    ]
    return canonical_json(
        {
            "config": {
                "digest": "sha256:" + sha256_bytes(config),
                "mediaType": CONFIG_TYPE,
                "size": len(config),
            },
            "layers": described,
            "mediaType": MANIFEST_TYPE,
            "schemaVersion": 2,
        }
    )


class Layout:
    """One OCI layout holding every image of an output folder; equal layers are there once."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self.blobs = os.path.join(self.root, "blobs", "sha256")

    def create(self) -> None:
        """Make the folders and the marker, if they are not there."""
        os.makedirs(self.blobs, exist_ok=True)
        marker = os.path.join(self.root, "oci-layout")
        if not os.path.exists(marker):
            write_atomic(marker, canonical_json({"imageLayoutVersion": "1.0.0"}))

    def blob_path(self, digest: str) -> str:
        """Return where a blob is or would be."""
        return os.path.join(self.blobs, digest.partition(":")[2])

    def has(self, digest: str, size: int) -> bool:
        """Tell whether a complete blob is there."""
        try:
            return os.stat(self.blob_path(digest)).st_size == size
        except FileNotFoundError:
            return False

    def add_bytes(self, data: bytes) -> Blob:
        """Add a small blob."""
        digest = "sha256:" + sha256_bytes(data)
        write_atomic(self.blob_path(digest), data)
        return Blob(digest, len(data))

    def adopt(self, path: str, sha256: str, size: int, purpose: str) -> Blob:
        """Move a written layer in; it is on the same file system."""
        digest = "sha256:" + sha256
        os.chmod(path, 0o644)
        os.replace(path, self.blob_path(digest))
        return Blob(digest, size, purpose)

    def read_bytes(self, digest: str) -> bytes:
        """Return a small blob after checking that it still is what its name says."""
        path = self.blob_path(digest)
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except FileNotFoundError as error:
            raise StateError(f"{path}: blob is missing from the layout; bake again") from error
        if "sha256:" + sha256_bytes(data) != digest:
            raise StateError(f"{path}: blob is not what its name says; remove it and bake again")
        return data

    def read_json(self, digest: str) -> dict[str, t.Any]:
        """Return a JSON blob after checking that it still is what its name says."""
        return t.cast("dict[str, t.Any]", json.loads(self.read_bytes(digest)))

    def complete(self, record: BakeRecord) -> bool:
        """Tell whether every blob of an image is there."""
        try:
            manifest = self.read_json(record.manifest_digest)
        except StateError:
            return False
        described = [manifest["config"], *manifest["layers"]]
        return all(self.has(item["digest"], item["size"]) for item in described)

    def write_index(self, records: t.Sequence[BakeRecord]) -> None:
        """Describe every image of the folder, in the order of their names."""
        manifests = []
        for record in sorted(records, key=lambda item: (item.name, item.version)):
            size = os.stat(self.blob_path(record.manifest_digest)).st_size
            manifests.append(
                {
                    "annotations": {"org.opencontainers.image.ref.name": record.tag},
                    "digest": record.manifest_digest,
                    "mediaType": MANIFEST_TYPE,
                    "platform": {"architecture": record.arch, "os": "linux"},
                    "size": size,
                }
            )
            manifests += self.referrers(record.manifest_digest)
        index = {"manifests": manifests, "mediaType": INDEX_TYPE, "schemaVersion": 2}
        write_atomic(os.path.join(self.root, "index.json"), canonical_json(index))

    def referrers_path(self, manifest_digest: str) -> str:
        """Return where the index of what is attached to an image is or would be."""
        return os.path.join(self.root, "referrers", manifest_digest.partition(":")[2] + ".json")

    def referrers(self, manifest_digest: str) -> list[dict[str, t.Any]]:
        """Return the descriptors of what is attached to an image."""
        path = self.referrers_path(manifest_digest)
        try:
            with open(path, "rb") as stream:
                return list(json.loads(stream.read())["manifests"])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{path}: cannot read what is attached: {error}; remove it") from error

    def guard(self) -> t.ContextManager[None]:
        """Hold the folder while its index or a record changes."""
        return locked(os.path.join(self.root, ".lock"))
