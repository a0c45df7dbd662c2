# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of verify before start: SE-19, every way a signature can be the wrong one."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

pytest.importorskip("cryptography")

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import verify as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    read_host_records,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.signature import (
    STATEMENT_TYPE,
    Envelope,
    SigningKey,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.statement import statement
from ansible_collections.immutable.cutover.tests.unit.support import keys

ID, MANIFEST = "sha256:" + "1" * 64, "sha256:" + "2" * 64
OTHER_ID, OTHER_MANIFEST = "sha256:" + "3" * 64, "sha256:" + "4" * 64
SBOM, PROOF = "sha256:" + "5" * 64, "sha256:" + "6" * 64
Spoil = t.Callable[["Site"], None]


def a_record(name: str = "shop/web", image: str = ID, manifest: str = MANIFEST) -> BakeRecord:
    """Return the record of an image."""
    return BakeRecord(name, "1.0.0", "app", "amd64", image, manifest, "0" * 64, "", 1, 1, ())


class Site:
    """A host with one signed image."""

    def __init__(self, folder: pathlib.Path, kind: str = "ed25519") -> None:
        self.state_dir = folder / "state"
        self.key = keys.signing_key(folder, kind, "ours")
        self.other = keys.signing_key(folder, kind, "other")
        self.trusted = [keys.public_pem(self.key)]
        self.sign(a_record())

    def sign(self, record: BakeRecord, key: SigningKey | None = None, image: str = ID) -> None:
        """Leave a signature of a record as the one of an image ID."""
        envelope = subject.unsigned_envelope(record, SBOM, PROOF)
        self.leave((key or self.key).sign(envelope).to_bytes(), image)

    def leave(self, data: bytes, image: str = ID) -> None:
        """Leave some bytes as the signature of an image ID."""
        subject.write_host_signature(str(self.state_dir), image, data)

    @property
    def file(self) -> pathlib.Path:
        """The signature's file."""
        return pathlib.Path(subject.host_signature_path(str(self.state_dir), ID))

    def leave_statement(self, kind: str, predicate: object) -> None:
        """Leave a signature of ours that says something else."""
        payload = statement(a_record(), kind, t.cast("dict[str, t.Any]", predicate))
        self.leave(self.key.sign(Envelope(STATEMENT_TYPE, payload, ())).to_bytes())

    def verify(self, reference: str = f"shop/web@{MANIFEST}", image: str = ID) -> None:
        """Verify as a release does."""
        subject.verify_image(reference, image, self.trusted, str(self.state_dir))


@pytest.mark.parametrize("kind", keys.KINDS)
@pytest.mark.parametrize("digest", [MANIFEST, ID])
def test_a_signed_image_is_accepted_by_either_digest(
    tmp_path: pathlib.Path, kind: str, digest: str
) -> None:
    Site(tmp_path, kind).verify(f"shop/web@{digest}")


def test_one_trusted_key_of_several_is_enough(tmp_path: pathlib.Path) -> None:
    site = Site(tmp_path)
    site.trusted = [keys.public_pem(site.other), keys.public_pem(site.key)]
    site.verify()


def _revoke(site: Site) -> None:
    site.trusted = [keys.public_pem(site.other)]


def _tamper(site: Site) -> None:
    envelope = subject.unsigned_envelope(a_record(), SBOM, PROOF)
    forged = subject.unsigned_envelope(a_record("evil/web"), SBOM, PROOF)
    signatures = site.key.sign(forged).signatures
    site.leave(Envelope(envelope.payload_type, envelope.payload, signatures).to_bytes())


# (case, what is done to a host with a good signature, what the refusal says)
REFUSALS: list[tuple[str, Spoil, str]] = [
    ("no signature", lambda s: s.file.unlink(), "is not signed, or its signature is not on this"),
    ("empty file", lambda s: s.leave(b""), "is not signed"),
    ("wrong key", lambda s: s.sign(a_record(), s.other), "is not signed by a key of verify_keys"),
    ("key revoked", _revoke, "is not signed by a key of verify_keys"),
    ("tampered", _tamper, "is not signed by a key of verify_keys"),
    (
        "no signature in the envelope",
        lambda s: s.leave(subject.unsigned_envelope(a_record(), SBOM, PROOF).to_bytes()),
        "but by none",
    ),
    (
        "other image",
        lambda s: s.sign(a_record(image=OTHER_ID, manifest=OTHER_MANIFEST)),
        f"has the signature of another image, {OTHER_ID}",
    ),
    (
        "other manifest",
        lambda s: s.sign(a_record(manifest=OTHER_MANIFEST)),
        f"has the signature of shop/web@{OTHER_MANIFEST}",
    ),
    (
        "other repository",
        lambda s: s.sign(a_record("evil/web")),
        "is signed for repository evil/web, not shop/web",
    ),
    ("truncated", lambda s: s.leave(s.file.read_bytes()[:-9]), "truncated or not a DSSE envelope"),
    (
        "another statement of our key",
        lambda s: s.leave_statement("https://slsa.dev/provenance/v1", {"imageId": ID}),
        "has a signature of another kind, https://slsa.dev/provenance/v1",
    ),
    (
        "no image ID",
        lambda s: s.leave_statement(subject.SIGNED_IMAGE, {}),
        "has a signature that does not name one image",
    ),
    (
        "not a statement",
        lambda s: s.leave(s.key.sign(Envelope(STATEMENT_TYPE, b"[]", ())).to_bytes()),
        "has a signature that does not name one image",
    ),
]


@pytest.mark.parametrize(("spoil", "says"), [pytest.param(*row[1:], id=row[0]) for row in REFUSALS])
@pytest.mark.parametrize("kind", keys.KINDS)
def test_se_19_every_wrong_signature_is_refused_in_one_line(
    tmp_path: pathlib.Path, kind: str, spoil: Spoil, says: str
) -> None:
    site = Site(tmp_path, kind)
    site.verify()
    spoil(site)
    with pytest.raises(CutoverError) as caught:
        site.verify()
    assert says in caught.value.message
    assert f"shop/web@{MANIFEST}" in caught.value.message
    assert "\n" not in caught.value.message


def test_se_18_a_record_that_names_another_id_is_refused(tmp_path: pathlib.Path) -> None:
    site = Site(tmp_path)
    site.sign(a_record(image=OTHER_ID, manifest=OTHER_MANIFEST), image=OTHER_ID)
    with pytest.raises(CutoverError, match=f"has the signature of shop/web@{OTHER_MANIFEST}"):
        site.verify(image=OTHER_ID)


def test_a_link_in_the_place_of_a_signature_is_refused(tmp_path: pathlib.Path) -> None:
    site = Site(tmp_path)
    site.file.rename(tmp_path / "elsewhere")
    site.file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CutoverError, match="cannot be read"):
        site.verify()


def test_a_key_id_of_an_attacker_keeps_the_message_one_line(tmp_path: pathlib.Path) -> None:
    site = Site(tmp_path)
    envelope = subject.unsigned_envelope(a_record(), SBOM, PROOF)
    bad = Envelope(envelope.payload_type, envelope.payload, (("a\nok: all", b""),))
    site.leave(bad.to_bytes())
    with pytest.raises(CutoverError, match=r"but by a\\nok: all"):
        site.verify()


def test_signatures_are_not_taken_for_bake_records(tmp_path: pathlib.Path) -> None:
    site = Site(tmp_path)
    assert read_host_records(str(site.state_dir)) == ([], [])
    assert site.file.stat().st_mode & 0o777 == 0o600
    assert site.file.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_signed_has_one_form(tmp_path: pathlib.Path) -> None:
    payload = subject.unsigned_envelope(a_record(), SBOM, PROOF).payload
    assert payload == canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": {"imageId": ID, "provenance": PROOF, "sbom": SBOM, "version": "1.0.0"},
            "predicateType": "urn:immutable-cutover:image-signature:1",
            "subject": [
                {
                    "annotations": {"immutable.cutover.image-id": ID},
                    "digest": {"sha256": "2" * 64},
                    "name": "shop/web",
                }
            ],
        }
    )


def test_a_host_that_verifies_nothing_never_imports_the_library() -> None:
    code = (
        f"import sys; from {subject.__name__.rsplit('.', 2)[0]}._apply import front; "
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert b"'ansible_collections'" in done.stdout
    for library in (b"cryptography", b"cyclonedx", b"packageurl", b"yaml"):
        assert b"'%s'" % library not in done.stdout
