# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of DSSE envelopes and keys, checked against another implementation of DSSE."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cryptography")

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import signature as subject
from ansible_collections.immutable.cutover.tests.unit.support import keys

ENVELOPE = subject.Envelope("application/x", b'{"a": 1}', ())


@pytest.mark.parametrize("kind", keys.KINDS)
def test_what_a_key_signed_is_signed_by_it_and_by_no_other(
    tmp_path: pathlib.Path, kind: str
) -> None:
    key, other = (keys.signing_key(tmp_path, kind, name) for name in ("one", "two"))
    signed = subject.read_envelope(key.sign(ENVELOPE).to_bytes(), "file")
    assert key.public.signed(signed)
    assert not other.public.signed(signed)
    assert not key.public.signed(ENVELOPE)
    for changed in ({"payload": b'{"a": 2}'}, {"payload_type": "application/y"}):
        assert not key.public.signed(dataclasses.replace(signed, **changed))


def test_an_envelope_takes_a_second_signature_and_replaces_its_own(tmp_path: pathlib.Path) -> None:
    one, two = keys.signing_key(tmp_path, "p256"), keys.signing_key(tmp_path, "ed25519")
    both = one.sign(two.sign(one.sign(ENVELOPE)))
    assert [key_id for key_id, _sig in both.signatures] == [two.public.id, one.public.id]
    assert one.public.signed(both)
    assert two.public.signed(both)


@pytest.mark.parametrize("kind", keys.KINDS)
def test_another_implementation_verifies_ours_and_we_verify_its(
    tmp_path: pathlib.Path, kind: str
) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    private = keys.new_key(kind)
    (tmp_path / "key.pem").write_bytes(keys.private_pem(private))
    (tmp_path / "key.pem").chmod(0o600)
    key = subject.load_signing_key(str(tmp_path / "key.pem"), "")
    other = signer.CryptoSigner(private)
    ours = dsse.Envelope.from_dict(json.loads(key.sign(ENVELOPE).to_bytes()))
    # Its key IDs are computed in another way; only the signature matters.
    theirs_id = other.public_key.keyid
    (made,) = ours.signatures.values()
    made.keyid = theirs_id
    ours.signatures = {theirs_id: made}
    assert list(ours.verify([other.public_key], 1)) == [theirs_id]
    theirs = dsse.Envelope(ENVELOPE.payload, ENVELOPE.payload_type, {})
    theirs.sign(other)
    data = json.dumps(theirs.to_dict()).encode()
    assert key.public.signed(subject.read_envelope(data, "file"))


def test_a_key_id_is_the_hash_of_the_public_key(tmp_path: pathlib.Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    path = keys.write_key(tmp_path / "key.pem", "p256")
    der = subprocess.run(
        ["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    key = subject.load_signing_key(path, "")
    assert key.public.id == hashlib.sha256(der).hexdigest()
    assert subject.load_public_key(keys.public_pem(key), "keys[0]").id == key.public.id


@given(cut=st.integers(0, 200), kind=st.sampled_from(["cut", "drop"]))
def test_se_19_a_truncated_envelope_is_never_read_as_another(cut: int, kind: str) -> None:
    whole = dataclasses.replace(ENVELOPE, signatures=(("id", b"sig"),)).to_bytes()
    data = whole[:cut] if kind == "cut" else whole[:cut] + whole[cut + 1 :]
    if data == whole:
        return
    try:
        found = subject.read_envelope(data, "file")
    except CutoverError as error:
        assert error.message == "file: truncated or not a DSSE envelope"
    else:
        assert found.signed_content() != ENVELOPE.signed_content() or found.signatures != (
            ("id", b"sig"),
        )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "truncated or not a DSSE envelope"),
        (b"[]", "truncated or not a DSSE envelope"),
        (b"\xff", "truncated or not a DSSE envelope"),
        (b"[" * 60000, "truncated or not a DSSE envelope"),
        (b'{"payload":"!","payloadType":"a","signatures":[]}', "truncated or not"),
        (b'{"payload":1,"payloadType":"a","signatures":[]}', "truncated or not"),
        (b'{"payload":"","payloadType":"a","signatures":["x"]}', "truncated or not"),
        (b" " * (64 * 1024 + 1), "not larger than 65536 bytes"),
        (
            json.dumps(
                {"payload": "", "payloadType": "a", "signatures": [{"sig": ""}] * 17}
            ).encode(),
            "more than 16 signatures",
        ),
    ],
)
def test_se_15_what_is_no_envelope_is_refused_in_one_line(data: bytes, says: str) -> None:
    with pytest.raises(CutoverError) as caught:
        subject.read_envelope(data, "file")
    assert caught.value.message.startswith("file: ")
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_url_safe_base64_is_read_too() -> None:
    data = b'{"payload":"-_-_","payloadType":"a","signatures":[]}'
    assert subject.read_envelope(data, "file").payload == b"\xfb\xff\xbf"


def test_a_passphrase_opens_the_key(tmp_path: pathlib.Path) -> None:
    path = keys.write_key(tmp_path / "key.pem", "p256", "correct horse")
    assert subject.load_signing_key(path, "correct horse").public.id
    for given_passphrase, says in (
        ("", "is encrypted: give key_passphrase"),
        ("wrong", "cannot be decrypted with key_passphrase"),
        ("123", "key_passphrase: must have at least 4 characters"),
    ):
        with pytest.raises(InvalidInput) as caught:
            subject.load_signing_key(path, given_passphrase)
        assert says in caught.value.message
        assert "found string 'wrong'" not in caught.value.message


@pytest.mark.parametrize("kind", ["rsa", "p384"])
def test_other_kinds_of_keys_are_refused(tmp_path: pathlib.Path, kind: str) -> None:
    key = keys.new_key(kind)
    (tmp_path / "key.pem").write_bytes(keys.private_pem(key))
    (tmp_path / "key.pem").chmod(0o600)
    with pytest.raises(InvalidInput, match="key: must be an ed25519 or ECDSA P-256 key"):
        subject.load_signing_key(str(tmp_path / "key.pem"), "")
    with pytest.raises(InvalidInput, match=r"verify_keys\[0\]: must be an ed25519 or ECDSA P-256"):
        subject.load_public_key(keys.public_pem(key), "verify_keys[0]")


def test_a_key_file_is_readable_by_us_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(InvalidInput, match="key: cannot be read: No such file"):
        subject.load_signing_key(str(path), "")
    keys.write_key(path)
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="key: may be read by others: chmod 0600"):
        subject.load_signing_key(str(path), "")
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match="key: must be an ed25519 or ECDSA P-256 key in PEM"):
        subject.load_signing_key(str(path), "")


def test_a_private_key_in_the_place_of_a_public_one_is_not_shown() -> None:
    pem = keys.private_pem(keys.new_key()).decode()
    with pytest.raises(InvalidInput) as caught:
        subject.load_public_key(pem, "verify_keys[0]")
    assert "BEGIN" not in caught.value.message


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(CutoverError, match=r"install cryptography \(Debian: python3-cryptography"):
        subject.load_public_key("x", "verify_keys[0]")
