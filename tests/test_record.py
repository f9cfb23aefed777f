"""What a record may be: every fault is named, and what is stored comes back as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.record import (
    Record,
    canonical_bytes,
    canonical_json,
    check_record,
    new_id,
    normalise,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
HALF = "half \ud800 a pair"
WEST = timezone(timedelta(hours=-5))


class Colour(IntEnum):
    RED = 1


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


GOOD = Record(text="t", id="i")
BAD = {
    "nothing to store": ({"text": None}, "text or a vector"),
    "text of bytes": ({"text": b"t"}, "text must be a string, not bytes"),
    "half a pair": ({"text": HALF}, "text holds half of a surrogate"),
    "id of a number": ({"id": 7}, "id must be a string"),
    "half an id": ({"id": HALF}, "id holds half"),
    "empty subject": ({"subject": ""}, "subject is empty"),
    "half a subject": ({"subject": HALF}, "subject holds half"),
    "empty topic": ({"topic": ""}, "empty name"),
    "double slash": ({"topic": "a//b"}, "empty name"),
    "deep topic": ({"topic": "1/2/3/4/5/6/7"}, "7 levels"),
    "topic of a number": ({"topic": 3}, "topic must be a string"),
    "a list of mentions": ({"mentions": ["a"]}, "mentions must be a tuple"),
    "mentions as one string": ({"mentions": "ab"}, "mentions must be a tuple"),
    "empty mention": ({"mentions": ("a", "")}, "mentions holds an empty string"),
    "half a mention": ({"mentions": (HALF,)}, "mentions holds half"),
    "numbers as sources": ({"derived_from": (1,)}, "derived_from must be a string"),
    "naive time": ({"created_at": datetime(2026, 1, 1)}, "created_at must be a datetime with"),
    "a date as text": ({"expires_at": "2026-01-01"}, "expires_at must be a datetime with"),
    "after the end": ({"expires_at": datetime.max.replace(tzinfo=WEST)}, "years 1 to 9999"),
    "a list as metadata": ({"metadata": [1]}, "metadata must be a mapping"),
    "nan": ({"metadata": {"x": float("nan")}}, "JSON values only"),
    "infinity inside": ({"metadata": {"x": [1e999]}}, "JSON values only"),
    "a set": ({"metadata": {"x": {1}}}, "JSON values only"),
    "half a pair inside": ({"metadata": {"x": HALF}}, "JSON values only"),
    "half a key": ({"metadata": {HALF: 1}}, "JSON values only"),
    "a tuple": ({"metadata": {"x": (1, 2)}}, "unchanged"),
    "a key of a number": ({"metadata": {1: "x"}}, "unchanged"),
    "keys of two kinds": ({"metadata": {1: "x", "a": 2}}, "JSON values only"),
    "too deep": ({"metadata": {"x": nested(100_000)}}, "JSON values only"),
}


@pytest.mark.parametrize("fields, says", BAD.values(), ids=BAD)
def test_each_fault_is_named(fields: dict[str, Any], says: str) -> None:
    record = replace(GOOD, **fields)
    assert [fault for fault in check_record(record) if says in fault]
    with pytest.raises(InvalidRecord, match=says):
        normalise(record, NOW)


def test_all_faults_are_named_at_once() -> None:
    record = Record(text=HALF, subject="", topic="a//b", mentions=("",), metadata={"x": {1}})
    with pytest.raises(InvalidRecord, match="a record without id") as refused:
        normalise(record, NOW)
    assert str(refused.value).count(";") >= 4
    assert HALF not in str(refused.value)
    assert "id is empty" in check_record(record)
    assert "id is empty" not in str(refused.value)


def test_what_is_left_open_is_filled_in() -> None:
    record = normalise(Record(text="t"), NOW)
    assert record.created_at == NOW
    assert len(record.id) == 32 and int(record.id, 16) >= 0
    assert len({new_id() for _ in range(1000)}) == 1000
    assert normalise(Record(text=None, vector=np.ones(3, np.float32)), NOW).vector is None


def test_order_and_zone_of_what_is_given_do_not_matter() -> None:
    one = replace(GOOD, mentions=("b", "a", "b"), created_at=NOW.astimezone(WEST))
    two = replace(GOOD, mentions=("a", "b"), created_at=NOW)
    assert normalise(one, NOW) == normalise(two, NOW)
    assert normalise(one, NOW).created_at.tzinfo is UTC
    same = [canonical_bytes(normalise(r, NOW), b"", b"") for r in (one, two)]
    assert same[0] == same[1]


def test_the_caller_can_not_change_a_record_afterwards() -> None:
    given_ = {"list": [1, {"a": 2}], "colour": Colour.RED, "x": np.float64(0.5)}
    record = normalise(replace(GOOD, metadata=given_), NOW)
    given_["list"].append(3)
    given_["list"][1]["a"] = 9
    given_["new"] = 1
    assert record.metadata == {"list": [1, {"a": 2}], "colour": 1, "x": 0.5}
    assert type(record.metadata["colour"]) is int
    assert type(record.metadata["x"]) is float
    with pytest.raises(TypeError):
        record.metadata["y"] = 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), JSON, max_size=4), st.text(), st.datetimes(timezones=st.just(WEST))
)
def test_whatever_json_can_say_is_kept(metadata: Any, text: str, moment: datetime) -> None:
    record = replace(GOOD, text=text, metadata=metadata, expires_at=moment)
    if check_record(record):
        assert moment.year in (1, 9999)
        return
    kept = normalise(record, NOW)
    assert kept.metadata == metadata
    assert json.loads(canonical_json(dict(kept.metadata))) == metadata
    assert kept.expires_at == moment
    assert normalise(kept, NOW) == kept


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2, max_size=2, unique=True))
def test_two_moments_are_never_one(moments: list[datetime]) -> None:
    one, two = (
        canonical_bytes(normalise(replace(GOOD, created_at=m), NOW), b"", b"") for m in moments
    )
    assert one != two


def test_text_never_shows() -> None:
    record = normalise(Record(text="secret", subject="secret", metadata={"secret": 1}), NOW)
    assert "secret" not in repr(record)
