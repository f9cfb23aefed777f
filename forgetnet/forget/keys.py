"""Keys of a receipt: derived from one secret, shown as PEM, named by their hash.

It knows Ed25519 and HKDF-SHA256. It doesn't keep secrets anywhere, and doesn't know who the
holder of a key is: that is for whoever hands out the public half.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from forgetnet.errors import ForgetNetError, ReceiptInvalid
from forgetnet.given import path_of

__all__ = [
    "PublicKey",
    "derive_salt",
    "derive_signer",
    "derive_tombstones",
    "key_id",
    "load_public",
    "public_pem",
]

PublicKey = Ed25519PublicKey | bytes | str | Path
"""A key, its PEM, or the path of a PEM file."""

_SHORTEST_SECRET = 16


def derive_signer(secret: bytes) -> Ed25519PrivateKey:
    """Return the signing key of a secret: HKDF-SHA256 (RFC 5869), no salt, own ``info``.

    Raises ``ForgetNetError`` if the secret has fewer than 16 bytes.
    """
    return Ed25519PrivateKey.from_private_bytes(_derive(secret, b"forgetnet receipt v1"))


def derive_salt(secret: bytes) -> bytes:
    """Return the 32-byte salt of the keyed hashes, which says nothing about the signing key.

    Raises ``ForgetNetError`` if the secret has fewer than 16 bytes.
    """
    return _derive(secret, b"forgetnet salt v1")


def derive_tombstones(secret: bytes) -> bytes:
    """Return the 32-byte key of the hashes of what was forgotten.

    Raises ``ForgetNetError`` if the secret has fewer than 16 bytes.
    """
    return _derive(secret, b"forgetnet tombstones v1")


def public_pem(signer: Ed25519PrivateKey) -> bytes:
    """Return the public half as PEM (SubjectPublicKeyInfo), as openssl reads it."""
    return signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_id(public: Ed25519PublicKey) -> str:
    """Return the name of a key: the SHA-256 of its 32 raw bytes, in hex."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()


def load_public(key: PublicKey) -> Ed25519PublicKey:
    """Return an Ed25519 public key from a key, from PEM (bytes or text) or from a path.

    Raises ``ReceiptInvalid`` if there is no such file or it holds no Ed25519 public key.
    """
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, str) and key.lstrip().startswith("-----BEGIN"):
        key = key.encode("utf-8", "replace")
    if not isinstance(key, bytes):
        path = path_of(key, "the public key", ReceiptInvalid)
        try:
            key = path.read_bytes()
        except OSError as error:
            raise ReceiptInvalid(f"can't read the public key {path}: {error.strerror}") from error
    try:
        loaded = load_pem_public_key(key)
    except (ValueError, UnsupportedAlgorithm):
        raise ReceiptInvalid("the public key is not a public key in PEM") from None
    if not isinstance(loaded, Ed25519PublicKey):
        raise ReceiptInvalid("the public key is not an Ed25519 key, and receipts are")
    return loaded


def _derive(secret: bytes, info: bytes) -> bytes:
    if len(secret) < _SHORTEST_SECRET:
        raise ForgetNetError(
            f"the secret has {len(secret)} bytes; give {_SHORTEST_SECRET} or more, at random"
        )
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)
