# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DSSE envelopes signed with a key of the user's own, offline; private, no stability promised.

A host that verifies needs nothing but C(cryptography), and only when it verifies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import stat
import typing as t
from dataclasses import dataclass
from importlib.util import find_spec

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    HIDDEN,
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
)

if t.TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
    Public = EllipticCurvePublicKey | Ed25519PublicKey

STATEMENT_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE = 64 * 1024
MAX_SIGNATURES = 16
SHORTEST_PASSPHRASE = 4
_KINDS = "an ed25519 or ECDSA P-256 key in PEM"


@dataclass(frozen=True)
class Envelope:
    """A signed payload. A signature's key ID is a hint that nobody vouches for."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def signed_content(self) -> bytes:
        """Return the bytes that are signed, DSSE's pre-authentication encoding."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)

    def to_bytes(self) -> bytes:
        """Return the envelope as JSON."""
        signatures = [
            {"keyid": key_id, "sig": base64.b64encode(signature).decode("ascii")}
            for key_id, signature in self.signatures
        ]
        return canonical_json(
            {
                "payload": base64.b64encode(self.payload).decode("ascii"),
                "payloadType": self.payload_type,
                "signatures": signatures,
            }
        )


def read_envelope(data: bytes, source: str) -> Envelope:
    """Read an envelope of any origin; source names it for a message."""
    if len(data) > MAX_ENVELOPE:
        raise CutoverError(f"{source}: a signature is not larger than {MAX_ENVELOPE} bytes")
    try:
        content = json.loads(data)
        signatures = [(str(s.get("keyid", "")), _decode(s["sig"])) for s in content["signatures"]]
        envelope = Envelope(
            str(content["payloadType"]), _decode(content["payload"]), tuple(signatures)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CutoverError(f"{source}: truncated or not a DSSE envelope") from error
    if len(envelope.signatures) > MAX_SIGNATURES:
        raise CutoverError(f"{source}: holds more than {MAX_SIGNATURES} signatures")
    return envelope


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True)
class VerifyingKey:
    """A public key; its ID is the sha256 of its DER form."""

    id: str
    key: Public

    def signed(self, envelope: Envelope) -> bool:
        """Tell whether one of the signatures is by this key."""
        content = envelope.signed_content()
        return any(self._made(signature, content) for _key_id, signature in envelope.signatures)

    def _made(self, signature: bytes, content: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(signature, content)
            else:
                self.key.verify(signature, content, _ecdsa())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A private key, and its public half."""

    public: VerifyingKey
    key: PrivateKey

    def sign(self, envelope: Envelope) -> Envelope:
        """Return the envelope with a signature by this key added."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        content = envelope.signed_content()
        key = self.key
        made = (
            key.sign(content) if isinstance(key, Ed25519PrivateKey) else key.sign(content, _ecdsa())
        )
        kept = tuple(item for item in envelope.signatures if item[0] != self.public.id)
        return Envelope(envelope.payload_type, envelope.payload, (*kept, (self.public.id, made)))


def load_public_key(pem: str, path: str) -> VerifyingKey:
    """Read a public key; path is the option it came from."""
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(path, HIDDEN, f"must be {_KINDS}, a public one") from error
    return _verifying(key, path)


def load_signing_key(path: str, passphrase: str) -> SigningKey:
    """Read the private key that signs; neither key nor passphrase is in any message."""
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if passphrase and len(passphrase) < SHORTEST_PASSPHRASE:
        raise InvalidInput(
            "key_passphrase", HIDDEN, f"must have at least {SHORTEST_PASSPHRASE} characters"
        )
    data = _private_file(path)
    encrypted = b"ENCRYPTED" in data
    if encrypted and not passphrase:
        raise InvalidInput("key", path, "is encrypted: give key_passphrase")
    try:
        key = load_pem_private_key(data, passphrase.encode() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "cannot be decrypted with key_passphrase" if encrypted else f"must be {_KINDS}"
        raise InvalidInput(
            "key", path, f"{why}, a private one" if not encrypted else why
        ) from error
    return SigningKey(_verifying(key.public_key(), "key"), t.cast("PrivateKey", key))


def _private_file(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise InvalidInput("key", path, "may be read by others: chmod 0600")
            return stream.read(MAX_ENVELOPE)
    except OSError as error:
        raise InvalidInput("key", path, f"cannot be read: {error.strerror}") from error


def _verifying(key: object, path: str) -> VerifyingKey:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    p256 = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    if not p256 and not isinstance(key, Ed25519PublicKey):
        raise InvalidInput(path, HIDDEN, f"must be {_KINDS}")
    public = t.cast("Public", key)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return VerifyingKey(hashlib.sha256(der).hexdigest(), public)


def _ecdsa() -> t.Any:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return ECDSA(SHA256())


def _require_library() -> None:
    if find_spec("cryptography") is None:
        raise CutoverError(
            "signatures need the Python library cryptography on this host: install cryptography "
            "(Debian: python3-cryptography)"
        )
