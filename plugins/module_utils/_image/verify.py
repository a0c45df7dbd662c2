# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is signed of an image, and whether a host may start it; private, no stability promised.

One envelope binds an image to its repository, both its digests, its bill of materials and its provenance. It travels
to a host beside the bake record, and is bound to what runs by the image ID, never by a tag.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    StateError,
    printable,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    ImageReference,
    find_host_record,
    images_dir,
    means,
    parse_reference,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.signature import (
    MAX_ENVELOPE,
    STATEMENT_TYPE,
    Envelope,
    load_public_key,
    read_envelope,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.statement import (
    STATEMENT,
    statement,
)

SIGNATURE_TYPE = "application/vnd.dsse.envelope.v1+json"
SIGNED_IMAGE = "urn:immutable-cutover:image-signature:1"


def unsigned_envelope(record: BakeRecord, sbom_digest: str, provenance_digest: str) -> Envelope:
    """Return what is to be signed of an image."""
    predicate = {
        "imageId": record.image_id,
        "provenance": provenance_digest,
        "sbom": sbom_digest,
        "version": record.version,
    }
    return Envelope(STATEMENT_TYPE, statement(record, SIGNED_IMAGE, predicate), ())


def host_signature_path(state_dir: str, image_id: str) -> str:
    """Return where a host keeps the signature of an image; not C(.json), so that it is not taken for a record."""
    return os.path.join(images_dir(state_dir), image_id.partition(":")[2] + ".dsse")


def read_host_signature(state_dir: str, image_id: str) -> bytes:
    """Return the signature of an image that a host keeps, empty if it keeps none."""
    path = host_signature_path(state_dir, image_id)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            return stream.read(MAX_ENVELOPE + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error


def write_host_signature(state_dir: str, image_id: str, envelope: bytes) -> None:
    """Leave the signature of an image where a release looks for it."""
    path = host_signature_path(state_dir, image_id)
    try:
        for folder in (state_dir, images_dir(state_dir)):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        write_atomic(path, envelope, 0o600)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror}") from error


def verify_image(reference: str, image_id: str, keys: t.Sequence[str], state_dir: str) -> None:
    """Refuse an image that none of these keys (PEM) has signed as exactly this one."""
    wanted = parse_reference(reference)
    trusted = [load_public_key(pem, f"verify_keys[{n}]") for n, pem in enumerate(keys)]
    data = read_host_signature(state_dir, image_id)
    if not data:
        raise _refused(wanted, "is not signed, or its signature is not on this host", image_id)
    path = host_signature_path(state_dir, image_id)
    envelope = read_envelope(data, f"signature of {wanted}: {path}")
    if not any(key.signed(envelope) for key in trusted):
        claimed = ", ".join(sorted(printable(item[0][:12]) for item in envelope.signatures))
        raise _refused(
            wanted,
            f"is not signed by a key of verify_keys ({', '.join(key.id[:12] for key in trusted)}), "
            f"but by {claimed or 'none'}",
            image_id,
        )
    record = find_host_record(state_dir, image_id)
    # A registry may have the image with compressed layers; its ID, which is signed, is the same.
    compressed = record.compressed_digests if record else ()
    _check_statement(wanted, image_id, envelope, compressed)


def _check_statement(
    wanted: ImageReference, image_id: str, envelope: Envelope, compressed: t.Collection[str]
) -> None:
    """Compare what was signed with what is to run; only now is its content worth reading."""
    try:
        content = json.loads(envelope.payload)
        (subject,) = content["subject"]
        kinds = (envelope.payload_type, content["_type"], content["predicateType"])
        name, manifest = subject["name"], "sha256:" + subject["digest"]["sha256"]
        signed_id = content["predicate"]["imageId"]
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(wanted, "has a signature that does not name one image", image_id) from error
    if kinds != (STATEMENT_TYPE, STATEMENT, SIGNED_IMAGE):
        raise _refused(wanted, f"has a signature of another kind, {kinds[2]}", image_id)
    if not means(wanted.name, name):
        raise _refused(wanted, f"is signed for repository {name}, not {wanted.name}", image_id)
    if signed_id != image_id:
        raise _refused(wanted, f"has the signature of another image, {signed_id}", image_id)
    if wanted.digest not in (manifest, signed_id, *compressed):
        raise _refused(wanted, f"has the signature of {name}@{manifest}", image_id)


def _refused(wanted: ImageReference, why: str, image_id: str) -> CutoverError:
    return CutoverError(
        f"verify: image {wanted} {why}; nothing was changed", image=str(wanted), image_id=image_id
    )
