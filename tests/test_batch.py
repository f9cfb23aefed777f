"""A batch made into records in columns is the batch made into records one by one."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.batch import normalise_all, uncollected
from forgetnet.errors import InvalidRecord
from forgetnet.record import Record, normalise

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
VECTOR = np.ones(3, np.float32)
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text("aßж字😀 ", max_size=4),
    "id": st.text("abäß", min_size=1, max_size=3),
    "subject": st.sampled_from([None, "s", "ß"]),
    "topic": st.sampled_from([None, "a", "a/b"]),
    "created_at": st.sampled_from([None, NOW]),
    "expires_at": st.sampled_from([None, NOW + timedelta(days=1)]),
}
ODD: list[dict[str, Any]] = [
    *({"text": None, "vector": vector} for vector in (None, VECTOR)),
    *({"metadata": data} for data in ({}, {"a": 1}, {"a": (1,)}, 3)),
    *({"mentions": names} for names in (("b", "a", "b"), ["a"], ("",))),
    *({"derived_from": names} for names in (("b", "a"), (3,))),
    *({"created_at": m} for m in (NOW.replace(tzinfo=None), "now", NOW.replace(year=1))),
    {"created_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))},
    {"expires_at": NOW.astimezone(timezone(timedelta(hours=2)))},
    *({name: x} for name in ("text", "id", "subject", "topic") for x in ("\ud800", 3, b"x")),
    *({"topic": topic} for topic in ("", "a//b", "/".join("abcdefg"))),
    {"subject": ""},
]


def outcome(make: Any) -> tuple[Any, ...]:
    try:
        made = make()
    except InvalidRecord as error:
        return (str(error),)
    kinds = [(type(r.metadata), r.created_at.tzinfo, r.vector) for r in made]
    return made, kinds


@given(
    st.lists(st.builds(Record, **PLAIN), min_size=16, max_size=20),
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from(ODD)), max_size=2),
)
def test_columns_give_what_each_record_gives(
    records: list[Record], changes: list[tuple[int, dict[str, Any]]]
) -> None:
    for at, change in changes:
        fields = {name: getattr(records[at], name) for name in Record.__slots__}
        records[at] = Record(**(fields | change))
    single = outcome(lambda: [normalise(record, NOW) for record in records])
    assert outcome(lambda: normalise_all(records, NOW)) == single


def test_records_without_an_id_get_one_each() -> None:
    made = normalise_all([Record("t", id="" if i % 2 else f"{i}") for i in range(100)], NOW)
    assert [r.id for r in made][::2] == [f"{i}" for i in range(0, 100, 2)]
    drawn = {r.id for r in made[1::2]}
    assert len(drawn) == 50
    assert all(len(i) == 32 and int(i, 16) for i in drawn)


def test_metadata_of_a_batch_can_not_be_changed_from_outside() -> None:
    given: dict[str, Any] = {}
    made = normalise_all([Record("t", metadata=given) for _ in range(20)], NOW)
    given["a"] = 1
    assert all(r.metadata == {} for r in made)


def test_the_collector_is_back_after_a_batch_that_failed() -> None:
    with pytest.raises(InvalidRecord), uncollected(10**6):
        normalise_all([Record(text=None)], NOW)
    assert gc.isenabled()
    with uncollected(10**6):
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected(10**6):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
