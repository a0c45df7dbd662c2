# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bill of materials of an image, CycloneDX 1.6, from its lock and its bases' locks; private, no stability promised.

It states what was locked, not what a scanner found, and holds no clock: the same image has the same bytes.
"""

from __future__ import annotations

import datetime
import json
import os
import shlex
import tarfile
import typing as t
import uuid
from dataclasses import dataclass
from importlib.util import find_spec

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import (
    baked_contents,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    DebLock,
    Lock,
    WheelLock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import LABEL, Layout
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    FOREIGN,
    BakeRecord,
)

if t.TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

SBOM_TYPE = "application/vnd.cyclonedx+json"
_OS_RELEASE = ("usr/lib/os-release", "etc/os-release")
_MAX_OS_RELEASE = 64 * 1024


@dataclass(frozen=True)
class Distribution:
    """Which distribution an image's packages are of, as its os-release says."""

    id: str
    version: str = ""

    def __str__(self) -> str:
        return "-".join(part for part in (self.id, self.version) if part)


def sbom(output: Output, record: BakeRecord) -> bytes:
    """Return the bill of materials of an image in this folder."""
    _require_library()
    from cyclonedx.output.json import JsonV1Dot6

    chain = image_chain(output, record)
    text = JsonV1Dot6(_bom(output.layout, chain)).output_as_string()
    return canonical_json(json.loads(text))


def image_chain(output: Output, record: BakeRecord) -> list[tuple[BakeRecord, Lock]]:
    """Return an image and its bases, the image first, each with the lock it was baked from."""
    chain = [(record, output.lock_of(record))]
    while chain[-1][0].base:
        base = output.find_reference(chain[-1][0].base)
        foreign = base.kind == FOREIGN
        chain.append((base, Lock("", 0, base.arch) if foreign else output.lock_of(base)))
    return chain


def distribution(layout: Layout, record: BakeRecord) -> Distribution:
    """Return the distribution of an image; the topmost layer that says it counts."""
    for layer in reversed(record.layers):
        text = _os_release(layout.blob_path(layer.digest))
        pairs = (line.partition("=")[::2] for line in text.splitlines())
        values = {key: " ".join(shlex.split(value)) for key, value in pairs if value}
        if values.get("ID"):
            return Distribution(values["ID"], values.get("VERSION_ID", ""))
    raise StateError(f"{record.tag}: no layer says in os-release which distribution it is of")


def deb_purl(deb: DebLock, distro: Distribution) -> str:
    """Return the package URL of a Debian package."""
    _require_library()
    from packageurl import PackageURL

    qualifiers = {"arch": deb.arch, "distro": str(distro)}
    return PackageURL("deb", distro.id, deb.name, deb.version, qualifiers).to_string()


def wheel_purl(wheel: WheelLock) -> str:
    """Return the package URL of a wheel."""
    _require_library()
    from packageurl import PackageURL

    return PackageURL("pypi", None, wheel.name, wheel.version).to_string()


def _require_library() -> None:
    if missing := [name for name in ("cyclonedx", "packageurl") if find_spec(name) is None]:
        raise CutoverError(
            "describing an image needs two Python libraries: install cyclonedx-python-lib and packageurl-python",
            cause=f"no module named {' and '.join(missing)}",
        )


def _os_release(path: str) -> str:
    """Return the first os-release of a layer, empty if it has none."""
    if not os.path.exists(path):
        raise StateError(f"{path}: blob is missing from the layout; bake again")
    with tarfile.open(path, "r:") as layer:
        for member in layer:
            name = os.path.normpath(member.name).lstrip("/")
            if name in _OS_RELEASE and member.isreg() and member.size <= _MAX_OS_RELEASE:
                content = layer.extractfile(member)
                return content.read().decode("utf-8", "replace") if content else ""
    return ""


def _bom(layout: Layout, chain: t.Sequence[tuple[BakeRecord, Lock]]) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData

    image, lock = chain[0]
    images = [_image(record) for record, _kept in chain]
    bom = Bom(
        metadata=BomMetaData(
            component=images[0],
            timestamp=datetime.datetime.fromtimestamp(lock.epoch, datetime.UTC),
        ),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, image.manifest_digest),
    )
    for index, (record, kept) in enumerate(chain):
        foreign = record.kind == FOREIGN
        own = _installed(layout, record) if foreign else _packages(layout, record, kept)
        parts = own + images[index + 1 : index + 2]
        bom.components.update(parts)
        bom.register_dependency(images[index], parts)
    return bom


def _image(record: BakeRecord) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=record.name,
        version=record.version,
        type=ComponentType.CONTAINER,
        bom_ref=record.reference,
        hashes=_hashes(record.manifest_digest.partition(":")[2]),
        properties=[
            Property(name=LABEL + "image-id", value=record.image_id),
            Property(name=LABEL + "recipe-hash", value=record.recipe_hash),
        ],
    )


def _packages(layout: Layout, record: BakeRecord, lock: Lock) -> list[Component]:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    distro = distribution(layout, record) if lock.apt else Distribution("")
    named = [(deb.name, deb.version, deb.sha256, deb_purl(deb, distro)) for deb in lock.apt]
    named += [(w.name, w.version, w.sha256, wheel_purl(w)) for w in lock.python]
    return [
        Component(
            name=name,
            version=version,
            bom_ref=_ref(record, purl),
            purl=PackageURL.from_string(purl),
            hashes=_hashes(sha256),
        )
        for name, version, sha256, purl in named
    ]


def _ref(record: BakeRecord, purl: str) -> str:
    """Return what a package is called in this document; an app may lock what its base has as well."""
    return f"{record.reference}#{purl}"


def _installed(layout: Layout, record: BakeRecord) -> list[Component]:
    """Return what is in an image that somebody else built, as its own databases say; nobody knows the hashes."""
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    with baked_contents(layout, record) as image:
        debs, dists, owned = image.installed_debs(), image.installed_python(), image.deb_paths()
    distro = distribution(layout, record) if debs else Distribution("")
    arch = {"distro": str(distro)}
    purls = [
        PackageURL("deb", distro.id, deb.name, deb.version, {**arch, "arch": deb.arch})
        for deb in debs
    ]
    others = [dist for dist in dists if f"{dist.folder}/METADATA" not in owned]
    purls += [PackageURL("pypi", None, dist.name, dist.version) for dist in others]
    unique = {purl.to_string(): purl for purl in purls}
    return [
        Component(name=purl.name, version=purl.version, bom_ref=_ref(record, text), purl=purl)
        for text, purl in unique.items()
    ]


def _hashes(sha256: str) -> t.Any:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]
