"""The byte search finds what a plain search finds; spellings and runs of numbers are complete."""

from __future__ import annotations

import base64
import hmac
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.audit import match
from forgetnet.audit.match import Matcher
from forgetnet.audit.needles import Needles, spellings, windows
from forgetnet.audit.trace import Hasher
from forgetnet.record import Record

dense = st.lists(st.sampled_from([b"a", b"ab", b"\0", b"xyz", b"aaaaaaaa"]), max_size=120)
patterns = st.lists(st.integers(0, 300), min_size=1, max_size=30)


@given(dense, patterns, st.lists(st.binary(min_size=7, max_size=40), max_size=5), st.data())
def test_it_finds_what_a_plain_search_finds(
    parts: list[bytes], starts: list[int], others: list[bytes], data: st.DataObject
) -> None:
    haystack = b"".join(parts)
    cut = [haystack[start : start + data.draw(st.integers(7, 60))] for start in starts]
    needles = sorted({needle for needle in (*cut, *others) if len(needle) >= match.SHORTEST})
    expected = {i for i, needle in enumerate(needles) if needle in haystack}
    assert Matcher(needles).find(haystack) == expected
    known = data.draw(st.sets(st.sampled_from(range(len(needles))))) if needles else set()
    assert Matcher(needles).find(haystack, known) == expected - known


def test_it_finds_across_its_own_blocks_and_in_floods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "_BLOCK", 4)
    monkeypatch.setattr(match, "_FLOOD", 2)
    monkeypatch.setattr(match, "_SLICE", 3)
    needles = [b"%07d" % i for i in range(40)] + [b"%016d" % i for i in range(40)] + [b"\0" * 9]
    for shift in range(24):
        haystack = b"-" * shift + b"%016d" % 39 + b"0" * 40 + bytes(9) + b"0000012"
        expected = {i for i, needle in enumerate(needles) if needle in haystack}
        assert {12, 79, 80} < expected
        assert Matcher(needles).find(haystack) == expected


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


@given(st.integers(0, 2**32 - 1), st.integers(16, 100), st.data())
def test_any_16_numbers_in_a_row_are_found(seed: int, dim: int, data: st.DataObject) -> None:
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    found = Matcher(sorted(windows(vector)))
    start = data.draw(st.integers(0, dim - 16))
    for kind in ("<f4", "<f8", "<f2"):
        run = vector[start : start + 16].astype(kind).tobytes()
        assert found.find(data.draw(st.binary(max_size=9)) + run + b"xy")
        other = np.random.default_rng(seed + 1).standard_normal(dim).astype(kind)
        assert not found.find(other.tobytes())


def test_runs_of_few_numbers_are_no_needles() -> None:
    one = np.eye(1, 384, dtype=np.float32)
    assert Needles([Record(None, id="an id to find")], one, salt=bytes(32)).short == 1
    assert not windows(np.zeros(384, np.float32))
    assert not windows(np.eye(384, dtype=np.float32)[3])
    assert not windows(np.tile(np.array([0.5, -0.5, 0.25], np.float32), 128))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_the_hash_is_hmac_sha256(salt: bytes, value: bytes) -> None:
    assert Hasher(salt).of(value) == hmac.digest(salt, value, "sha256")
