# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One image on its way from a registry: every byte checked, only what is missing; private, no stability promised."""

from __future__ import annotations

import contextlib
import hashlib
import os
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    RegistryError,
    RegistryErrorKind,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.compress import gunzipped
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    hash_of_lock,
    parse_lock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import for_each
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    Blob,
    Layout,
    image_manifest,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.pull_referrers import (
    pull_referrers,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.push import repository_of
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    ImageReference,
    find_host_record,
    has_host,
    means,
    read_host_records,
    without_host,
    write_host_record,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import (
    LOCK_TYPE,
    attach,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.remote_image import (
    RemoteImage,
    RemoteLayer,
    parse_manifest,
    remote_image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import (
    SIGNATURE_TYPE,
    read_host_signature,
    write_host_signature,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)
from ansible_collections.immutable.cutover.plugins.module_utils._state import private_folder

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
        EngineImages,
    )

_BLOBS_AT_ONCE = 4
_LARGEST_CONFIG = 4 << 20


@dataclass(frozen=True)
class PullOptions:
    """Where to, and from which part of the registry."""

    state_dir: str
    output: str = ""
    prefix: str = ""
    check: bool = False
    refresh_signatures: bool = False
    foreign: bool = False


@dataclass(frozen=True)
class PullResult:
    """What pulling one image did, or would do; record is None only in check mode."""

    reference: ImageReference
    record: BakeRecord | None
    before: t.Mapping[str, t.Any]
    after: t.Mapping[str, t.Any]
    actions: tuple[str, ...]
    downloaded: int
    bytes: int


class Pull:
    """One image and one registry; without an engine the image only goes into the output folder."""

    def __init__(
        self,
        reference: ImageReference,
        registry: Registry,
        options: PullOptions,
        engine: EngineImages | None,
    ) -> None:
        self.reference = reference
        self.registry = registry
        self.options = options
        self.engine = engine
        self.repository = _repository(reference, registry.host, options.prefix)
        self.actions: list[str] = []
        self.downloaded: list[int] = []

    def ensure(self) -> PullResult:
        """Make sure the image is where it is wanted; one that is there costs no request."""
        loaded = self._known()
        stored = self._stored()
        before = self._state(loaded is not None, stored is not None)
        record = loaded or stored
        if (self.engine and not loaded) or (self.options.output and not stored):
            image = self._describe()
            if self.options.check:
                self._would(image, loaded, stored)
            else:
                with self._layout() as layout:
                    record = self._fetch(image, layout)
                    self._publish(record, stored)
        elif loaded and self.options.refresh_signatures:
            self._refresh_signature(loaded)
        return PullResult(
            reference=self.reference,
            record=record,
            before=before,
            after=self._state(True, True),
            actions=tuple(self.actions),
            downloaded=len(self.downloaded),
            bytes=sum(self.downloaded),
        )

    def _state(self, loaded: bool, stored: bool) -> dict[str, t.Any]:
        state: dict[str, t.Any] = {"loaded": loaded} if self.engine else {}
        return {**state, "in_output": stored} if self.options.output else state

    def _will(self, action: str) -> None:
        self.actions.append(action)

    def _known(self) -> BakeRecord | None:
        """Return the record of the image if the engine has it."""
        if self.engine is None:
            return None
        records, _unreadable = read_host_records(self.options.state_dir)
        for record in records:
            if self.reference.digest in record.digests and means(self.reference.name, record.name):
                return record if self.engine.has(record.image_id) else None
        return None

    def _stored(self) -> BakeRecord | None:
        """Return the record of the image if the output folder has it."""
        if not self.options.output:
            return None
        try:
            return Output(self.options.output).find_reference(str(self.reference))
        except CutoverError:
            return None

    def _recorded(self, image_id: str) -> bool:
        found = find_host_record(self.options.state_dir, image_id)
        return found is not None and self.reference.digest in found.digests

    def _describe(self) -> RemoteImage:
        """Read manifest and configuration; nothing is written yet."""
        name, digest = str(self.reference), self.reference.digest
        try:
            data = self.registry.get_manifest(self.repository, digest)
        except RegistryError as error:
            if error.kind is not RegistryErrorKind.NOT_FOUND:
                raise
            raise RegistryError(
                error.kind,
                f"{name} is not in {self.registry.host}/{self.repository}: {error.message}",
            ) from error
        manifest = parse_manifest(data, name)
        if manifest.config.size > _LARGEST_CONFIG:
            raise CutoverError(f"{name}: the configuration has more than {_LARGEST_CONFIG} bytes")
        config = b"".join(
            self.registry.get_blob(self.repository, manifest.config.digest, manifest.config.size)
        )
        image = remote_image(name, digest, manifest, config)
        # Also checks that it is one of ours, and under which name, before anything is written.
        record = self._record(image, {layer.diff_id: layer.blob.size for layer in image.layers})
        if not means(self.reference.name, record.name):
            raise InvalidInput("images", name, f"{digest} is an image of {record.name}")
        return image

    def _record(self, image: RemoteImage, sizes: t.Mapping[str, int]) -> BakeRecord:
        if self.options.foreign and not image.ours:
            return image.foreign_record(sizes, without_host(self.reference.name))
        return image.record(sizes)

    def _would(
        self, image: RemoteImage, loaded: BakeRecord | None, stored: BakeRecord | None
    ) -> None:
        if self.engine is not None and loaded is None and not self.engine.has(image.image_id):
            self._will(f"load {self.reference}")
        if self.options.output and stored is None:
            self._will(f"pull {self.reference} into {self.options.output}")
        if self.engine is not None and not self._recorded(image.image_id):
            self._will(f"record {self.reference}")

    @contextlib.contextmanager
    def _layout(self) -> t.Iterator[Layout]:
        """Return the output's layout, or one that is gone afterwards: an engine keeps layers itself."""
        if self.options.output:
            output = Output(self.options.output)
            output.create()
            yield output.layout
            return
        private_folder(self.options.state_dir)
        with work_folder("pull-", self.options.state_dir) as folder:
            layout = Layout(folder)
            layout.create()
            yield layout

    def _fetch(self, image: RemoteImage, layout: Layout) -> BakeRecord:
        """Bring what is missing, load it, and return the record."""
        sizes = self._known_sizes(image)
        wanted = {layer.diff_id: layer for layer in image.layers}
        spared = self._spared(image, sizes)
        missing = [layer for layer in wanted.values() if layer.diff_id not in spared]
        sizes.update(self._download(missing, layout))
        record = self._record(image, sizes)
        blobs = [Blob(layer.digest, layer.size) for layer in record.layers]
        layout.add_bytes(image.config)
        layout.add_bytes(image_manifest(image.config, blobs))
        if self.engine is not None and not self.engine.has(record.image_id):
            rest = [layer for layer in wanted.values() if layer.diff_id in spared]
            self.engine.load(layout, record, lambda: self._complete(rest, layout))
            self._will(f"load {self.reference}")
        return record

    def _known_sizes(self, image: RemoteImage) -> dict[str, int]:
        """Return the size of every tar that is known before it is there: the record needs them all."""
        sizes = {layer.diff_id: layer.blob.size for layer in image.layers if not layer.gzip}
        records, _unreadable = read_host_records(self.options.state_dir)
        for record in records:
            sizes.update({layer.digest: layer.size for layer in record.layers})
        return sizes

    def _spared(self, image: RemoteImage, sizes: t.Mapping[str, int]) -> set[str]:
        """Return the layers that need no download, because the engine has them and nothing else wants them."""
        if self.engine is None or self.options.output:
            return set()
        if self.engine.has(image.image_id):
            shared = {layer.diff_id for layer in image.layers}
        else:
            shared = self.engine.shared_layers([layer.diff_id for layer in image.layers])
        return {diff_id for diff_id in shared if diff_id in sizes}

    def _download(self, layers: t.Sequence[RemoteLayer], layout: Layout) -> dict[str, int]:
        missing = [layer for layer in layers if not os.path.exists(layout.blob_path(layer.diff_id))]
        for_each(missing, lambda layer: self._download_one(layer, layout), _BLOBS_AT_ONCE)
        return {layer.diff_id: os.path.getsize(layout.blob_path(layer.diff_id)) for layer in layers}

    def _complete(self, layers: t.Sequence[RemoteLayer], layout: Layout) -> None:
        self._download(layers, layout)

    def _download_one(self, layer: RemoteLayer, layout: Layout) -> None:
        what = f"layer {layer.blob.digest} of {self.reference}"
        chunks = self.registry.get_blob(self.repository, layer.blob.digest, layer.blob.size)
        if layer.gzip:
            chunks = gunzipped(chunks, what)
        with work_folder(".pull-", layout.root) as folder:
            path = os.path.join(folder, "layer")
            found, size = hashlib.sha256(), 0
            with open(path, "wb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
                    found.update(chunk)
                    size += len(chunk)
            if "sha256:" + found.hexdigest() != layer.diff_id:
                raise StateError(
                    f"{what}: digest mismatch: its tar should be {layer.diff_id} and is sha256:{found.hexdigest()}"
                )
            layout.adopt(path, found.hexdigest(), size, "")
        self.downloaded.append(layer.blob.size)

    def _publish(self, record: BakeRecord, stored: BakeRecord | None) -> None:
        """Make the image known, with what refers to it: a host needs the signature, another output all of it."""
        types = () if self.options.output else (SIGNATURE_TYPE,)
        referrers = pull_referrers(self.registry, self.repository, record, types)
        if self.options.output and stored is None:
            output = Output(self.options.output)
            for found in referrers:
                if found.artifact_type == LOCK_TYPE:
                    _keep_lock(output, record, found.payload)
            output.add(replace(record, layout=output.root))
            for found in referrers:
                attach(output, record, found.artifact_type, found.media_type, found.payload)
            self._will(f"pull {self.reference} into {self.options.output}")
        if self.engine is None:
            return
        if not self._recorded(record.image_id):
            write_host_record(self.options.state_dir, record)
            self._will(f"record {self.reference}")
        for found in referrers:
            if found.artifact_type == SIGNATURE_TYPE:
                write_host_signature(self.options.state_dir, record.image_id, found.payload)

    def _refresh_signature(self, record: BakeRecord) -> None:
        """Take the registry's signature if it is another one; what has fewer signatures than the host's is older."""
        state_dir = self.options.state_dir
        for found in pull_referrers(self.registry, self.repository, record, (SIGNATURE_TYPE,)):
            known = read_host_signature(state_dir, record.image_id)
            if found.payload == known or len(found.payload) < len(known):
                continue
            if not self.options.check:
                write_host_signature(state_dir, record.image_id, found.payload)
            self._will(f"take the signature of {self.reference}")


def _keep_lock(output: Output, record: BakeRecord, data: bytes) -> None:
    """Keep the lock that came with an image; the image itself names the hash of it."""
    what = f"the lock of {record.reference}"
    lock = parse_lock(data, what)
    found = hash_of_lock(lock)
    if found != record.recipe_hash:
        raise StateError(
            f"{what} in the registry is another one: the image names {record.recipe_hash}, it has {found}"
        )
    output.keep_lock(record, lock)


def _repository(reference: ImageReference, host: str, prefix: str) -> str:
    """Return where the registry has an image: what names a registry means that one, and the whole path in it."""
    if not has_host(reference.name):
        return repository_of(prefix, reference.name)
    named = reference.name.partition("/")[0]
    if named != host:
        raise InvalidInput("images", str(reference), f"must name the registry {host} or none")
    return without_host(reference.name)
