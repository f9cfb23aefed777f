"""Keys: derived as RFC 5869 says, told apart, read strictly."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from forgetnet.errors import ForgetNetError, ReceiptInvalid
from forgetnet.forget.keys import derive_salt, derive_signer, key_id, load_public, public_pem

SECRET = bytes(range(32))


def hkdf(secret: bytes, info: bytes) -> bytes:
    """HKDF of RFC 5869 for 32 bytes, without salt, from hmac alone."""
    key = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


def test_signer_and_salt_are_hkdf_with_their_own_info() -> None:
    signer = derive_signer(SECRET)
    assert signer.private_bytes_raw() == hkdf(SECRET, b"forgetnet receipt v1")
    assert derive_salt(SECRET) == hkdf(SECRET, b"forgetnet salt v1")
    assert derive_signer(SECRET[::-1]).private_bytes_raw() != signer.private_bytes_raw()


@pytest.mark.parametrize("derive", [derive_salt, derive_signer])
def test_a_short_secret_is_refused_and_not_repeated(derive: object) -> None:
    assert callable(derive)
    with pytest.raises(ForgetNetError, match="has 15 bytes") as caught:
        derive(b"hunter2hunter2h")
    assert "hunter2" not in str(caught.value)


def test_a_key_is_found_in_every_form(tmp_path: Path) -> None:
    signer = derive_signer(SECRET)
    public, pem = signer.public_key(), public_pem(signer)
    file = tmp_path / "key.pem"
    file.write_bytes(pem)
    for form in (public, pem, pem.decode(), file, str(file)):
        assert load_public(form).public_bytes_raw() == public.public_bytes_raw()
    assert key_id(public) == hashlib.sha256(public.public_bytes_raw()).hexdigest()


def test_what_is_no_ed25519_public_key_is_refused(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ReceiptInvalid, match="not an Ed25519 key"):
        load_public(pem)
    for wrong in (
        b"",
        b"key",
        "-----BEGIN PUBLIC KEY-----\né\n",
        public_pem(derive_signer(SECRET))[:-9],
    ):
        with pytest.raises(ReceiptInvalid, match="not a public key in PEM"):
            load_public(wrong)
    with pytest.raises(ReceiptInvalid, match="can't read the public key"):
        load_public(tmp_path / "nothing.pem")


def test_public_pem_holds_no_private_half() -> None:
    signer = Ed25519PrivateKey.generate()
    assert b"PRIVATE" not in public_pem(signer)
    assert len(public_pem(signer)) < 130
