# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bake leaves behind, and how C(name@sha256:...) becomes an image ID; private, no stability promised.

A bake yields two digests of the same content: the manifest digest (what a registry names) and the
image ID (what an engine runs). A reference may carry either; the record on the host joins them.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import asdict, dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    readable_json,
    write_atomic,
)

RECORD_SCHEMA = 1
# The kind of an image that somebody else built and a base or an app may stand on.
FOREIGN = "foreign"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_REPOSITORY = re.compile(rf"\A(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*\Z")
_DIGEST = re.compile(r"\Asha256:[0-9a-f]{64}\Z")
_PINNED = "image must be pinned name@sha256:<64 hex>; a tag is never what runs"


@dataclass(frozen=True)
class ImageReference:
    """A pinned image: repository and digest, either the manifest's or the image ID."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True)
class LayerRecord:
    """One layer of an image: digest and size of the uncompressed tar, and what it holds."""

    digest: str
    size: int
    purpose: str


@dataclass(frozen=True)
class BakeRecord:
    """Everything a later phase needs to know about a baked image."""

    name: str
    version: str
    kind: str
    arch: str
    image_id: str
    manifest_digest: str
    recipe_hash: str
    base: str
    epoch: int
    size: int
    layers: tuple[LayerRecord, ...]
    archive: str = ""
    layout: str = ""
    compressed_digests: tuple[str, ...] = ()

    @property
    def digests(self) -> tuple[str, ...]:
        """Return every digest that stands for this image: its ID, and its manifests with and without compression."""
        return (self.image_id, self.manifest_digest, *self.compressed_digests)

    @property
    def reference(self) -> str:
        """Return the reference by manifest digest, what specs and registries use."""
        return f"{self.name}@{self.manifest_digest}"

    @property
    def tag(self) -> str:
        """Return the human name; it never decides what runs."""
        return f"{self.name}:{self.version}"

    def to_mapping(self) -> dict[str, t.Any]:
        """Return the record as plain data, for results and JSON."""
        return {"schema": RECORD_SCHEMA, "reference": self.reference, **asdict(self)}

    @classmethod
    def from_mapping(cls, data: t.Mapping[str, t.Any], source: str) -> BakeRecord:
        """Read a record back; source names the file for a message."""
        if data.get("schema") != RECORD_SCHEMA:
            raise StateError(
                f"{source}: bake record schema {data.get('schema')}, this collection knows {RECORD_SCHEMA}"
            )
        fields = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        try:
            fields["layers"] = tuple(LayerRecord(**layer) for layer in fields["layers"])
            fields["compressed_digests"] = tuple(fields.get("compressed_digests", ()))
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise StateError(f"{source}: not a complete bake record: {error}") from error


Known = t.Callable[[], t.Iterable[BakeRecord]]
"""Returns the images that are known where a reference is read; asked only for a better refusal."""


def nothing_known() -> t.Iterable[BakeRecord]:
    """Stand for a place that knows no image."""
    return ()


def parse_reference(
    reference: str, path: str = "image", known: Known = nothing_known
) -> ImageReference:
    """Split C(name@sha256:hex), refusing tags, short digests and other algorithms."""
    if not isinstance(reference, str) or "@" not in reference:
        raise InvalidInput(path, reference, _PINNED + _now(reference, known))
    name, _at, digest = reference.partition("@")
    if not _DIGEST.match(digest):
        raise InvalidInput(
            path, reference, "bad digest: need name@sha256: + 64 lower-case hex digits"
        )
    if not _REPOSITORY.match(name):
        if ":" in name.rsplit("/", 1)[-1]:
            raise InvalidInput(path, reference, f"{_PINNED}; drop the tag")
        raise InvalidInput(
            path, reference, "repository name must be lower-case words joined by . _ - and /"
        )
    return ImageReference(name, digest)


def _now(tagged: object, known: Known) -> str:
    """Say what a tag stands for now, where that is known: what to write in its place."""
    name, colon, version = str(tagged).rpartition(":")
    if not colon or not is_repository(name):
        return ""
    found = sorted(
        {
            f"{name}@{record.manifest_digest}"
            for record in known()
            if record.version == version and means(name, record.name)
        }
    )
    return f"; {tagged} is now {' or '.join(found)}" if found else ""


def means(wanted: str, name: str) -> bool:
    """Tell whether a reference means a repository: by its name, or by where a registry has it.

    The digest decides which image it is. C(registry.example/team/shop/web) is where a registry may have C(shop/web).
    """
    return wanted == name or f"/{without_host(wanted)}".endswith(f"/{name}") and has_host(wanted)


def has_host(name: str) -> bool:
    """Tell whether a repository name begins with a registry's host."""
    first, slash, _rest = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def without_host(name: str) -> str:
    """Return a repository name as the registry itself knows it."""
    return name.partition("/")[2] if has_host(name) else name


def is_repository(name: str) -> bool:
    """Tell whether this is a repository name without a tag or digest."""
    return bool(_REPOSITORY.match(name)) and len(name) <= 255


def read_record(path: str) -> BakeRecord:
    """Read one record file; a truncated or foreign file is an error that names it."""
    try:
        with open(path, "rb") as stream:
            data = json.loads(stream.read())
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot read bake record: {error}") from error
    if not isinstance(data, dict):
        raise StateError(f"{path}: not a bake record")
    return BakeRecord.from_mapping(data, path)


def write_record(path: str, record: BakeRecord) -> bool:
    """Write a record atomically; return whether the file's bytes changed."""
    data = readable_json(record.to_mapping())
    try:
        with open(path, "rb") as stream:
            if stream.read() == data:
                return False
    except FileNotFoundError:
        pass
    write_atomic(path, data, 0o600)
    return True


def images_dir(state_dir: str) -> str:
    """Return where the records of this host's images are."""
    return os.path.join(state_dir, "images")


def host_record_path(state_dir: str, image_id: str) -> str:
    """Return the record file of one image ID."""
    return os.path.join(images_dir(state_dir), image_id.partition(":")[2] + ".json")


def find_host_record(state_dir: str, image_id: str) -> BakeRecord | None:
    """Return the record of one image ID, if there is one that can be read."""
    try:
        return read_record(host_record_path(state_dir, image_id))
    except StateError:
        return None


def write_host_record(state_dir: str, record: BakeRecord) -> bool:
    """Leave the record where release modules resolve references; return whether it changed."""
    for folder in (state_dir, images_dir(state_dir)):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    known = find_host_record(state_dir, record.image_id)
    if known is not None:
        # What a spec may name already, it may name afterwards.
        kept = {*record.compressed_digests, *known.compressed_digests}
        record = replace(record, compressed_digests=tuple(sorted(kept)))
    return write_record(host_record_path(state_dir, record.image_id), record)


def read_host_records(state_dir: str) -> tuple[list[BakeRecord], list[str]]:
    """Return all readable records in the order of name, version, ID, and what could not be read."""
    folder = images_dir(state_dir)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except FileNotFoundError:
        return [], []
    records: list[BakeRecord] = []
    unreadable: list[str] = []
    for name in names:
        try:
            records.append(read_record(os.path.join(folder, name)))
        except StateError as error:
            unreadable.append(error.message)
    records.sort(key=lambda record: (record.name, record.version, record.image_id))
    return records, unreadable


def host_images(state_dir: str) -> Known:
    """Return what knows the images that this host has a record of."""
    return lambda: read_host_records(state_dir)[0]


def resolve_image(reference: str, state_dir: str, engine_has: t.Callable[[str], bool]) -> str:
    """Return the image ID for C(name@sha256:<manifest digest or image ID>), if the engine has it."""
    wanted = parse_reference(reference, known=host_images(state_dir))
    records, unreadable = read_host_records(state_dir)
    matching = [r for r in records if wanted.digest in r.digests]
    for record in matching:
        if means(wanted.name, record.name) and engine_has(record.image_id):
            return record.image_id
    others = sorted({record.name for record in matching})
    if others and not any(means(wanted.name, other) for other in others):
        raise InvalidInput(
            "image", reference, f"{wanted.digest} is an image of {', '.join(others)}"
        )
    if not matching and engine_has(wanted.digest):
        return wanted.digest
    raise CutoverError(
        f"image {wanted.digest} not on host and no registry set; bake, load or pull {wanted.name} first",
        image=reference,
        known=[record.reference for record in records if means(wanted.name, record.name)],
        unreadable=unreadable,
    )
