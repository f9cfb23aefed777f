"""Filters mean what they say, whatever they are made of, and an index never loses a match."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.errors import InvalidScope
from forgetnet.filters import compile_filter, required, under
from forgetnet.record import Record, normalise
from forgetnet.table import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 3).map(lambda hours: NOW + timedelta(hours=hours))
WORDS = st.sampled_from(["", "a", "ab", "b", "a/b", "é", "x' OR 1=1 --"])
NAMES = st.sampled_from(["a", "ab", "b", "é", "x' OR 1=1 --"])
PLAIN = st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from([0.0, 0.5, 1.0]) | WORDS
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=3,
)
RECORDS = st.builds(
    lambda id, metadata, **fields: normalise(Record(id=id, metadata=metadata, **fields), NOW),
    id=st.uuids().map(str),
    text=WORDS,
    subject=st.none() | NAMES,
    topic=st.none() | st.sampled_from(["a", "a/b", "ab", "é"]),
    mentions=st.lists(NAMES, max_size=2).map(tuple),
    derived_from=st.lists(NAMES, max_size=2).map(tuple),
    metadata=st.dictionaries(st.sampled_from(["m", "n"]), JSON, max_size=2),
    expires_at=st.none() | TIMES,
)
VALUES = JSON | TIMES
ORDERED = st.booleans() | st.integers(-1, 2) | st.sampled_from([0.0, 0.5]) | WORDS | TIMES
Values = st.SearchStrategy[Any]


def conditions(plain: Values, values: Values, parts: Values, ordered: Values) -> Values:
    """What may stand behind a field: a plain value, or operators, or the opposite of these."""
    told = plain | st.dictionaries(st.sampled_from(["$eq", "$ne"]), values, min_size=1)
    several = st.lists(values, max_size=3)
    told |= st.dictionaries(st.sampled_from(["$in", "$nin"]), several, min_size=1)
    if not ordered.is_empty:
        operators = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
        told |= st.dictionaries(operators, ordered, min_size=1)
    if not parts.is_empty:
        told |= st.fixed_dictionaries({"$contains": parts})
    return st.recursive(told, lambda inner: st.fixed_dictionaries({"$not": inner}), max_leaves=2)


NONE, NOTHING = st.none(), st.nothing()
LISTS = st.sets(NAMES, max_size=2).map(sorted)
BY_FIELD = {
    "id": conditions(WORDS, WORDS, WORDS, WORDS),
    **dict.fromkeys(
        ("text", "subject", "topic"), conditions(NONE | WORDS, NONE | WORDS, WORDS, WORDS)
    ),
    **dict.fromkeys(("mentions", "derived_from"), conditions(LISTS, LISTS, NAMES, NOTHING)),
    "created_at": conditions(TIMES, TIMES, NOTHING, TIMES),
    "expires_at": conditions(NONE | TIMES, NONE | TIMES, NOTHING, TIMES),
    "metadata.m": conditions(PLAIN | TIMES | st.lists(PLAIN, max_size=2), VALUES, VALUES, ORDERED),
}
FIELDS = st.sampled_from(sorted(BY_FIELD))
CONDITIONS = st.lists(FIELDS, min_size=1, max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: BY_FIELD[name] for name in names})
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: (
        st.dictionaries(
            st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1
        )
        | st.fixed_dictionaries({"$not": inner})
    ),
    max_leaves=4,
)


def kind(value: Any) -> str:
    """The kinds between which nothing is ever equal, or less, or more."""
    if isinstance(value, bool) or value is None:
        return str(type(value))
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list | tuple):
        return "list"
    return "object" if isinstance(value, Mapping) else str(type(value))


def same(a: Any, b: Any) -> bool:
    if kind(a) != kind(b):
        return False
    if kind(a) == "list":
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if kind(a) == "object":
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def holds(value: Any, operator: str, given_: Any) -> bool:
    match operator:
        case "$eq":
            return same(value, given_)
        case "$ne":
            return not same(value, given_)
        case "$in":
            return any(same(value, one) for one in given_)
        case "$nin":
            return not any(same(value, one) for one in given_)
        case "$contains":
            if isinstance(value, str):
                return isinstance(given_, str) and given_ in value
            if kind(value) == "list":
                return any(same(one, given_) for one in value)
            return kind(value) == "object" and isinstance(given_, str) and given_ in value
        case "$not":
            return not meets(value, given_)
    if kind(value) != kind(given_) or value is None or kind(value) in ("list", "object"):
        return False
    signs = (value > given_) - (value < given_)
    return signs in {"$gt": {1}, "$gte": {0, 1}, "$lt": {-1}, "$lte": {-1, 0}}[operator]


def meets(value: Any, condition: Any) -> bool:
    if not isinstance(condition, Mapping):
        return same(value, condition)
    return all(holds(value, operator, given_) for operator, given_ in condition.items())


def matches(record: Record, where: Mapping[str, Any]) -> bool:
    """The definition of a filter, in plain words of Python."""
    found = []
    for name, condition in where.items():
        if name == "$and":
            found.append(all(matches(record, part) for part in condition))
        elif name == "$or":
            found.append(any(matches(record, part) for part in condition))
        elif name == "$not":
            found.append(not matches(record, condition))
        elif name.startswith("metadata."):
            found.append(meets(record.metadata.get(name.removeprefix("metadata.")), condition))
        else:
            found.append(meets(getattr(record, name), condition))
    return all(found)


@settings(max_examples=150)
@given(st.lists(RECORDS, max_size=6), FILTERS)
def test_a_filter_is_its_definition(records: list[Record], where: dict[str, Any]) -> None:
    accepts = compile_filter(where)
    for record in records:
        assert accepts(record) == matches(record, where)


@settings(max_examples=150)
@given(st.lists(RECORDS, max_size=12, unique_by=lambda r: r.id), FILTERS, st.data())
def test_the_indexes_of_a_table_never_lose_a_match(
    records: list[Record], where: dict[str, Any], data: st.DataObject
) -> None:
    table = Table(2)
    table.add(records, np.eye(2, dtype=np.float32)[np.zeros(len(records), int)], _places(records))
    gone = data.draw(st.sets(st.sampled_from([r.id for r in records]))) if records else set()
    table.remove(gone)
    if records:
        one = records[0]
        pins: list[dict[str, Any]] = [
            {"id": {"$in": [one.id, "never"]}},
            {"subject": one.subject},
            {"topic": {"$in": [one.topic, "a"]}},
            {"mentions": {"$contains": "a"}},
        ]
        where = data.draw(st.sampled_from([where, *({"$and": [where, pin]} for pin in pins)]))
    wanted = {r.id for r in records if r.id not in gone and matches(r, where)}
    found = [r.id for r in table.scan(where)]
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert table.count(where) == len(wanted)


def _places(records: list[Record]) -> Any:
    return np.ones((len(records), 17), np.float32)


@given(RECORDS, FILTERS)
def test_what_a_filter_requires_every_match_has(record: Record, where: dict[str, Any]) -> None:
    if not matches(record, where):
        return
    for name in ("id", "subject", "topic"):
        pinned = required(where, name)
        assert pinned is None or getattr(record, name) in pinned
    for name in ("mentions", "derived_from"):
        pinned = required(where, name)
        assert pinned is None or pinned & set(getattr(record, name))


def test_what_pins_is_seen() -> None:
    assert required({"subject": "ann"}, "subject") == {"ann"}
    assert required({"subject": {"$in": ["a", "b"]}}, "subject") == {"a", "b"}
    assert required({"$and": [{"topic": "t"}, {"subject": "ann"}]}, "subject") == {"ann"}
    assert required({"mentions": {"$contains": "a"}}, "mentions") == {"a"}
    assert required({"$or": [{"subject": "ann"}]}, "subject") is None
    assert required({"$not": {"subject": "ann"}}, "subject") is None
    assert required({"subject": {"$ne": "ann"}}, "subject") is None
    assert required({"subject": None}, "subject") is None
    assert required(None, "subject") is None


@given(
    st.lists(st.text(st.sampled_from("ab/!0é"), min_size=1), min_size=1, max_size=3),
    st.text(st.sampled_from("ab/!0é"), max_size=4),
)
def test_under_is_the_topic_and_what_is_below(names: list[str], rest: str) -> None:
    path = "/".join(name.replace("/", "") or "x" for name in names)
    accepts = compile_filter(under(path))
    for topic in (path, path + rest, path + "/" + rest, path[:-1], rest):
        wanted = topic == path or topic.startswith(path + "/")
        assert accepts(Record(text="t", id="i", topic=topic)) == wanted


def test_no_topic_is_under_none() -> None:
    assert not compile_filter(under("a"))(Record(text="t", id="i"))


LADDER: list[Any] = [None, False, 0, "", "0", [], [0], [False], {}, {"a": 0}, {"a": False}, True, 1]


@pytest.mark.parametrize("one", LADDER, ids=repr)
def test_kinds_do_not_mix(one: Any) -> None:
    record = Record(text="t", id="i", metadata={"m": one})
    for other in LADDER:
        alike = json.dumps(one) == json.dumps(other)
        assert compile_filter({"metadata.m": {"$eq": other}})(record) == alike
        assert compile_filter({"metadata.m": {"$in": ["x", other]}})(record) == alike
        assert compile_filter({"metadata.m": {"$ne": other}})(record) != alike
        assert compile_filter({"metadata.m": {"$contains": other}})(record) == (
            (isinstance(one, list) and any(json.dumps(x) == json.dumps(other) for x in one))
            or (isinstance(one, str | dict) and isinstance(other, str) and other in one)
        )


def test_nothing_means_everything_and_empty_means_an_error() -> None:
    assert compile_filter(None)(Record(text="t"))
    with pytest.raises(InvalidScope, match="leave it out"):
        compile_filter({})


@settings(max_examples=300)
@given(
    RECORDS,
    st.sampled_from([name for name in BY_FIELD if name != "metadata.m"]),
    st.sampled_from(["$eq", "$ne", "$gt", "$lte", "$in", "$nin", "$contains"]),
    VALUES | LISTS,
)
def test_what_is_refused_would_match_nothing_or_everything(
    record: Record, name: str, operator: str, value: Any
) -> None:
    condition = {operator: [value] if operator in {"$in", "$nin"} else value}
    try:
        accepts = compile_filter({name: condition})
    except InvalidScope:
        assert meets(getattr(record, name), condition) == (operator in {"$ne", "$nin"})
    else:
        assert accepts(record) == meets(getattr(record, name), condition)


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ({"mentions": "secret"}, "$contains"),
        ({"mentions": {"$in": ["secret"]}}, "$or"),
        ({"mentions": ["secret", "a"]}, "sorted"),
        ({"derived_from": {"$gt": "secret"}}, "$contains"),
        ({"mentions": {"$contains": ["secret"]}}, "one name"),
        ({"mentions": None}, "[]"),
        ({"created_at": "secret"}, "aware datetime"),
        ({"expires_at": {"$lt": 1700000000}}, "aware datetime"),
        ({"created_at": {"$gte": NOW.date()}}, "aware datetime"),
        ({"created_at": {"$gte": NOW.replace(tzinfo=None)}}, "time zone"),
        ({"created_at": {"$contains": "secret"}}, "$gte"),
        ({"created_at": None}, "leave"),
        ({"subject": 7}, "string"),
        ({"subject": ["secret"]}, "string"),
        ({"topic": {"$gt": None}}, "needs a value"),
        ({"subject": {"$in": "secret"}}, "list of values"),
        ({"speaker": "secret"}, "subject"),
    ],
)
def test_a_condition_that_no_record_meets_is_refused_with_what_to_write(
    where: dict[str, Any], hint: str
) -> None:
    for told in (where, {"$not": where}, {"$or": [{"id": "a"}, where]}):
        with pytest.raises(InvalidScope) as refused:
            compile_filter(told)
        assert hint in str(refused.value)
        assert "secret" not in str(refused.value)


def test_metadata_may_be_compared_with_anything() -> None:
    record = Record(text="t", id="i", metadata={"mentions": "ann", "created_at": "2024-01-01"})
    assert compile_filter({"metadata.mentions": "ann"})(record)
    assert compile_filter({"metadata.created_at": {"$gte": "2024"}})(record)
