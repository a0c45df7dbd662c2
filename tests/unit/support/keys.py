# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys for the tests of signatures, made anew each time."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ansible_collections.immutable.cutover.plugins.module_utils._image.signature import (
    SigningKey,
    load_signing_key,
)

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KINDS = ("ed25519", "p256")


def new_key(kind: str = "ed25519") -> Private:
    """Return a new private key."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[kind])


def private_pem(key: Private, passphrase: str = "") -> bytes:
    """Return a private key in PEM."""
    how: KeySerializationEncryption = NoEncryption()
    if passphrase:
        how = BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def public_pem(key: Private | SigningKey) -> str:
    """Return the public half in PEM."""
    public = key.public.key if isinstance(key, SigningKey) else key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def write_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """Write a new private key that only its owner may read; return its path."""
    path.write_bytes(private_pem(new_key(kind), passphrase))
    path.chmod(0o600)
    return str(path)


def signing_key(folder: Path, kind: str = "ed25519", name: str = "key") -> SigningKey:
    """Return a new key as the module loads it."""
    return load_signing_key(write_key(folder / f"{name}-{kind}.pem", kind), "")
