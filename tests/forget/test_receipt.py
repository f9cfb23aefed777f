"""A receipt says what was done, earns its words, and is found again."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.receipt import (
    EXCLUSIONS,
    Check,
    Facts,
    Receipt,
    Surface,
    SurfaceStatus,
    build,
    derive_signer,
    environment_pin,
    judge,
    public_pem,
)
from forgetnet.ledger import Ledger

SIGNER = derive_signer(b"a secret of the tests, long enough")
PEM = public_pem(SIGNER)
OTHER = public_pem(derive_signer(b"another secret, also long enough"))


# ------------------------------------------------------------------------------- what it says


def test_a_receipt_says_what_was_done(facts: Facts, receipt: Receipt) -> None:
    told = receipt.predicate
    assert receipt.statement["_type"] == "https://in-toto.io/Statement/v1"
    assert receipt.statement["subject"] == [
        {"name": "forgetnet store", "digest": {"sha256": "ab" * 32}}
    ]
    assert (told["started"], told["finished"]) == ("2026-01-31T23:00:00Z", "2026-02-01T00:00:00Z")
    assert receipt.counts == {
        "direct": 2,
        "derived": 1,
        "mentions": 1,
        "not_found": 1,
        "mentions_kept": 2,
    }
    assert receipt.status is SurfaceStatus.ERASED and told["status"] == "erased"
    assert receipt.surfaces == facts.surfaces
    assert told["exclusions"] == list(EXCLUSIONS)
    assert told["ledger"] == {"size_before": 0, "root_before": Ledger().root().hex()}
    assert told["commitments"]["matched"] == sorted(told["commitments"]["matched"])
    assert receipt.id == told["receipt"] and receipt.id in repr(receipt)


def test_what_is_handed_out_is_a_copy(receipt: Receipt) -> None:
    receipt.predicate["status"] = "failed"
    receipt.statement["predicate"]["surfaces"].clear()
    receipt.counts["direct"] = 0
    assert receipt.predicate["status"] == "erased" and receipt.surfaces
    assert receipt.counts["direct"] == 2


def test_it_survives_json_and_disk(receipt: Receipt, tmp_path: Path) -> None:
    receipt.save(tmp_path / "receipt.json")
    again = Receipt.load(tmp_path / "receipt.json")
    assert again == receipt == Receipt.from_json(receipt.to_json())
    assert again.openings is None
    assert again.verify(PEM).proven
    with pytest.raises(ReceiptInvalid, match="without openings"):
        again.save_openings(tmp_path / "openings.json")
    with pytest.raises(ReceiptInvalid, match="can't read the receipt"):
        Receipt.load(tmp_path / "none.json")


def test_an_id_given_twice_counts_once(facts: Facts) -> None:
    facts = replace(facts, direct=("a" * 9, "a" * 9), derived=("a" * 9, "b" * 9), mentions=())
    receipt = build(facts=replace(facts, not_found=("b" * 9,)), signer=SIGNER)
    assert receipt.counts["direct"] == 1 and receipt.counts["derived"] == 1
    assert receipt.counts["not_found"] == 0


def test_two_receipts_of_the_same_facts_share_no_salt(facts: Facts) -> None:
    first, second = (build(facts=facts, signer=SIGNER) for _ in range(2))
    assert first.id != second.id
    a, b = (set(r.erasure.matched + r.erasure.missing) for r in (first, second))
    assert len(a) == len(b) == 5 and not a & b
    for receipt in (first, second):
        assert receipt.openings
        salts = [*receipt.openings.records.values(), *receipt.openings.missing.values()]
        salts += [receipt.openings.scope[1], receipt.openings.reason[1]]
        assert len(set(salts)) == 7 and {len(salt) for salt in salts} == {32}


def test_times_without_a_zone_are_refused(facts: Facts) -> None:
    with pytest.raises(ReceiptInvalid, match="time zone"):
        build(facts=replace(facts, started=datetime(2026, 1, 1)), signer=SIGNER)


def test_the_environment_is_pinned(facts: Facts) -> None:
    pinned = environment_pin()
    assert pinned["python"].startswith("3.") and pinned["torch"] != "absent"
    assert environment_pin(["no such thing"])["no such thing"] == "absent"
    build(facts=replace(facts, environment=pinned), signer=SIGNER)


# ------------------------------------------------------------------------------- status


bits = st.booleans()
looks = st.builds(
    Check,
    check=st.just("scan"),
    hits=st.sampled_from([0, 0, 1]),
    control_expected=st.integers(0, 2),
    control_found=st.integers(0, 2),
)


@st.composite
def done(draw: st.DrawFn, name: str) -> Surface:
    found = draw(st.lists(looks, max_size=2))
    supported, broken = draw(st.sampled_from([(True, False), (False, False), (True, True)]))
    count = draw(st.integers(0, 2))
    return judge(
        name, count=count, method="rewrite", checks=found, supported=supported, broken=broken
    )


@given(done("rows"), done("index"), st.integers(0, 2))
def test_no_receipt_says_erased_without_proof(
    facts: Facts, rows: Surface, index: Surface, count: int
) -> None:
    ids = [f"record-{number:04}" for number in range(count)]
    facts = replace(
        facts, direct=ids, derived=(), mentions=(), not_found=(), surfaces=(rows, index)
    )
    receipt = Receipt.from_json(build(facts=facts, signer=SIGNER).to_json())
    verdict = receipt.verify(PEM)
    assert verdict.status == receipt.status == receipt.predicate["status"]
    assert bool(verdict.reasons) is not verdict.proven
    for surface in receipt.surfaces:
        if surface.status is SurfaceStatus.FAILED:
            assert not verdict.proven
        if receipt.status is SurfaceStatus.ERASED and surface.count:
            assert surface.status is SurfaceStatus.ERASED
            assert any(check.control_expected for check in surface.verification)
            assert all(
                check.control_found >= check.control_expected for check in surface.verification
            )
            assert not any(check.hits for check in surface.verification)
    if receipt.status is not SurfaceStatus.ERASED:
        assert not re.search(r"[0-9] records? (was|were) .*erased", receipt.explain())


def test_a_failed_forget_has_a_genuine_receipt_that_proves_nothing(facts: Facts) -> None:
    look = Check(check="byte scan", hits=2, control_expected=3, control_found=3)
    bad = judge("rows", count=4, method="rewrite", checks=[look])
    verdict = build(facts=replace(facts, surfaces=[bad]), signer=SIGNER).verify(PEM)
    assert verdict.status is SurfaceStatus.FAILED and not verdict.proven
    assert verdict.reasons == ("rows: byte scan: 2 hits after the purge",)
    assert "shows no erasure" in verdict.sentence and verdict.reasons[0] in verdict.sentence


# ------------------------------------------------------------------------------- the ledger


def test_a_receipt_is_found_in_its_ledger(facts: Facts, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for index in range(4):
        now = replace(facts, ledger_size=ledger.size, ledger_root=ledger.root())
        receipt = build(facts=now, signer=SIGNER)
        assert receipt.check(PEM, ledger=ledger) == ["it isn't in the ledger"]
        ledger.append(receipt.entry)
        receipt.save(tmp_path / f"{index}.json")
    again = Ledger(tmp_path / "ledger.jsonl", read_only=True)
    for index in range(4):
        receipt = Receipt.load(tmp_path / f"{index}.json")
        assert receipt.verify(PEM, ledger=again).ledger_index == index
        assert again.prove(index).holds(receipt.entry)
        assert receipt.verify(PEM).ledger_index is None


def test_a_rewritten_or_shortened_ledger_is_noticed(facts: Facts) -> None:
    first, second = Ledger(), Ledger()
    first.append(bytes(32))
    now = replace(facts, ledger_size=1, ledger_root=first.root())
    receipt = build(facts=now, signer=SIGNER)
    second.append(bytes(31) + b"x")
    for ledger in (second, Ledger()):
        ledger.append(receipt.entry)
        with pytest.raises(ReceiptInvalid, match="not the one that it was signed behind"):
            receipt.verify(PEM, ledger=ledger)
    first.append(receipt.entry)
    assert receipt.verify(PEM, ledger=first).proven
    late = build(facts=replace(facts, ledger_size=5, ledger_root=first.root()), signer=SIGNER)
    first.append(late.entry)
    assert late.check(PEM, ledger=first)


# ------------------------------------------------------------------------------- for people


def test_it_explains_itself(receipt: Receipt) -> None:
    told = receipt.explain()
    whole = "4 records (2 asked for, 1 derived, 1 by mention) were erased from rows and index"
    assert whole in told
    assert "backups can't be checked from here" in told
    assert "kept on request though the subject is mentioned: 2" in told
    assert all(exclusion in told for exclusion in EXCLUSIONS)
    assert re.search(r"rows +erased +4 +decoded byte scan \(touched\): 0 hits, control 3/3", told)
    assert re.search(r"backups +unsupported +0 +-", told)
    assert receipt.verify(PEM).sentence.startswith("The signature is genuine. The signer states")


def test_it_explains_what_is_not_shown(facts: Facts) -> None:
    nothing = replace(facts, direct=(), derived=(), mentions=())
    quiet = judge("rows", count=0, method="rewrite", checks=[Check(check="query", hits=0)])
    told = build(facts=replace(nothing, surfaces=[quiet]), signer=SIGNER)
    assert told.status is SurfaceStatus.NOT_FOUND and told.verify(PEM).proven
    assert "nothing matched the request" in told.explain()
    beyond = judge("rows", count=4, method="none", supported=False)
    told = build(facts=replace(facts, surfaces=[beyond]), signer=SIGNER)
    assert told.status is SurfaceStatus.UNSUPPORTED and not told.verify(PEM).proven
    assert "shows no erasure: 4 records" in told.explain() and "rows: unsupported" in told.explain()
    unseen = judge("rows", count=4, method="rewrite")
    told = build(facts=replace(facts, surfaces=[unseen]), signer=SIGNER)
    assert "rows: nobody looked" in told.explain()
    one = replace(facts, direct=("conversation-0017",), derived=(), mentions=())
    told = build(facts=one, signer=SIGNER)
    assert "1 record (1 asked for, 0 derived, 0 by mention) was erased" in told.explain()
