"""DSSE: an envelope around bytes, signed by one Ed25519 key (Dead Simple Signing Envelope v1).

It knows that the bytes are an in-toto statement by name only, and doesn't look inside. What is
signed is the payload itself behind its type and length, so no canonical JSON is relied on.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.keys import key_id
from forgetnet.forget.strict import base64_bytes, fields, hexadecimal, read, rows

__all__ = ["PAYLOAD_TYPE", "Envelope", "open_envelope", "pae", "seal"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"

_SIGNATURE_BYTES = 64


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Envelope:
    """A payload, the name of a key, and its signature over the payload."""

    payload: bytes = field(repr=False)
    keyid: str
    signature: bytes = field(repr=False)

    @property
    def pae(self) -> bytes:
        """Return the signed bytes."""
        return pae(PAYLOAD_TYPE, self.payload)

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of the signed bytes: what a ledger keeps."""
        return hashlib.sha256(self.pae).digest()

    def problems(self, public: Ed25519PublicKey) -> list[str]:
        """Say why this isn't a signature of that key; empty if it is."""
        if self.keyid != key_id(public):
            return [f"it was signed by key {self.keyid[:16]}, not by {key_id(public)[:16]}"]
        try:
            public.verify(self.signature, self.pae)
        except InvalidSignature:
            return ["the signature doesn't fit: the receipt was altered after it was signed"]
        return []

    def to_json(self) -> str:
        """Return the envelope as DSSE's JSON, which any DSSE tool reads."""
        signature = {"keyid": self.keyid, "sig": _base64(self.signature)}
        envelope = {
            "payloadType": PAYLOAD_TYPE,
            "payload": _base64(self.payload),
            "signatures": [signature],
        }
        return json.dumps(envelope, indent=1) + "\n"


def seal(payload: bytes, signer: Ed25519PrivateKey) -> Envelope:
    """Sign a payload; Ed25519 is deterministic, so equal payloads have equal envelopes."""
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    return Envelope(payload, key_id(signer.public_key()), signature)


def open_envelope(data: bytes | str) -> Envelope:
    """Read an envelope from JSON; the signature is not checked here.

    Raises ``ReceiptInvalid`` on anything but the three fields of DSSE, our payload type, and one
    signature with a key's name, all in canonical base64.
    """
    envelope = fields(
        read(data, "the receipt"), ["payloadType", "payload", "signatures"], "the receipt"
    )
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise ReceiptInvalid(f"the receipt's payloadType is not {PAYLOAD_TYPE}")
    signatures = rows(envelope["signatures"], "signatures")
    if len(signatures) != 1:
        raise ReceiptInvalid(f"the receipt has {len(signatures)} signatures and should have one")
    signature = fields(signatures[0], ["keyid", "sig"], "the signature")
    raw = base64_bytes(signature["sig"], "the signature")
    if len(raw) != _SIGNATURE_BYTES:
        raise ReceiptInvalid(f"the signature has {len(raw)} bytes and not {_SIGNATURE_BYTES}")
    keyid = hexadecimal(signature["keyid"], 32, 32, "the signature's keyid")
    return Envelope(base64_bytes(envelope["payload"], "the payload"), keyid, raw)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
