"""Which field is what: named ones are held to, guessed ones never cost a row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import Fault, read
from forgetnet.ingest.fields import Fields, fit_topic, to_record
from forgetnet.ingest.source import Row
from forgetnet.ingest.times import parse_time
from forgetnet.record import Record, split_topic

NOON = datetime(2024, 5, 8, 12, 0, tzinfo=UTC)


def one(values: dict[str, object], **fields) -> Record:
    return to_record(Row(1, values), Fields(**fields))


def wrote(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["text", "content", "message", "body", "memory"])
def test_the_text_is_known_by_its_usual_names(name) -> None:
    record = one({name: "hello", "k": 1})
    assert (record.text, dict(record.metadata)) == ("hello", {"k": 1})


@pytest.mark.parametrize(
    "name", ["subject", "user_id", "user", "speaker", "author", "sender", "from", "name", "role"]
)
def test_the_subject_is_known_by_its_usual_names(name) -> None:
    assert one({"text": "x", name: "ann"}).subject == "ann"
    assert one({"text": "x", name: 42}).subject == "42"
    assert one({"text": "x", name: {"id": 5, "name": "ann"}}).subject == "ann"
    assert one({"text": "x", name: ""}).subject is None


def test_what_is_not_taken_is_metadata() -> None:
    values = {
        "id": 7,
        "text": "x",
        "user": "ann",
        "topic": "a/b",
        "lang": "de",
        "empty": "",
        "no": None,
    }
    record = one(values | {"metadata": {"deep": [1]}, "created_at": "2024-05-08T12:00:00Z"})
    assert (record.id, record.subject, record.topic) == ("7", "ann", "a/b")
    assert record.created_at == NOON
    assert dict(record.metadata) == {"lang": "de", "deep": [1]}


def test_metadata_that_clashes_stays_apart() -> None:
    record = one({"text": "x", "lang": "de", "metadata": {"lang": "en"}})
    assert dict(record.metadata) == {"lang": "de", "metadata": {"lang": "en"}}


def test_a_guess_that_does_not_fit_stays_in_the_metadata() -> None:
    record = one({"text": "x", "date": "yesterday", "user": ["a"], "category": 3})
    assert (record.created_at, record.subject, record.topic) == (None, None, None)
    assert dict(record.metadata) == {"date": "yesterday", "user": ["a"], "category": 3}


def test_a_named_field_that_does_not_fit_is_a_fault() -> None:
    for fields, values in (
        ({"created": "when"}, {"when": "SECRET"}),
        ({"subject": "who"}, {"who": ["SECRET"]}),
        ({"text": "text"}, {"text": {"SECRET": 1}}),
        ({"mentions": "m"}, {"m": 3}),
        ({"vector": "v"}, {"v": "SECRET"}),
        ({}, {"derived_from": 3}),
    ):
        with pytest.raises(InvalidRecord) as told:
            one({"text": "x"} | values, **fields)
        assert "SECRET" not in str(told.value)


def test_fields_inside_objects_can_be_named() -> None:
    values = {"message": {"content": "hi", "n": 1}, "meta": {"who": {"id": "ann"}}}
    record = one(values, text="message.content", subject="meta.who.id")
    assert (record.text, record.subject) == ("hi", "ann")
    assert dict(record.metadata) == {"message": {"n": 1}, "meta": {"who": {}}}


def test_the_text_is_nowhere_twice() -> None:
    record = one({"message": {"role": "user", "content": "hello"}})
    assert record.text == "hello"
    assert "hello" not in json.dumps(dict(record.metadata))


def test_metadata_can_be_chosen() -> None:
    values = {"text": "x", "a": 1, "b": 2, "metadata": {"c": 3, "d": 4}}
    assert dict(one(dict(values), metadata=("a", "c")).metadata) == {"a": 1, "c": 3}
    assert dict(one(dict(values), metadata=()).metadata) == {}


def test_mentions_and_sources_come_as_lists_or_joined() -> None:
    record = one({"text": "x", "mentions": ["bob", {"name": "ann"}], "derived_from": "m1; m2"})
    assert record.mentions == ("ann", "bob")
    assert record.derived_from == ("m1", "m2")
    assert one({"text": "x", "mentions": '["a;b"]'}).mentions == ("a;b",)


def test_expiry_is_never_lost() -> None:
    assert one({"text": "x", "expires_at": NOON.isoformat()}).expires_at == NOON
    with pytest.raises(InvalidRecord, match="expires_at"):
        one({"text": "x", "expires_at": "soon"})


def test_a_vector_can_stand_in_for_the_text() -> None:
    record = one({"text": "", "v": [1, 0.5]}, vector="v")
    assert record.text is None
    assert record.vector is not None
    assert record.vector.dtype == np.float32
    assert record.vector.tolist() == [1.0, 0.5]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=10))
def test_any_names_fit_a_topic(names) -> None:
    topic = fit_topic(name.replace("/", "+") for name in names)
    kept = [name.replace("/", "+") for name in names if name]
    assert list(split_topic(topic))[:5] == kept[:5]
    assert len(split_topic(topic)) == min(len(kept), 6)


@pytest.mark.parametrize(
    "value",
    [
        *("2024-05-08T12:00:00Z", "2024-05-08 14:00:00+02:00", "2024-05-08T12:00:00.000"),
        *(1715169600, 1715169600.0, 1715169600000, 1715169600000000, 1715169600000000000),
        *("1715169600", "1715169600.000000", "Wed, 08 May 2024 12:00:00 GMT"),
        *("12:00 pm on 8 May, 2024", NOON, NOON.astimezone(timezone(timedelta(hours=9)))),
    ],
)
def test_times_are_read_in_the_forms_that_exports_have(value) -> None:
    assert parse_time(value) == NOON


def test_microseconds_are_kept() -> None:
    assert parse_time("1700000000.000123") == datetime(2023, 11, 14, 22, 13, 20, 123, tzinfo=UTC)
    assert parse_time("12:28 am on 8 November, 2023") == datetime(2023, 11, 8, 0, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [None, True, 2024, "2024", "12", -5, float("nan"), "", "soon", [], 10**30, "9" * 25, "1e400"],
)
def test_what_is_no_time_is_none(value) -> None:
    assert parse_time(value) is None


def test_a_missing_text_field_lists_the_fields_there_are(tmp_path) -> None:
    path = wrote(tmp_path / "a.jsonl", {"titel": "SECRET", "inhalt": "SECRET"}, {"n": 1})
    with pytest.raises(InvalidRecord, match=r"'inhalt', 'n', 'titel'.*--text-field") as told:
        list(read(path))
    assert "SECRET" not in str(told.value)
    assert len(list(read(path, text_field="inhalt"))) == 2


def test_a_named_field_that_is_nowhere_is_an_error(tmp_path) -> None:
    path = wrote(tmp_path / "a.jsonl", {"text": "a", "who": "ann"}, {"text": "b", "lang": "de"})
    for option in ("subject_field", "topic_field", "id_field", "created_field", "mentions_field"):
        with pytest.raises(InvalidRecord, match="no field 'usr'"):
            list(read(path, **{option: "usr"}))
    with pytest.raises(InvalidRecord, match="no field 'usr'"):
        list(read(path, metadata_fields=["lang", "usr"]))
    assert len(list(read(path, subject_field="who", metadata_fields=["lang"]))) == 2


def test_a_table_without_header_does_not_spill_its_text(tmp_path) -> None:
    path = tmp_path / "a.csv"
    secret = "a long sentence that nobody meant to be the name of a column"
    path.write_text(f"1,{secret}\n2,another\n", encoding="utf-8")
    with pytest.raises(InvalidRecord) as told:
        list(read(path))
    assert secret not in str(told.value)


def test_the_window_keeps_the_order_of_rows(tmp_path) -> None:
    rows = [{"no": n} for n in range(50)] + [{"text": str(n)} for n in range(100)]
    items = list(read(wrote(tmp_path / "a.jsonl", *rows)))
    assert [type(item) for item in items] == [Fault] * 50 + [Record] * 100
    assert [item.line for item in items[:50]] == list(range(1, 51))
    assert [item.text for item in items[50:]] == [str(n) for n in range(100)]
