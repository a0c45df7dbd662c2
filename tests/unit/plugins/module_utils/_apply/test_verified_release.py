# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that must verify its image: what is refused before anything changes, and what runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import record, verify
from ansible_collections.immutable.cutover.plugins.module_utils._image.signature import SigningKey
from ansible_collections.immutable.cutover.tests.unit.support import keys
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

MANIFESTS = {IMAGE_ID: "sha256:" + "a" * 64, OTHER_IMAGE_ID: "sha256:" + "b" * 64}
DOCUMENT = "sha256:" + "c" * 64


class SignedHost(Host):
    """A host with two images, and keys to sign them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder / "state", monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
        self.key = keys.signing_key(folder, name="ours")
        self.other = keys.signing_key(folder, name="other")

    def sign(self, image_id: str, key: SigningKey | None = None, name: str = "shop") -> None:
        """Leave record and signature of an image as bake and attest do."""
        made = self.record(image_id)
        record.write_host_record(str(self.state_dir), made)
        signed = record.BakeRecord(**{**made.__dict__, "name": name})
        envelope = verify.unsigned_envelope(signed, DOCUMENT, DOCUMENT)
        data = (key or self.key).sign(envelope).to_bytes()
        verify.write_host_signature(str(self.state_dir), image_id, data)

    def record(self, image_id: str, manifest: str = "") -> record.BakeRecord:
        """Return the bake record of an image."""
        digest = manifest or MANIFESTS[image_id]
        return record.BakeRecord(
            "shop", "1.0.0", "app", "amd64", image_id, digest, "0" * 64, "", 1, 1, ()
        )

    def wanted(self, version: str, image_id: str = IMAGE_ID, **options: Any) -> dict[str, Any]:
        """Return a spec that requires a signature of ours."""
        policy = {"verify": "required", "verify_keys": [keys.public_pem(self.key)]}
        return self.spec(version, MANIFESTS[image_id], **{**policy, **options})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SignedHost]:
    (tmp_path / "state").mkdir()
    made = SignedHost(tmp_path, monkeypatch)
    yield made
    made.rig.close()


def refused(host: SignedHost, spec: dict[str, Any], says: str, to: str = "") -> None:
    """Plan and apply are refused with this line and change nothing."""
    before = host.traces()
    for call in (host.plan, host.apply):
        with pytest.raises(CutoverError) as caught:
            call(spec, to)
        assert caught.value.message.startswith("verify: image shop@sha256:"), caught.value.message
        assert says in caught.value.message
        assert "\n" not in caught.value.message
    assert host.traces() == before


def test_a_signed_image_runs_by_the_verified_id(host: SignedHost) -> None:
    host.sign(IMAGE_ID)
    assert host.apply(host.wanted("1"))["status"] == "done"
    assert host.serving() == [("serving", IMAGE_ID)]


def test_se_19_an_unsigned_image_is_refused_also_when_signing_was_killed(host: SignedHost) -> None:
    record.write_host_record(str(host.state_dir), host.record(IMAGE_ID))
    refused(host, host.wanted("1"), "is not signed, or its signature is not on this host")
    refused(
        host,
        {**host.wanted("1"), "image": f"shop@{IMAGE_ID}"},
        "is not signed, or its signature is not on this host",
    )


def test_se_19_the_signature_of_another_key_is_refused(host: SignedHost) -> None:
    host.sign(IMAGE_ID, host.other)
    refused(host, host.wanted("1"), "is not signed by a key of verify_keys")


def test_se_19_the_signature_for_another_repository_is_refused(host: SignedHost) -> None:
    host.sign(IMAGE_ID, name="evil/shop")
    refused(host, host.wanted("1"), "is signed for repository evil/shop, not shop")


def test_se_18_a_record_that_changed_between_plan_and_apply_is_refused(host: SignedHost) -> None:
    host.sign(IMAGE_ID)
    host.sign(OTHER_IMAGE_ID)
    assert host.plan(host.wanted("1"))["image_id"] == IMAGE_ID
    swapped = host.record(OTHER_IMAGE_ID, MANIFESTS[IMAGE_ID])
    record.write_host_record(str(host.state_dir), swapped)
    (host.state_dir / "images" / f"{IMAGE_ID[7:]}.json").unlink()
    refused(host, host.wanted("1"), f"has the signature of shop@{MANIFESTS[OTHER_IMAGE_ID]}")


def test_se_19_a_key_that_was_revoked_is_refused_for_a_rollback_too(host: SignedHost) -> None:
    host.sign(IMAGE_ID)
    host.sign(OTHER_IMAGE_ID, host.other)
    host.apply(host.wanted("1"))
    rotated = host.wanted("2", OTHER_IMAGE_ID, verify_keys=[keys.public_pem(host.other)])
    assert host.apply(rotated)["status"] == "done"
    refused(host, rotated, "is not signed by a key of verify_keys", to="previous")
    both = [keys.public_pem(host.other), keys.public_pem(host.key)]
    assert host.apply({**rotated, "verify_keys": both}, "previous")["version"] == "1"


def test_the_first_run_that_must_verify_can_be_undone(host: SignedHost) -> None:
    record.write_host_record(str(host.state_dir), host.record(IMAGE_ID))
    host.sign(OTHER_IMAGE_ID)
    assert host.apply(host.spec("1", MANIFESTS[IMAGE_ID]))["status"] == "done"
    never = {"readiness": {"path": "/never", "timeout": 1}}
    failing = host.wanted("2", OTHER_IMAGE_ID, web=never)
    failed = host.apply(failing, undo_follows=True)
    assert failed["failed_step"]["verb"] == "ready"
    undone = host.apply(failing, "undo", epoch=failed["epoch"])
    assert (undone["status"], undone["version"]) == ("done", "1")
    refused(host, host.wanted("1"), "is not signed", to="1")


def test_off_verifies_nothing(host: SignedHost) -> None:
    record.write_host_record(str(host.state_dir), host.record(IMAGE_ID))
    assert host.apply(host.wanted("1", verify="off"))["status"] == "done"
