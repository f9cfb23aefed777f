"""What a receipt says of a proposal: strict, in numbers only, and nothing where there was none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet import Memory, Receipt, ReceiptInvalid
from forgetnet.forget.proposal import METHODS, Proposal
from forgetnet.forget.receipt import build, derive_signer
from forgetnet.forget.statement import Erasure
from tests.forget.conftest import FACTS

SIGNER = derive_signer(b"k" * 32)
SHARES = st.integers(0, 10**6)
COUNTS = st.integers(0, 10**6)
GOOD = Proposal(
    digest="ab" * 32,
    query="cd" * 32,
    recall_ppm=950_000,
    method="exemplars",
    miss_ppm=40_000,
    miss_low_ppm=10_000,
    miss_high_ppm=130_000,
    units=33,
    looked_at=100,
    proposed=40,
    added=1,
    dropped=2,
)
BY_IDS = replace(FACTS, scope="ids")


@given(st.sampled_from(METHODS), st.tuples(SHARES, SHARES, SHARES), COUNTS, SHARES)
def test_a_proposal_comes_back_through_a_receipt_as_it_was(method, shares, count, recall):
    miss = (None, None, None) if method == "uncalibrated" else shares
    names = ("miss_ppm", "miss_low_ppm", "miss_high_ppm")
    told = replace(
        GOOD,
        method=method,
        recall_ppm=recall,
        looked_at=count,
        proposed=count,
        dropped=count,
        **dict(zip(names, miss, strict=True)),
    )
    receipt = build(facts=replace(BY_IDS, proposal=told), signer=SIGNER)
    again = Receipt.from_json(receipt.to_json())
    assert again.erasure.proposal == told
    assert again.verify(SIGNER.public_key()).status == receipt.status
    assert "proposed by meaning" in again.explain()


def payload(**changes: Any) -> bytes:
    """The statement of a receipt whose proposal is changed."""
    statement = build(facts=replace(BY_IDS, proposal=GOOD), signer=SIGNER).statement
    told = statement["predicate"]["proposal"]
    for name, value in changes.items():
        if value is ...:
            del told[name]
        else:
            told[name] = value
    return json.dumps(statement).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "ab"},
        {"query": "the illness"},
        {"query": ...},
        {"text": "the illness"},
        {"recall_ppm": 1_000_001},
        {"recall_ppm": 0.95},
        {"recall_ppm": True},
        {"method": "guess"},
        {"miss_ppm": None},
        {"miss_ppm": -1},
        {"method": "uncalibrated"},
        {"miss_ppm": None, "miss_low_ppm": None, "miss_high_ppm": None},
        {"proposed": 101},
        {"dropped": 41},
        {"units": "33"},
        {"added": None},
    ],
)
def test_a_proposal_with_anything_else_in_it_is_refused(changes):
    assert Erasure.from_bytes(payload()).proposal == GOOD
    with pytest.raises(ReceiptInvalid):
        Erasure.from_bytes(payload(**changes))


@pytest.mark.parametrize("kind", ["subject", "topic", "filter", "expired"])
def test_only_ids_come_from_a_proposal(kind):
    with pytest.raises(ReceiptInvalid, match="a proposal is of ids"):
        build(facts=replace(FACTS, scope=kind, proposal=GOOD), signer=SIGNER)


def test_a_receipt_without_a_proposal_has_the_fields_that_it_always_had():
    plain = build(facts=BY_IDS, signer=SIGNER)
    assert set(plain.predicate) == {
        *("receipt", "status", "started", "finished", "scope", "reason", "counts", "commitments"),
        *("surfaces", "components", "encoder", "environment", "exclusions", "ledger"),
    }
    assert not plain.opens("query", "", b"\0" * 32)
    assert "proposed" not in plain.explain()


def test_no_word_of_the_query_a_topic_or_a_record_is_in_a_receipt(tmp_path):
    with Memory.open(tmp_path / "kb", encoder="hash:32") as memory:
        memory.add([f"confidential illness {i}" for i in range(40)], topic="hidden/matter")
        memory.add([f"something else {i}" for i in range(40)], topic="other/thing")
        scope = memory.scope("confidential illness")
        assert scope.topics == ("hidden/matter",)
        receipt = memory.forget(scope=scope.confirm())
        assert receipt.status == "erased"
        said = json.dumps(receipt.statement) + receipt.explain()
        for word in ("confidential", "illness", "hidden", "matter", scope.ids[0]):
            assert word not in said
        files = b"".join(p.read_bytes() for p in (tmp_path / "kb").rglob("*") if p.is_file())
        assert b"confidential" not in files and scope.commitment.encode() not in files
