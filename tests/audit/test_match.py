"""The byte search finds what a plain search finds; spellings and runs of numbers are complete."""

from __future__ import annotations

import base64
import hmac
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.audit import match, needles
from forgetnet.audit.match import Matcher
from forgetnet.audit.needles import Needles, spellings, windows
from forgetnet.audit.trace import Hasher, trace
from forgetnet.record import Record

dense = st.lists(st.sampled_from([b"a", b"ab", b"\0", b"xyz", b"aaaaaaaa"]), max_size=120)
patterns = st.lists(st.integers(0, 300), min_size=1, max_size=30)


@given(dense, patterns, st.lists(st.binary(min_size=7, max_size=40), max_size=5), st.data())
def test_it_finds_what_a_plain_search_finds(
    parts: list[bytes], starts: list[int], others: list[bytes], data: st.DataObject
) -> None:
    haystack = b"".join(parts)
    cut = [haystack[start : start + data.draw(st.integers(7, 60))] for start in starts]
    wanted = sorted({part for part in (*cut, *others) if len(part) >= match.SHORTEST})
    expected = {i for i, part in enumerate(wanted) if part in haystack}
    assert Matcher(wanted).find(haystack) == expected
    known = data.draw(st.sets(st.sampled_from(range(len(wanted))))) if wanted else set()
    assert Matcher(wanted).find(haystack, known) == expected - known


def test_it_finds_across_its_own_blocks_and_in_floods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "_BLOCK", 4)
    monkeypatch.setattr(match, "_FEW", 1)
    monkeypatch.setattr(match, "_THINNED", 9)
    monkeypatch.setattr(match, "_SLICE", 3)
    wanted = [b"%07d" % i for i in range(40)] + [b"%016d" % i for i in range(40)] + [b"\0" * 9]
    for shift in range(24):
        haystack = b"-" * shift + b"%016d" % 39 + b"0" * 40 + bytes(9) + b"0000012"
        expected = {i for i, part in enumerate(wanted) if part in haystack}
        assert {12, 79, 80} < expected
        assert Matcher(wanted).find(haystack) == expected


def test_short_patterns_are_refused_and_no_patterns_find_nothing() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Matcher([b"123456"])
    assert Matcher([]).find(b"anything at all") == set()
    assert Matcher([b"1234567"]).find(b"") == set()


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=40)


@given(words, st.binary(max_size=7), st.binary(max_size=7))
def test_a_string_is_found_however_it_is_spelt(value: str, before: bytes, after: bytes) -> None:
    plain = value.encode()
    inside = before + plain + after
    forms = [
        inside,
        inside.hex().encode(),
        inside.hex().upper().encode(),
        base64.b64encode(inside),
        base64.urlsafe_b64encode(inside),
        b"x" + value.encode("utf-16-le"),
        value.encode("utf-16-be") + b"x",
        json.dumps([value]).encode(),
        json.dumps({"a": value}, ensure_ascii=False).encode(),
    ]
    found = Matcher(sorted(spellings(value)))
    for form in forms:
        assert found.find(form)


def only(vector: np.ndarray, spacing: int = 1) -> set[bytes]:
    (found,) = windows(vector[None], spacing)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(16, 100), st.data())
def test_any_16_numbers_in_a_row_are_found(seed: int, dim: int, data: st.DataObject) -> None:
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    found = Matcher(sorted(only(vector)))
    start = data.draw(st.integers(0, dim - 16))
    for kind in ("<f4", "<f8", "<f2"):
        run = vector[start : start + 16].astype(kind).tobytes()
        assert found.find(data.draw(st.binary(max_size=9)) + run + b"xy")
        other = np.random.default_rng(seed + 1).standard_normal(dim).astype(kind)
        assert not found.find(other.tobytes())


def test_many_records_are_searched_with_fewer_needles(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0).standard_normal((9, 64)).astype(np.float32)
    records = [Record(f"the text of number {i}", id=f"an id, {i}") for i in range(9)]
    whole = Needles(records, drawn, salt=bytes(32))
    monkeypatch.setattr(needles, "_MOST", 200)
    thin = Needles(records, drawn, salt=bytes(32))
    assert whole.spacing == 1 < thin.spacing and len(thin) < len(whole)
    assert whole.spelt and not thin.spelt
    monkeypatch.setattr(needles, "_MOST", 600)
    assert Needles(records, drawn, salt=bytes(32)).spelt
    everything = {(label.kind, label.digest) for label in whole.labels(range(len(whole)))}
    assert {(label.kind, label.digest) for label in thin.labels(range(len(thin)))} == everything
    assert len(only(drawn[0], thin.spacing)) < len(only(drawn[0]))
    run = 8 * (thin.spacing + 1)
    for i, record in enumerate(records):
        for start in range(64 - run):
            assert thin.matcher.find(drawn[i, start : start + run].tobytes())
        for value in (str(record.text), record.id):
            assert thin.matcher.find(value.encode())


def test_runs_of_few_numbers_are_no_needles() -> None:
    one = np.eye(1, 384, dtype=np.float32)
    assert Needles([Record(None, id="an id to find")], one, salt=bytes(32)).short == 1
    assert not only(np.zeros(384, np.float32))
    assert not only(np.eye(384, dtype=np.float32)[3])
    assert not only(np.tile(np.array([0.5, -0.5, 0.25], np.float32), 128))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_the_hash_is_hmac_sha256(salt: bytes, value: bytes) -> None:
    assert Hasher(salt).of(value) == hmac.digest(salt, value, "sha256")


def test_hashes_of_others_are_not_passed_over_for_want_of_their_plain_bytes() -> None:
    told = [Record("a text of ours", id="one of ours", subject="somebody")]
    own = Needles(told, np.ones((1, 4), np.float32), salt=bytes(32))
    assert own.knows(trace(told, np.ones((1, 4), np.float32), salt=bytes(32)))
    assert not own.knows(trace(told, np.full((1, 4), 2, np.float32), salt=bytes(32)))
    assert not own.knows(trace([Record("another", id="one of ours")], salt=bytes(32)))
