"""``erased`` is a word that only a look with power can earn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.surfaces import (
    WITHHELD,
    Check,
    Surface,
    SurfaceStatus,
    Withhold,
    judge,
    overall,
)

ERASED, NOT_FOUND, UNSUPPORTED, FAILED = (
    SurfaceStatus.ERASED,
    SurfaceStatus.NOT_FOUND,
    SurfaceStatus.UNSUPPORTED,
    SurfaceStatus.FAILED,
)
GOOD = Check(
    check="decoded byte scan", hits=0, control_expected=3, control_found=3, files=4, bytes_read=99
)
QUIET = Check(check="query", hits=0)
HIT = replace(GOOD, hits=1)
BLIND = replace(GOOD, control_found=2)
OPAQUE = replace(GOOD, opaque=1)

small = st.integers(0, 3)
checks = st.builds(
    Check,
    check=st.sampled_from(["scan", "query"]),
    hits=st.sampled_from([0, 0, 0, 1]),
    control_expected=small,
    control_found=small,
    opaque=st.sampled_from([0, 0, 0, 1]),
    files=small,
    bytes_read=small,
    scope=st.sampled_from(["touched", "full"]),
)
bits = st.booleans()


@st.composite
def judged(draw: st.DrawFn, name: str = "rows") -> Surface:
    return judge(
        name,
        count=draw(small),
        method="rewrite",
        checks=draw(st.lists(checks, max_size=2)),
        supported=draw(st.sampled_from([True, True, False])),
        broken=draw(st.sampled_from([False, False, True])),
    )


NAMES = ("rows", "vectors", "index", "exports")
several = st.tuples(*(judged(name) for name in NAMES)).flatmap(
    lambda four: st.integers(0, 4).map(lambda kept: four[:kept])
)


def shown(check: Check) -> bool:
    """The definition, written a second time: it could see, it read everything, it saw nothing."""
    return check.control_found >= check.control_expected and not check.opaque and not check.hits


@given(judged())
def test_a_judged_surface_claims_only_what_its_looks_bear(surface: Surface) -> None:
    if surface.status is ERASED:
        assert surface.count > 0
        assert surface.verification and all(map(shown, surface.verification))
        assert any(check.control_expected > 0 for check in surface.verification)
    if surface.status is NOT_FOUND:
        assert surface.count == 0
        assert surface.verification and all(map(shown, surface.verification))


@given(st.sampled_from(SurfaceStatus), small, st.lists(checks, max_size=2))
def test_no_surface_can_be_made_that_claims_more(
    status: SurfaceStatus, count: int, looks: list[Check]
) -> None:
    best = judge("rows", count=count, method="rewrite", checks=looks).status
    if status in {ERASED, NOT_FOUND} and status is not best:
        with pytest.raises(ReceiptInvalid, match="rows can't be called"):
            Surface("rows", status, count, "rewrite", tuple(looks))
    else:
        assert Surface("rows", status, count, "rewrite", tuple(looks)).status is status


@pytest.mark.parametrize(
    "looks, because",
    [
        ((), "nobody looked"),
        ((HIT,), "1 hits after the purge"),
        ((BLIND,), "found 2 of 3 controls"),
        ((OPAQUE,), "could not be decoded"),
        ((QUIET,), "no look had a control"),
        ((GOOD, BLIND), "found 2 of 3 controls"),
    ],
)
def test_what_keeps_a_surface_from_being_erased_is_said(
    looks: tuple[Check, ...], because: str
) -> None:
    surface = judge("rows", count=2, method="rewrite", checks=looks)
    assert surface.status is FAILED
    with pytest.raises(ReceiptInvalid, match=because):
        Surface("rows", ERASED, 2, "rewrite", looks)
    status, reasons = overall([surface], 2)
    assert status is FAILED
    assert any(because in reason for reason in reasons)


@pytest.mark.parametrize("word", ["erased", SurfaceStatus.ERASED])
def test_another_enum_or_a_bare_word_gets_no_easier_rule(word: Any) -> None:
    with pytest.raises(ReceiptInvalid):
        Surface("rows", word, 2, "rewrite")
    surface = Surface("rows", word, 2, "rewrite", [GOOD])  # a list is fine
    assert surface.status is ERASED and surface.verification == (GOOD,)
    assert hash(surface) == hash(replace(surface))


@given(several, small)
@example((), 0)
def test_overall_is_erased_only_if_nothing_speaks_against_it(
    surfaces: tuple[Surface, ...], matched: int
) -> None:
    status, reasons = overall(surfaces, matched)
    assert bool(reasons) == (status in {FAILED, UNSUPPORTED})
    if any(surface.status is FAILED for surface in surfaces):
        assert status is FAILED
    if status is ERASED:
        assert matched
        assert {surface.status for surface in surfaces} <= {ERASED, NOT_FOUND, UNSUPPORTED}
        assert sum(s.count for s in surfaces if s.status is ERASED) >= matched
        assert not any(s.count for s in surfaces if s.status is UNSUPPORTED)
        assert all(shown(check) for s in surfaces for check in s.verification)
        assert all(s.verification for s in surfaces if s.status is not UNSUPPORTED)
    if status is NOT_FOUND:
        assert not matched and surfaces


@given(several, small, judged("journal"))
def test_one_more_surface_never_turns_a_failure_into_a_success(
    surfaces: tuple[Surface, ...], matched: int, more: Surface
) -> None:
    broken = any(surface.status is FAILED for surface in surfaces)
    if broken:
        assert overall((*surfaces, more), matched)[0] is FAILED


@given(several, small)
def test_the_order_of_surfaces_does_not_matter(surfaces: tuple[Surface, ...], matched: int) -> None:
    assert overall(surfaces, matched)[0] is overall(surfaces[::-1], matched)[0]


def surface(status: SurfaceStatus, count: int = 0, name: str = "rows", *looks: Check) -> Surface:
    proof = looks or ((GOOD,) if status in {ERASED, NOT_FOUND} else ())
    return Surface(name, status, count, "rewrite", proof)


@pytest.mark.parametrize(
    "surfaces, matched, expected",
    [
        ([surface(ERASED, 2)], 2, ERASED),
        ([surface(ERASED, 2), surface(NOT_FOUND, 0, "exports")], 2, ERASED),
        ([surface(ERASED, 2), surface(UNSUPPORTED, 0, "backups")], 2, ERASED),
        ([surface(ERASED, 2), surface(UNSUPPORTED, 1, "exports")], 2, UNSUPPORTED),
        ([surface(ERASED, 2), surface(FAILED, 0, "index")], 2, FAILED),
        ([surface(ERASED, 2), surface(ERASED, 2)], 2, FAILED),  # listed twice
        ([surface(ERASED, 1), surface(ERASED, 1, "tails")], 2, ERASED),
        ([surface(ERASED, 1)], 2, FAILED),  # one is unaccounted for
        ([surface(NOT_FOUND)], 2, FAILED),  # matched, and nowhere?
        ([surface(UNSUPPORTED)], 2, UNSUPPORTED),
        ([surface(UNSUPPORTED, 2, "rows", HIT)], 2, UNSUPPORTED),
        ([surface(UNSUPPORTED, 0, "rows", HIT)], 2, FAILED),  # holds nothing, and a hit?
        ([surface(NOT_FOUND), surface(UNSUPPORTED, 0, "backups")], 0, NOT_FOUND),
        ([surface(ERASED, 1, "journal")], 0, NOT_FOUND),
        ([surface(FAILED)], 0, FAILED),
        ([], 0, FAILED),
    ],
)
def test_the_word_for_the_whole(
    surfaces: list[Surface], matched: int, expected: SurfaceStatus
) -> None:
    assert overall(surfaces, matched)[0] is expected


@given(several)
def test_surfaces_read_back_as_they_were_written(surfaces: tuple[Surface, ...]) -> None:
    for one in surfaces:
        assert Surface.from_plain(one.to_plain()) == one


@pytest.mark.parametrize(
    "field, value",
    [
        ("name", "Rows of Ann"),
        ("name", ""),
        ("status", "destroyed"),
        ("count", -1),
        ("count", True),
        ("count", "2"),
        ("method", 'rewrite "x"'),
        ("method", "x" * 81),
        ("verification", {}),
        ("verification", [{"check": "scan"}]),
        ("detail", None),
        ("detail", "naïve"),
    ],
)
def test_a_malformed_surface_is_refused(field: str, value: object) -> None:
    told = surface(ERASED, 2).to_plain() | {field: value}
    with pytest.raises(ReceiptInvalid):
        Surface.from_plain(told)


@pytest.mark.parametrize(
    "field, value",
    [("hits", -1), ("hits", False), ("check", "a\nb"), ("scope", "half"), ("files", 2**53)],
)
def test_a_malformed_check_is_refused(field: str, value: object) -> None:
    with pytest.raises(ReceiptInvalid):
        Check.from_plain(GOOD.to_plain() | {field: value})
    with pytest.raises(ReceiptInvalid):
        Check.from_plain(GOOD.to_plain() | {"control": {"expected": 1}})


NAMING = ["{}", "could not read {}", "row {!r} is locked", "{!a}", "x{}x", "{:.20}..."]
LETTERS = "bcdfghjklm0123456789'\"\\\n\x00é日_-/"


@given(st.text(LETTERS, min_size=1, max_size=40), st.sampled_from(NAMING))
@example("x' OR 1=1 --", "row {!r} is locked")
@example("7", "row {} is locked")
@example("straße-nach-köln", "{}")
def test_a_sentence_that_names_a_secret_is_withheld(secret: str, naming: str) -> None:
    text = naming.format(secret)
    if naming == "x{}x" and len(secret) < 4 and secret.isalnum():
        return  # short words count as words only: a 1 in 2001 is no id
    assert Withhold([secret]).sentence(text) == WITHHELD
    assert Withhold([secret]).sentence(text.upper()) == WITHHELD


def test_a_harmless_sentence_passes() -> None:
    guard = Withhold(["ann", "2", "conversation-0017", ""])
    for text in ("", "the engine can't purge", "20 files in 12 ms (2nd try)", "planned"):
        assert guard.sentence(text) == text
    assert guard.sentence("a" * 5000) == "a" * 300
    assert guard.sentence("Conversation-0017 was here") == WITHHELD
    assert guard.sentence("2 files") == WITHHELD


def test_methods_and_names_of_checks_are_guarded_too() -> None:
    told = Surface("rows", ERASED, 2, "drop ann-smith", (replace(GOOD, check="Ann-Smith"), GOOD))
    safe = Withhold(["ann-smith", "3"]).surface(told)
    assert (safe.method, safe.verification[0].check) == (WITHHELD, WITHHELD)
    assert safe.verification[1] == GOOD and safe.status is ERASED


def test_longer_secrets_hide_behind_their_beginning() -> None:
    secret = "".join(f"{a}{b}" for a, b in pairwise("abcdefghijklmnop")) * 400
    assert Withhold([secret]).sentence(f"too long: {secret[:17]}...") == WITHHELD
