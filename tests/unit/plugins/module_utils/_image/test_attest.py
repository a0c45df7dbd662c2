# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the attest phase as the module calls it."""

from __future__ import annotations

import json
import os
import typing as t

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("cyclonedx")

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    attest,
    front,
    referrers,
    verify,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.tests.unit.support import keys

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World

TAG = "shop/web:1.0.0"
ALL = [f"attach {what} to {TAG}" for what in ("sbom", "provenance", "lock")]
SIGN = [f"sign {TAG}", f"record the signature of {TAG}"]


class Desk:
    """Calls the phase as the module does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys = {kind: keys.write_key(world.root / f"{kind}.pem", kind) for kind in keys.KINDS}
        self.output = Output(str(world.root / "output"))
        self.state_dir = str(world.root / "state")

    def attest(self, kind: str = "", *, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        """Attest the app."""
        params = {
            "recipes": [self.world.recipe],
            "output": self.output.root,
            "concurrency": 2,
            "key": self.keys.get(kind),
            "key_passphrase": None,
            "load": True,
            "state_dir": self.state_dir,
            **changes,
        }
        return front.attest_images(params, check)

    @property
    def record(self) -> BakeRecord:
        """The app's record."""
        found = self.output.find("shop/web", "1.0.0")
        assert found is not None
        return found

    def attached(self) -> dict[str, bytes]:
        """Return what is attached, by artifact type."""
        listed = referrers.attachments(self.output, self.record)
        return {item.artifact_type: referrers.payload(self.output, item) for item in listed}

    def tree(self) -> dict[str, bytes]:
        """Return every file of the world, apart from empty lock files."""
        found = (path for path in self.world.root.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in found if path.stat().st_size}

    def verify(self, kind: str) -> None:
        """Verify as a release on this host does."""
        pem = keys.public_pem(attest_key(self.keys[kind]))
        record = self.record
        verify.verify_image(record.reference, record.image_id, [pem], self.state_dir)


def attest_key(path: str) -> attest.SigningKey:
    """Return a key from its file."""
    from ansible_collections.immutable.cutover.plugins.module_utils._image import signature

    return signature.load_signing_key(path, "")


@pytest.fixture
def desk(world: World) -> Desk:
    """Return a desk with a baked app."""
    world.bake()
    return Desk(world)


@pytest.mark.parametrize("kind", keys.KINDS)
def test_attest_sign_verify_and_again_nothing(desk: Desk, kind: str) -> None:
    image = (desk.record.manifest_digest, desk.record.image_id)
    first = desk.attest(kind)
    assert first["changed"]
    assert first["actions"] == ALL + SIGN
    desk.verify(kind)
    assert (desk.record.manifest_digest, desk.record.image_id) == image
    before = desk.tree()
    second = desk.attest(kind)
    assert (second["changed"], second["actions"]) == (False, [])
    assert second["before"] == second["after"] == first["after"]
    assert desk.tree() == before
    one = first["images"][0]
    assert one["signed"]
    assert one["signers"] == [attest_key(desk.keys[kind]).public.id]
    assert [item["artifact_type"] for item in one["attachments"]] == sorted(desk.attached())


def test_what_is_signed_names_what_is_attached(desk: Desk) -> None:
    desk.attest("p256")
    attached = {
        item.artifact_type: item for item in referrers.attachments(desk.output, desk.record)
    }
    envelope = attest.read_envelope(desk.attached()[verify.SIGNATURE_TYPE], "x")
    predicate = json.loads(envelope.payload)["predicate"]
    assert predicate["imageId"] == desk.record.image_id
    assert predicate["sbom"] == attached["application/vnd.cyclonedx+json"].payload_digest
    assert predicate["provenance"] == attached["application/vnd.in-toto+json"].payload_digest


def test_without_a_key_the_result_says_unsigned(desk: Desk) -> None:
    done = desk.attest()
    assert done["actions"] == ALL
    assert (done["images"][0]["signed"], done["images"][0]["signers"]) == (False, [])
    assert done["after"][TAG]["signed"] == ""
    assert not os.path.exists(verify.host_signature_path(desk.state_dir, desk.record.image_id))
    assert desk.attest("ed25519")["actions"] == SIGN


@pytest.mark.parametrize("kind", ["", *keys.KINDS])
def test_check_mode_predicts_and_writes_nothing(desk: Desk, kind: str) -> None:
    before = desk.tree()
    predicted = desk.attest(kind, check=True)
    assert desk.tree() == before
    done = desk.attest(kind)
    for key in ("changed", "actions", "before", "after", "diff"):
        assert predicted[key] == done[key], key
    assert predicted["images"][0]["signers"] == done["images"][0]["signers"]
    assert not desk.attest(kind, check=True)["changed"]


def test_check_mode_before_the_bake_says_what_would_be(world: World) -> None:
    desk = Desk(world)
    predicted = desk.attest(check=True)
    assert predicted["actions"] == [f"attest {TAG}"]
    with pytest.raises(CutoverError, match=f"{TAG} is not in .*: bake it first"):
        desk.attest()


def test_a_second_key_is_added_and_the_first_still_verifies(desk: Desk) -> None:
    desk.attest("p256")
    done = desk.attest("ed25519")
    assert done["actions"] == SIGN
    assert len(done["images"][0]["signers"]) == 2
    desk.verify("p256")
    desk.verify("ed25519")
    assert not desk.attest("p256")["changed"]


def test_another_commit_is_attested_anew_and_only_with_the_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.attest("p256")
    monkeypatch.setattr(attest, "source_of", lambda _recipe: attest.Source("c" * 40, dirty=True))
    before = desk.tree()
    with pytest.raises(CutoverError, match="give key to sign it again"):
        desk.attest()
    assert desk.tree() == before
    done = desk.attest("p256")
    assert done["actions"] == [ALL[1], *SIGN]
    assert done["images"][0]["source"] == f"commit {'c' * 40}, changed since"
    desk.verify("p256")


def test_without_load_nothing_is_left_on_the_host(desk: Desk) -> None:
    assert desk.attest("p256", load=False)["actions"] == [*ALL, SIGN[0]]
    assert not os.path.exists(desk.state_dir)
    assert desk.attest("p256")["actions"] == [SIGN[1]]
    desk.verify("p256")


def test_inputs_that_changed_since_the_bake_are_refused(desk: Desk) -> None:
    (desk.world.root / "shop/src/app.py").write_text("a = 3\n")
    desk.world.write_lock()
    before = desk.tree()
    with pytest.raises(CutoverError, match="was baked from other inputs"):
        desk.attest("p256")
    assert desk.tree() == before


def test_a_bad_key_is_refused_before_anything_changes(desk: Desk) -> None:
    before = desk.tree()
    with pytest.raises(InvalidInput, match="key: cannot be read"):
        desk.attest(key=str(desk.world.root / "nosuch"))
    assert desk.tree() == before


def test_se_19_a_sign_step_that_was_killed_leaves_the_image_unsigned(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_arguments: object) -> None:
        raise Killed

    monkeypatch.setattr(attest.SigningKey, "sign", die)
    with pytest.raises(Killed):
        desk.attest("p256")
    monkeypatch.undo()
    with pytest.raises(CutoverError, match="is not signed"):
        desk.verify("p256")
    assert desk.attest("p256")["actions"] == ALL + SIGN
    desk.verify("p256")


def test_se_09_the_passphrase_is_never_logged() -> None:
    assert front.ATTEST_SPEC["key_passphrase"]["no_log"] is True
