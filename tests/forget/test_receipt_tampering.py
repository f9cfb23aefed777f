"""Nothing that was changed is believed, whoever changed it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.receipt import (
    Receipt,
    SurfaceStatus,
    derive_signer,
    public_pem,
)

SIGNER = derive_signer(b"a secret of the tests, long enough")
PEM = public_pem(SIGNER)
OTHER = public_pem(derive_signer(b"another secret, also long enough"))


def resealed(receipt: Receipt, change: Callable[[dict[str, Any]], object]) -> str:
    """What a dishonest holder of the key would write: changed, and signed again."""
    statement = receipt.statement
    change(statement)
    payload = json.dumps(statement).encode()
    return envelope_of(payload)


def envelope_of(payload: bytes) -> str:
    kind = b"application/vnd.in-toto+json"
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key = hashlib.sha256(SIGNER.public_key().public_bytes_raw()).hexdigest()
    signature = {"keyid": key, "sig": base64.b64encode(SIGNER.sign(pae)).decode()}
    told = {"payloadType": kind.decode(), "payload": base64.b64encode(payload).decode()}
    return json.dumps(told | {"signatures": [signature]})


def claim(word: str) -> Callable[[dict[str, Any]], object]:
    return lambda statement: statement["predicate"].update(status=word)


@pytest.mark.parametrize(
    "word", ["failed", "not_found", "unsupported", "ERASED", "destroyed", None]
)
def test_a_status_that_the_surfaces_do_not_bear_is_refused(receipt: Receipt, word: Any) -> None:
    with pytest.raises(ReceiptInvalid, match=r"status|its surfaces say"):
        Receipt.from_json(resealed(receipt, claim(word)))


@pytest.mark.parametrize(
    "change, because",
    [
        (lambda rows: rows.update(verification=[]), "nobody looked"),
        (lambda rows: rows["verification"][0].update(hits=1), "1 hits after the purge"),
        (lambda rows: rows["verification"][0]["control"].update(found=2), "2 of 3 controls"),
        (lambda rows: rows.update(status="failed"), "its surfaces say failed: rows: failed"),
        (lambda rows: rows.update(status="unsupported"), "its surfaces say unsupported"),
        (lambda rows: rows.update(count=0), "it held nothing"),
    ],
)
def test_even_the_signer_cannot_claim_more_than_the_checks(
    receipt: Receipt, change: Callable[[dict[str, Any]], object], because: str
) -> None:
    with pytest.raises(ReceiptInvalid, match=because):
        Receipt.from_json(resealed(receipt, lambda s: change(s["predicate"]["surfaces"][0])))


def edits(text: str) -> Iterator[str]:
    for position, letter in enumerate(text):
        for other in {chr(ord(letter) ^ 1), chr(ord(letter) ^ 32), "A", "=", '"', " ", "\x00"}:
            if other != letter:
                yield text[:position] + other + text[position + 1 :]
        yield text[:position] + text[position + 1 :]


def test_no_changed_byte_changes_what_is_believed(receipt: Receipt) -> None:
    refused = accepted = 0
    for text in edits(receipt.to_json()):
        try:
            changed = Receipt.from_json(text)
            changed.verify(PEM)
        except ReceiptInvalid:
            refused += 1
        else:
            accepted += 1
            assert changed == receipt  # white space of the JSON around it, no more
    assert refused > 20_000 and accepted < 100


def test_no_cut_is_believed(receipt: Receipt) -> None:
    text = receipt.to_json().rstrip()
    for end in range(0, len(text), 7):
        with pytest.raises(ReceiptInvalid):
            Receipt.from_json(text[:end])


def test_another_key_is_refused(receipt: Receipt) -> None:
    assert receipt.check(PEM) == []
    (reason,) = receipt.check(OTHER)
    assert "signed by key" in reason
    with pytest.raises(ReceiptInvalid, match="signed by key"):
        receipt.verify(OTHER)
    claimed = replace(
        receipt.envelope, keyid=hashlib.sha256(derive_raw(OTHER)).hexdigest()
    )  # the right name on the wrong signature
    with pytest.raises(ReceiptInvalid, match="signature doesn't fit"):
        Receipt(claimed).verify(OTHER)


def derive_raw(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))[-32:]


def outer(receipt: Receipt, **changes: Any) -> str:
    return json.dumps(json.loads(receipt.to_json()) | changes)


def test_a_loose_envelope_is_refused(receipt: Receipt) -> None:
    text = receipt.to_json()
    told = json.loads(text)
    (signature,) = told["signatures"]
    payload = told["payload"]
    short = base64.b64encode(bytes(63)).decode()
    cases = [
        ("payloadType", outer(receipt, payloadType="application/json")),
        ("2 signatures", outer(receipt, signatures=[signature, signature])),
        ("0 signatures", outer(receipt, signatures=[])),
        ("not an array", outer(receipt, signatures=signature)),
        ("shouldn't have", outer(receipt, extra=1)),
        ("shouldn't have", outer(receipt, signatures=[signature | {"cert": "x"}])),
        ("lacks keyid", outer(receipt, signatures=[{"sig": signature["sig"]}])),
        ("lacks payload", json.dumps({k: v for k, v in told.items() if k != "payload"})),
        ("keyid is not 32", outer(receipt, signatures=[signature | {"keyid": ""}])),
        ("keyid is not 32", outer(receipt, signatures=[signature | {"keyid": "AB" * 32}])),
        ("63 bytes", outer(receipt, signatures=[signature | {"sig": short}])),
        ("not base64", outer(receipt, payload=payload + "\n")),
        ("not base64", outer(receipt, payload=payload[:4] + " " + payload[4:])),
        ("not base64", outer(receipt, payload=payload.rstrip("=") + "=" * 5)),
        ("not base64", outer(receipt, payload=payload[:-4] + "é===")),
        ("not base64", outer(receipt, payload=7)),
        ("canonical form", outer(receipt, payload="e31=")),  # stray bits behind the last byte
        ("same key twice", text.replace('"payload":', '"payload": "e30=", "payload":')),
        ("not an object", "[]"),
        ("not JSON", ""),
        ("not JSON", "[" * 100_000),
        ("isn't whole", "[NaN]"),
    ]
    for because, changed in cases:
        with pytest.raises(ReceiptInvalid, match=because):
            Receipt.from_json(changed)
    with pytest.raises(ReceiptInvalid, match="not JSON in UTF-8"):
        Receipt.from_json(text.encode("utf-16"))


def edit(*path: Any, to: Any) -> Callable[[dict[str, Any]], object]:
    def change(statement: dict[str, Any]) -> None:
        place: Any = statement
        for step in path[:-1]:
            place = place[step]
        if to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return change


PREDICATE_EDITS = [
    (("started",), "2026-01-31T23:10:00Z"),
    (("started",), "2026-02-31T23:00:00Z"),
    (("finished",), "\u0662026-01-31T23:00:00Z"),
    (("receipt",), "00"),
    (("scope", "kind"), "everything"),
    (("scope", "value"), "Ann"),
    (("reason", "commitment"), "no"),
    (("counts", "direct"), 3),
    (("counts", "direct"), 2.0),
    (("counts", "direct"), -2),
    (("counts", "direct"), True),
    (("counts", "spared"), 1),
    (("commitments", "matched"), []),
    (("commitments", "matched", 0), "00" * 31),
    (("commitments", "matched", 0), "ff" * 32),
    (("commitments", "not_found"), ["00" * 32, "00" * 32]),
    (("surfaces",), []),
    (("surfaces",), {}),
    (("surfaces", 1, "name"), "rows"),
    (("components", 0, "influence"), "none"),
    (("components", 0, "guarantee"), "absolute"),
    (("components", 0, "name"), "Ann"),
    (("encoder",), "CD" * 32),
    (("environment", "python"), 3),
    (("environment", "python"), "<b>"),
    (("environment", "Ann"), "1"),
    (("exclusions", 0), "line\nbreak"),
    (("exclusions",), "none"),
    (("ledger", "size_before"), "0"),
    (("ledger", "root_before"), None),
    (("more",), 1),
    (("status",), None),
]


@pytest.mark.parametrize(
    "change",
    [
        *(edit("predicate", *path, to=to) for path, to in PREDICATE_EDITS),
        edit("_type", to="https://in-toto.io/Statement/v0.1"),
        edit("predicateType", to="https://slsa.dev/provenance/v1"),
        edit("subject", to=[]),
        edit("subject", 0, "name", to="other"),
        edit("subject", 0, "digest", to={"md5": "00"}),
        edit("subject", 0, "digest", "sha256", to="00"),
        edit("predicate", to=[]),
    ],
)
def test_a_loose_statement_is_refused(
    receipt: Receipt, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(ReceiptInvalid):
        Receipt.from_json(resealed(receipt, change))


def test_the_way_of_signing_again_is_itself_right(receipt: Receipt) -> None:
    again = Receipt.from_json(resealed(receipt, lambda _: None))
    assert again.verify(PEM).status is SurfaceStatus.ERASED
    twice = receipt.envelope.payload.replace(b'"status":', b'"status":"erased","status":', 1)
    with pytest.raises(ReceiptInvalid, match="same key twice"):
        Receipt.from_json(envelope_of(twice))
