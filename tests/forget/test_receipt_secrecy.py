"""A receipt knows nothing about the person; only the holder of the openings does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.openings import Kind, commitment
from forgetnet.forget.receipt import (
    Check,
    Facts,
    Openings,
    Receipt,
    build,
    derive_signer,
    judge,
)

SIGNER = derive_signer(b"a secret of the tests, long enough")
KINDS: tuple[Kind, ...] = ("record", "missing", "scope", "reason")


def secrets_of(facts: Facts) -> list[str]:
    return [
        *facts.direct,
        *facts.derived,
        *facts.mentions,
        *facts.not_found,
        facts.scope_value,
        facts.reason,
    ]


def encodings(data: bytes) -> Iterator[str]:
    yield data.hex()
    yield data.hex().upper()
    yield base64.b64encode(data).decode().rstrip("=")
    yield base64.urlsafe_b64encode(data).decode().rstrip("=")
    yield base64.b32encode(data).decode().rstrip("=")
    yield str(int.from_bytes(data, "big"))


def digests(data: bytes, keys: list[bytes]) -> Iterator[bytes]:
    for name in sorted(hashlib.algorithms_guaranteed):
        if name.startswith("shake"):
            yield hashlib.new(name, data).digest(32)  # shakes have a length
            continue
        yield hashlib.new(name, data).digest()
        for key in keys:
            yield hashlib.new(name, key + data).digest()
            yield hashlib.new(name, data + key).digest()
            yield hmac.new(key, data, name).digest()


def test_no_secret_is_in_it_and_none_can_be_guessed(facts: Facts, receipt: Receipt) -> None:
    text = receipt.to_json() + receipt.envelope.payload.decode() + repr(receipt) + receipt.explain()
    known = [b"", bytes(32), bytes.fromhex(receipt.id), receipt.id.encode()]
    known += [bytes.fromhex(receipt.envelope.keyid), SIGNER.public_key().public_bytes_raw()]
    known += [f"forgetnet {kind} v1\0".encode() for kind in KINDS]
    folded = text.casefold()
    for secret in secrets_of(facts):
        assert secret.casefold() not in folded
        for form in ("utf-8", "utf-16-le", "utf-16"):
            data = secret.encode(form)
            for raw in (data, *digests(data, known)):
                assert not any(told[:16] in text for told in encodings(raw))


def test_the_guesses_would_find_an_unsalted_hash(facts: Facts) -> None:
    leaky = hashlib.sha256(b"forgetnet record v1\0" + facts.direct[0].encode()).hexdigest()
    guesses = digests(facts.direct[0].encode(), [b"forgetnet record v1\0"])
    assert any(leaky == told for guess in guesses for told in encodings(guess))


NAMED = st.text(st.characters(codec="utf-8"), min_size=6, max_size=30)


@given(NAMED, NAMED, NAMED)
def test_careless_sentences_of_the_code_do_not_leak(
    facts: Facts, id: str, subject: str, reason: str
) -> None:
    look = Check(check="scan", hits=0, control_expected=1, control_found=1)

    def receipt_of(id: str, subject: str, reason: str, words: tuple[str, ...]) -> str:
        surfaces = [
            judge(f"part {number}", count=9, method="rewrite", checks=[look], detail=word)
            for number, word in enumerate(words)
        ]
        given = replace(facts, direct=[id], scope_value=subject, reason=reason, surfaces=surfaces)
        built = build(facts=replace(given, exclusions=words), signer=SIGNER)
        return built.envelope.payload.decode().casefold()

    words = tuple(
        told
        for secret in (id, subject, reason)
        for told in (
            secret,
            f"row {secret!r} is locked",
            f"{secret:.20}...",
            f"see {secret.upper()}",
        )
    )
    text = receipt_of(id, subject, reason, words)
    harmless = receipt_of("#" * 9, "", "", ("",) * len(words))
    for secret in (id, subject, reason):
        told = json.dumps(secret)[1:-1].casefold()
        assert told not in text or told in harmless


def test_the_same_forget_for_another_person_reads_the_same(facts: Facts) -> None:
    # With equal randomness, nothing but the commitments (and so the signature) differs.
    def told(facts: Facts) -> dict[str, object]:
        built = build(facts=facts, signer=SIGNER, randomness=bytes)
        predicate = built.predicate
        for name in ("commitments", "scope", "reason"):
            del predicate[name]
        return predicate

    other = replace(facts, direct=("x", "y"), scope_value="Bob", reason="", not_found=("z",))
    assert told(facts) == told(other)


# ------------------------------------------------------------------------------- openings


def test_the_holder_of_an_opening_can_show_what_it_covers(facts: Facts, receipt: Receipt) -> None:
    openings = receipt.openings
    assert openings
    matched = [*facts.direct, *facts.derived, *facts.mentions]
    assert list(openings.records) == matched
    public = Receipt.from_json(receipt.to_json())
    for id, salt in openings.records.items():
        assert public.covers(id, salt) and public.covers(id, salt.hex())
        assert not public.covers(id + " ", salt)
        assert not public.covers(id, salt[::-1])
        assert not public.opens("missing", id, salt)
    assert not public.covers(facts.direct[0], openings.records[facts.direct[1]])
    ((unknown, salt),) = openings.missing.items()
    assert public.opens("missing", unknown, salt) and not public.covers(unknown, salt)
    assert public.opens("scope", *openings.scope) and openings.scope[0] == facts.scope_value
    assert public.opens("reason", *openings.reason) and openings.reason[0] == facts.reason
    assert not public.opens("reason", *openings.scope)
    for wrong in (b"", bytes(31), "zz" * 32, "AB" * 32):
        with pytest.raises(ReceiptInvalid, match="opening"):
            public.covers(facts.direct[0], wrong)


@given(st.text(max_size=50), st.text(max_size=50), st.binary(min_size=32, max_size=32))
def test_a_commitment_opens_as_one_value_of_one_kind(a: str, b: str, salt: bytes) -> None:
    assert (commitment("record", a, salt) == commitment("record", b, salt)) is (a == b)
    kinds = {commitment(kind, a, salt) for kind in KINDS}
    assert len(kinds) == 4
    expected = hmac.new(salt, b"forgetnet record v1\0" + a.encode(), hashlib.sha256)
    assert commitment("record", a, salt) == expected.hexdigest()


def test_a_source_of_short_salts_is_refused(facts: Facts) -> None:
    with pytest.raises(ReceiptInvalid, match="opening"):
        build(facts=facts, signer=SIGNER, randomness=lambda size: bytes(min(size, 16)))


HOSTILE = ("x' OR 1=1 --", "a\nb\x00c", "👩🏽‍🚀", "\ud800", "e\u0301", "é", "z" * 10_000)


def test_hostile_ids_are_covered_like_any_other(facts: Facts, tmp_path: Path) -> None:
    rows = judge(
        "rows",
        count=len(HOSTILE),
        method="rewrite",
        checks=[Check(check="scan", hits=0, control_expected=1, control_found=1)],
    )
    given = replace(facts, direct=HOSTILE, derived=(), mentions=(), surfaces=[rows])
    receipt = build(facts=given, signer=SIGNER)
    receipt.save_openings(tmp_path / "openings.json")
    openings = Openings.load(tmp_path / "openings.json")
    assert tuple(openings.records) == HOSTILE
    assert all(receipt.covers(id, salt) for id, salt in openings.records.items())


def test_openings_are_kept_apart_and_private(
    facts: Facts, receipt: Receipt, tmp_path: Path
) -> None:
    file = tmp_path / "openings.json"
    receipt.save_openings(file)
    assert Openings.load(file) == receipt.openings
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    openings = receipt.openings
    assert openings
    for salt in (*openings.records.values(), openings.scope[1], openings.reason[1]):
        assert salt.hex() in file.read_text() and salt.hex() not in receipt.to_json()
    shown = repr(receipt) + repr(openings) + repr(facts)
    assert not [secret for secret in secrets_of(facts) if secret in shown]


def test_a_loose_file_of_openings_is_refused(receipt: Receipt, tmp_path: Path) -> None:
    file = tmp_path / "openings.json"
    receipt.save_openings(file)
    told = json.loads(file.read_text())
    pair = told["records"][0]
    for change in (
        {"format": "forgetnet openings v2"},
        {"receipt": "00"},
        {"records": [{"value": 1, "salt": pair["salt"]}]},
        {"records": [pair | {"salt": "00"}]},
        {"records": [pair | {"more": 1}]},
        {"reason": []},
        {"more": 1},
    ):
        file.write_text(json.dumps(told | change))
        with pytest.raises(ReceiptInvalid):
            Openings.load(file)
    with pytest.raises(ReceiptInvalid, match="can't read the openings"):
        Openings.load(tmp_path / "none.json")
