# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One image on its way into a registry: blobs, manifest, referrers, the tag last; private, no stability promised."""

from __future__ import annotations

import json
import os
import threading
import typing as t
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    RegistryError,
    RegistryErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.compress import (
    GZIP_LAYER_TYPE,
    CompressedLayers,
    gzipped,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import for_each
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    MANIFEST_TYPE,
    Blob,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    without_host,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import (
    Descriptor,
    Registry,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

_BLOBS_AT_ONCE = 4


class Referrer(t.Protocol):
    """What refers to an image: a manifest in the same layout."""

    @property
    def artifact_type(self) -> str:
        """Return what kind of thing it is."""

    @property
    def manifest_digest(self) -> str:
        """Return its manifest."""


@dataclass(frozen=True)
class PushOptions:
    """How to push."""

    prefix: str = ""
    tags: bool = True
    gzip: bool = False
    check: bool = False


@dataclass(frozen=True)
class PushResult:
    """What pushing one image did, or would do; the digest is empty where only a real run can know it."""

    record: BakeRecord
    repository: str
    pushed_digest: str
    before: t.Mapping[str, t.Any]
    after: t.Mapping[str, t.Any]
    actions: tuple[str, ...]
    transfer: t.Mapping[str, int]


@dataclass
class _Transfer:
    uploaded: int = 0
    mounted: int = 0
    present: int = 0
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, size: int = 0) -> None:
        with self.lock:
            setattr(self, kind, getattr(self, kind) + 1)
            self.bytes += size

    def to_mapping(self) -> dict[str, int]:
        return {key: getattr(self, key) for key in ("uploaded", "mounted", "present", "bytes")}


@dataclass(frozen=True)
class _Upload:
    """A blob of the pushed manifest, and the layer of the layout it is or is made from."""

    blob: Blob
    path: str
    compress: bool = False
    mount_from: str = ""


def repository_of(prefix: str, name: str) -> str:
    """Return what a registry calls a repository: it does not know its own host's name."""
    return "/".join(part for part in (prefix.strip("/"), without_host(name)) if part)


class Push:
    """One image and one registry."""

    def __init__(
        self,
        record: BakeRecord,
        output: Output,
        registry: Registry,
        options: PushOptions,
        referrers: t.Sequence[Referrer] = (),
    ) -> None:
        self.record = record
        self.output = output
        self.layout = output.layout
        self.registry = registry
        self.options = options
        self.referrers = referrers
        self.repository = repository_of(options.prefix, record.name)
        self.transfer = _Transfer()
        self.actions: list[str] = []

    def ensure(self) -> PushResult:
        """Make sure the registry has the image, what refers to it, and the tag."""
        tagged = self._tagged()
        digest = self._present(tagged)
        before = self._state(bool(digest), bool(tagged))
        if not digest:
            self._will(f"push {self.record.tag} to {self.registry.host}/{self.repository}")
            digest = "" if self.options.check else self._push()
        attached = self._attach()
        if self.options.tags and not tagged:
            self._will(f"tag {self.registry.host}/{self.repository}:{self.record.version}")
            if not self.options.check:
                data = self.registry.get_manifest(self.repository, digest)
                self.registry.put_manifest(self.repository, self.record.version, data)
        total = len(self.referrers)
        return PushResult(
            record=self.record,
            repository=self.repository,
            pushed_digest=digest,
            before={**before, "attachments": total - attached},
            after={**self._state(True, self.options.tags), "attachments": total},
            actions=tuple(self.actions),
            transfer=self.transfer.to_mapping(),
        )

    def _will(self, action: str) -> None:
        self.actions.append(action)

    def _state(self, pushed: bool, tagged: bool) -> dict[str, t.Any]:
        state: dict[str, t.Any] = {"repository": self.repository, "pushed": pushed}
        return {**state, "tag": self.record.version if tagged else ""}

    def _tagged(self) -> str:
        """Return the digest the tag has; empty if it has none. Another image's is an error: a version never changes."""
        if not self.options.tags:
            return ""
        found = self.registry.head_manifest(self.repository, self.record.version)
        if found is None or found in self.record.digests:
            return found or ""
        manifest = json.loads(self.registry.get_manifest(self.repository, found))
        config = manifest.get("config", {}).get("digest", "")
        if config == self.record.image_id:
            # The same image with layers that somebody else's gzip made.
            return found
        raise RegistryError(
            RegistryErrorKind.VERSION_TAKEN,
            f"{self.record.tag} exists in {self.registry.host}/{self.repository} with other content: "
            "a version never changes; bump the version",
            found_digest=found,
            manifest_digest=self.record.manifest_digest,
        )

    def _present(self, tagged: str) -> str:
        """Return the manifest the registry has of this image, in the form that is wanted; empty if it has none."""
        if not self.options.gzip:
            wanted = self.record.manifest_digest
            return wanted if wanted == tagged or self._has(wanted) else ""
        if tagged:
            return tagged
        known = [digest for digest in self.record.compressed_digests if self._has(digest)]
        return known[0] if known else ""

    def _has(self, digest: str) -> bool:
        return self.registry.head_manifest(self.repository, digest) is not None

    def _push(self) -> str:
        manifest = self.layout.read_json(self.record.manifest_digest)
        config = _blob(manifest["config"])
        layers = [_blob(item) for item in manifest["layers"]]
        sources = self._mount_sources()
        uploads = [_Upload(config, self.layout.blob_path(config.digest))]
        uploads += [self._upload_of(layer, sources.get(layer.digest, "")) for layer in layers]
        unique = {upload.blob.digest: upload for upload in uploads}
        for_each(list(unique.values()), self._send, _BLOBS_AT_ONCE)
        data = canonical_json(manifest)
        if self.options.gzip:
            data = _gzip_manifest(manifest, uploads[1:])
        digest = "sha256:" + sha256_bytes(data)
        self.registry.put_manifest(self.repository, digest, data)
        return digest

    def _upload_of(self, layer: Blob, source: str) -> _Upload:
        path = self.layout.blob_path(layer.digest)
        if not self.options.gzip:
            return _Upload(layer, path, mount_from=source)
        packed = CompressedLayers(self.layout).describe(layer)
        return _Upload(packed, path, compress=True, mount_from=source)

    def _mount_sources(self) -> dict[str, str]:
        """Return for each layer of the base the repository it can be mounted from."""
        if not self.record.base:
            return {}
        try:
            base = self.output.find_reference(self.record.base)
        except CutoverError:
            # Mounting only saves the transfer; the app's own manifest names all its layers.
            return {}
        source = repository_of(self.options.prefix, base.name)
        return {layer.digest: source for layer in base.layers if source != self.repository}

    def _send(self, upload: _Upload) -> None:
        digest, location = upload.blob.digest, ""
        if self.registry.head_blob(self.repository, digest):
            self.transfer.count("present")
            return
        if upload.mount_from:
            location = self.registry.mount_blob(self.repository, digest, upload.mount_from)
            if not location:
                self.transfer.count("mounted")
                return
        if upload.compress:
            self._send_compressed(upload, location)
        else:
            self.registry.upload_blob(self.repository, digest, upload.path, location)
        self.transfer.count("uploaded", upload.blob.size)

    def _send_compressed(self, upload: _Upload, location: str) -> None:
        with work_folder("push-", self.output.root) as folder:
            path = os.path.join(folder, "layer")
            with open(path, "wb") as stream:
                for chunk in gzipped(upload.path):
                    stream.write(chunk)
            self.registry.upload_blob(self.repository, upload.blob.digest, path, location)

    def _attach(self) -> int:
        """Push what refers to the image and is not listed yet; return how many that were.

        The list decides, not the blobs: a run that was killed between a manifest and its entry is repaired.
        """
        if not self.referrers:
            return 0
        listed = self.registry.referrers(self.repository, self.record.manifest_digest)
        known = {item["digest"] for item in listed}
        missing = [item for item in self.referrers if item.manifest_digest not in known]
        for referrer in missing:
            self._will(f"attach {referrer.artifact_type} to {self.record.tag}")
            if not self.options.check:
                self._push_referrer(referrer)
        return len(missing)

    def _push_referrer(self, referrer: Referrer) -> None:
        manifest = self.layout.read_json(referrer.manifest_digest)
        blobs = {item["digest"]: item for item in (manifest["config"], *manifest["layers"])}
        for digest in blobs:
            if not self.registry.head_blob(self.repository, digest):
                self.registry.upload_blob(self.repository, digest, self.layout.blob_path(digest))
        with open(self.layout.blob_path(referrer.manifest_digest), "rb") as stream:
            data = stream.read()
        if not self.registry.put_manifest(self.repository, referrer.manifest_digest, data):
            entry: Descriptor = {
                "artifactType": referrer.artifact_type,
                "digest": referrer.manifest_digest,
                "mediaType": manifest.get("mediaType", MANIFEST_TYPE),
                "size": len(data),
            }
            subject = self.record.manifest_digest
            self.registry.add_to_fallback(self.repository, subject, entry)


def _blob(descriptor: Descriptor) -> Blob:
    return Blob(descriptor["digest"], descriptor["size"])


def _gzip_manifest(manifest: t.Mapping[str, t.Any], layers: t.Sequence[_Upload]) -> bytes:
    described = [
        {"digest": item.blob.digest, "mediaType": GZIP_LAYER_TYPE, "size": item.blob.size}
        for item in layers
    ]
    return canonical_json({**manifest, "layers": described})
