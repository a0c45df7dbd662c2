# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image as a registry describes it, and the bake record that follows; private, no stability promised."""

from __future__ import annotations

import datetime
import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.compress import (
    GZIP_LAYER_TYPE,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    LABEL,
    LAYER_TYPE,
    MANIFEST_TYPE,
    Blob,
    image_manifest,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    FOREIGN,
    BakeRecord,
    LayerRecord,
    is_repository,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import (
    DOCKER_MANIFEST_TYPE,
)

_PLAIN = (LAYER_TYPE, "application/vnd.docker.image.rootfs.diff.tar")
_GZIP = (GZIP_LAYER_TYPE, "application/vnd.docker.image.rootfs.diff.tar.gzip")
_DIGEST = re.compile(r"\Asha256:[0-9a-f]{64}\Z")
_TAG = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_CREATED_BY = "immutable.cutover "


@dataclass(frozen=True)
class RemoteLayer:
    """A layer as the registry has it, and the digest of its tar."""

    blob: Blob
    diff_id: str
    gzip: bool


@dataclass(frozen=True)
class RemoteManifest:
    """A manifest, before its configuration was read."""

    config: Blob
    layers: tuple[tuple[Blob, bool], ...]


@dataclass(frozen=True)
class RemoteImage:
    """An image of ours in a registry."""

    reference: str
    digest: str
    config: bytes
    layers: tuple[RemoteLayer, ...]

    @property
    def image_id(self) -> str:
        """Return what an engine will call it."""
        return "sha256:" + sha256_bytes(self.config)

    @property
    def ours(self) -> bool:
        """Tell whether this collection baked it, as far as it says so itself."""
        labels = (json.loads(self.config).get("config") or {}).get("Labels") or {}
        return LABEL + "recipe-hash" in labels

    def foreign_record(self, sizes: t.Mapping[str, int], name: str) -> BakeRecord:
        """Return the record of an image that somebody else built: it has no version but its digest."""
        config = json.loads(self.config)
        arch = config.get("architecture")
        if not isinstance(arch, str):
            raise CutoverError(f"{self.reference}: its configuration names no architecture")
        layers = self._layers(config, sizes)
        manifest_digest = self._manifest_digest(layers)
        return BakeRecord(
            name=name,
            version=f"0.0.0-{self.digest.partition(':')[2][:12]}",
            kind=FOREIGN,
            arch=arch,
            image_id=self.image_id,
            manifest_digest=manifest_digest,
            recipe_hash="",
            base="",
            epoch=0,
            size=sum(layer.size for layer in layers),
            layers=layers,
            compressed_digests=() if self.digest == manifest_digest else (self.digest,),
        )

    def _layers(
        self, config: t.Mapping[str, t.Any], sizes: t.Mapping[str, int]
    ) -> tuple[LayerRecord, ...]:
        return tuple(
            LayerRecord(layer.diff_id, sizes[layer.diff_id], purpose)
            for layer, purpose in zip(self.layers, _purposes(config), strict=True)
        )

    def _manifest_digest(self, layers: t.Sequence[LayerRecord]) -> str:
        blobs = [Blob(layer.digest, layer.size) for layer in layers]
        return "sha256:" + sha256_bytes(image_manifest(self.config, blobs))

    def record(self, sizes: t.Mapping[str, int]) -> BakeRecord:
        """Return the bake record; sizes are those of the layers' tars by digest."""
        config = json.loads(self.config)
        labels = (config.get("config") or {}).get("Labels") or {}
        layers = self._layers(config, sizes)
        manifest_digest = self._manifest_digest(layers)
        try:
            return BakeRecord(
                name=_require(is_repository, labels[LABEL + "name"]),
                version=_require(_TAG.match, labels[LABEL + "version"]),
                kind=labels[LABEL + "kind"],
                arch=config["architecture"],
                image_id=self.image_id,
                manifest_digest=manifest_digest,
                recipe_hash=labels[LABEL + "recipe-hash"],
                base=_base(labels),
                epoch=_epoch(config["created"]),
                size=sum(layer.size for layer in layers),
                layers=layers,
                compressed_digests=() if self.digest == manifest_digest else (self.digest,),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CutoverError(
                f"{self.reference} was not baked by this collection: its configuration has no valid {error}"
            ) from error


def parse_manifest(data: bytes, reference: str) -> RemoteManifest:
    """Read a manifest whose digest was checked."""
    try:
        manifest = json.loads(data)
        kind = manifest.get("mediaType", MANIFEST_TYPE)
        if kind not in (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE) or "manifests" in manifest:
            raise CutoverError(
                f"{reference} is no image but {kind}; name the image for this host's architecture"
            )
        layers = tuple((_blob(item), _is_gzip(item, reference)) for item in manifest["layers"])
        return RemoteManifest(_blob(manifest["config"]), layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CutoverError(f"{reference}: the manifest cannot be read: {error!r}") from error


def remote_image(
    reference: str, digest: str, manifest: RemoteManifest, config: bytes
) -> RemoteImage:
    """Join manifest and configuration: what the tars must hash to is in the configuration."""
    try:
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        pairs = zip(manifest.layers, diff_ids, strict=True)
        layers = tuple(
            RemoteLayer(blob, _require(_DIGEST.match, diff_id), gzip)
            for (blob, gzip), diff_id in pairs
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CutoverError(
            f"{reference}: the configuration does not describe the layers of the manifest: {error}"
        ) from error
    for layer in layers:
        if not layer.gzip and layer.blob.digest != layer.diff_id:
            raise CutoverError(
                f"{reference}: digest mismatch: the configuration says layer {layer.diff_id}, "
                f"the manifest {layer.blob.digest}"
            )
    return RemoteImage(reference, digest, config, layers)


def _blob(item: t.Mapping[str, t.Any]) -> Blob:
    size = item["size"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(f"size {size}")
    return Blob(_require(_DIGEST.match, item["digest"]), size)


def _is_gzip(item: t.Mapping[str, t.Any], reference: str) -> bool:
    kind = item["mediaType"]
    if kind not in (*_PLAIN, *_GZIP):
        raise CutoverError(
            f"{reference}: layers of the type {kind} are not supported, only tar and gzip"
        )
    return kind in _GZIP


def _require(rule: t.Callable[[str], object], value: str) -> str:
    if not rule(value):
        raise ValueError(f"value {value!r}")
    return value


def _purposes(config: t.Mapping[str, t.Any]) -> list[str]:
    layers = len(config["rootfs"]["diff_ids"])
    steps = [step for step in config.get("history") or [] if not step.get("empty_layer")]
    told = [str(step.get("created_by", "")) for step in steps]
    purposes = [text.removeprefix(_CREATED_BY) for text in told if text.startswith(_CREATED_BY)]
    return purposes if len(purposes) == layers else ["unknown"] * layers


def _base(labels: t.Mapping[str, str]) -> str:
    tag = labels.get("org.opencontainers.image.base.name", "")
    digest = labels.get("org.opencontainers.image.base.digest", "")
    return f"{tag.rpartition(':')[0]}@{digest}" if tag and digest else ""


def _epoch(created: str) -> int:
    moment = datetime.datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ")
    return int(moment.replace(tzinfo=datetime.UTC).timestamp())
