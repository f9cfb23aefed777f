"""An export comes back whole, bit for bit, or says why it doesn't."""

from __future__ import annotations

import gzip
import json
import stat
import string
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from forgetnet.encode import HashEncoder
from forgetnet.errors import InvalidRecord
from forgetnet.exchange import (
    Header,
    decode_line,
    encode_line,
    read_export,
    read_memory,
    write_export,
    write_memory,
)
from forgetnet.record import Record, normalise
from forgetnet.store import PLACE_DIM, Store, StoreConfig, open_store

WHOLE = st.text(st.characters(exclude_categories=["Cs"]))
SOME = WHOLE.filter(bool)
NAMES = st.lists(SOME, max_size=3).map(tuple)
MOMENTS = st.datetimes(
    datetime(1, 1, 3),
    datetime(9999, 12, 29),
    timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WHOLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WHOLE, inner, max_size=3),
    max_leaves=8,
)
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1)
RECORDS = st.builds(
    Record,
    text=WHOLE,
    id=SOME,
    subject=st.none() | SOME,
    topic=st.none() | st.lists(NAME, min_size=1, max_size=6).map("/".join),
    mentions=NAMES,
    derived_from=NAMES,
    metadata=st.dictionaries(WHOLE, JSON, max_size=4),
    created_at=st.none() | MOMENTS,
    expires_at=st.none() | MOMENTS,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
VECTORS = arrays.arrays(np.float32, st.integers(1, 9), elements=FLOATS)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = 'line\nbreak\r\u2028\u2029\x00\x85 "quoted" \\ \' OR 1=1 -- \U0001f600 \u200e'


@given(RECORDS, st.none() | VECTORS)
def test_any_record_comes_back_equal_and_its_vector_bit_for_bit(record, vector) -> None:
    line = encode_line(record, vector)
    assert "\n" not in line
    again, content = decode_line(line)
    assert again == record
    assert again.vector is None
    if vector is None:
        assert content is None
    else:
        assert content is not None
        assert content.dtype == np.float32
        assert content.tobytes() == vector.tobytes()
    assert encode_line(again, content) == line


@given(RECORDS)
def test_equal_records_have_equal_lines(record) -> None:
    stored = normalise(record, NOW)
    shuffled = Record(
        text=stored.text,
        id=stored.id,
        subject=stored.subject,
        topic=stored.topic,
        mentions=stored.mentions,
        derived_from=stored.derived_from,
        metadata=dict(reversed(stored.metadata.items())),
        created_at=(stored.created_at or NOW).astimezone(timezone(timedelta(hours=5))),
        expires_at=stored.expires_at,
    )
    assert encode_line(stored) == encode_line(shuffled)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
@given(rows=st.lists(st.tuples(RECORDS, VECTORS | st.none()), max_size=5))
def test_a_file_comes_back_whole(tmp_path_factory, name, rows) -> None:
    path = tmp_path_factory.mktemp("x") / name
    header = Header("digest", None, len(rows))
    assert write_export(path, header, rows) == len(rows)
    assert path.read_bytes().startswith(b"\x1f\x8b") is name.endswith(".gz")
    found, lines = read_export(path)
    assert found == header
    back = list(lines)
    assert [record for record, _ in back] == [record for record, _ in rows]
    for (_, before), (_, after) in zip(rows, back, strict=True):
        assert (before is None and after is None) or before.tobytes() == after.tobytes()


def test_equal_rows_give_equal_files(tmp_path) -> None:
    rows = [(Record(text=HOSTILE, id=HOSTILE, created_at=NOW), np.ones(3, np.float32))]
    for name in ("a.gz", "b.gz"):
        write_export(tmp_path / name, Header("d", 3, 1), rows)
    data = (tmp_path / "a.gz").read_bytes()
    assert data == (tmp_path / "b.gz").read_bytes()
    assert data[4:8] == bytes(4)  # no time of writing


def test_a_file_is_its_owners_and_replaced_in_one_step(tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    write_export(path, Header(), [(Record(text="old", id="a"), None)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()

    def failing():
        yield Record(text="new", id="b"), None
        raise ZeroDivisionError

    for header, rows in (
        (Header(), failing()),
        (Header(), [(Record(text="new", id="b"), np.array([np.nan], np.float32))]),
        (Header(), [(Record(text="new"), None)]),
        (Header(records=2), [(Record(text="new", id="b"), None)]),
        (Header(dim=2), [(Record(text="new", id="b"), np.ones(3, np.float32))]),
    ):
        with pytest.raises((ZeroDivisionError, InvalidRecord)):
            write_export(path, header, rows)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error_of_the_system(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        write_export(tmp_path / "no" / "x.jsonl", Header(), [])


@pytest.mark.parametrize(
    "vector", [np.ones(3), np.ones((1, 3), np.float32), np.zeros(0, np.float32), [1.0]]
)
def test_only_float32_vectors_are_written(vector) -> None:
    with pytest.raises(InvalidRecord, match="float32"):
        encode_line(Record(text="x", id="a"), vector)


def test_a_record_without_text_needs_its_vector() -> None:
    record = Record(id="a", vector=np.ones(2, np.float32))
    again, content = decode_line(encode_line(record))
    assert again.text is None
    assert content is not None
    assert content.tolist() == [1.0, 1.0]
    with pytest.raises(InvalidRecord):
        encode_line(Record(id="a"))


BROKEN = [
    "SECRET",
    '["SECRET"]',
    '{"text":"SECRET"}',
    '{"id":"","text":"SECRET"}',
    '{"id":7,"text":"SECRET"}',
    '{"id":"a","text":7}',
    '{"id":"a"}',
    '{"id":"a","text":"SECRET","new":"SECRET"}',
    '{"id":"a","text":"SECRET","subject":""}',
    '{"id":"a","text":"SECRET","topic":"a//b"}',
    '{"id":"a","text":"SECRET","mentions":"SECRET"}',
    '{"id":"a","text":"SECRET","mentions":[1]}',
    '{"id":"a","text":"SECRET","metadata":[1]}',
    '{"id":"a","text":"SECRET","metadata":{"n":NaN}}',
    '{"id":"a","text":"SECRET","created_at":"SECRET"}',
    '{"id":"a","text":"SECRET","created_at":5}',
    '{"id":"a","text":"SECRET","created_at":"2024-01-01T00:00:00"}',
    '{"id":"a","text":"SECRET","content":"SECRET"}',
    '{"id":"a","text":"SECRET","content":"AAA"}',
    '{"id":"a","text":"SECRET","content":"AADAfw=="}',
    '{"id":"a","text":"SECRET","content":""}',
    '{"id":"a","text":"SECRET","content":[1]}',
    '{"id":"a","text":"SECRET \\ud83d"}',
    '{"id":"a","text":"SECRET","metadata":' + "[" * 3000 + "]" * 3000 + "}",
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_says_what_and_where_and_quotes_nothing(tmp_path, line) -> None:
    with pytest.raises(InvalidRecord) as told:
        decode_line(line)
    assert "SECRET" not in str(told.value)
    path = tmp_path / "x.jsonl"
    good = encode_line(Record(text="x", id="ok"))
    path.write_text(f'{{"forgetnet":1}}\n{good}\n\n{line}\n{good}\n', encoding="utf-8")
    lines = read_export(path)[1]
    assert next(lines)[0].id == "ok"
    with pytest.raises(InvalidRecord, match="line 4") as told:
        next(lines)
    assert "SECRET" not in str(told.value)


def test_a_file_cut_short_is_noticed(tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    rows = [(Record(text=letter, id=letter), None) for letter in string.ascii_letters]
    write_export(path, Header(records=52), rows)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(InvalidRecord, match="cut short"):
        list(read_export(path)[1])
    path.write_bytes(gzip.compress(b"".join(lines))[:-40])
    with pytest.raises(InvalidRecord, match="line"):
        list(read_export(path)[1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "isn't an export"),
        (b'{"text": "x"}\n', "isn't an export"),
        (b"SECRET", "isn't an export"),
        (b'{"forgetnet":2}\n', "newer"),
        (b'{"forgetnet":1,"dim":"x"}\n', "broken"),
        (b"\xff\n", "UTF-8"),
    ],
)
def test_what_is_no_export_is_refused_at_once(tmp_path, data, said) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    with pytest.raises(InvalidRecord, match=said) as told:
        read_export(path)
    assert "SECRET" not in str(told.value)
    with pytest.raises(InvalidRecord, match="can't read"):
        read_export(tmp_path / "nothing")


def test_vectors_of_another_length_are_refused(tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    line = encode_line(Record(text="x", id="a"), np.ones(2, np.float32))
    path.write_text(json.dumps({"forgetnet": 1, "dim": 3}) + f"\n{line}\n")
    with pytest.raises(InvalidRecord, match="line 2"):
        list(read_export(path)[1])


def test_reading_holds_one_record_at_a_time(tmp_path) -> None:
    path: Path = tmp_path / "x.jsonl"
    write_export(path, Header(), ((Record(text="x", id=str(n)), None) for n in range(1000)))
    lines = read_export(path)[1]
    assert next(lines)[0].id == "0"
    path.write_bytes(b"")  # what is read ahead is a buffer, not the file
    with pytest.raises(InvalidRecord, match="line 1"):
        list(lines)


def store_of(records: list[Record], encoder: HashEncoder) -> Store:
    """Make a store of records, those without text with a vector of ones."""
    store = open_store("memory://", StoreConfig(dim=encoder.dim, salt=b"salt" * 8))
    content = encoder.encode([record.text or "-" for record in records])
    store.add([normalise(r, NOW) for r in records], content, np.zeros((len(records), PLACE_DIM)))
    return store


def test_a_memory_of_many_records_comes_back_in_batches(tmp_path) -> None:
    encoder = HashEncoder()
    records = [Record(text=f"text {n}", id=f"m{n}", subject=f"s{n % 7}") for n in range(1200)]
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"]
    for path, some in zip(paths, (records, records[::-1]), strict=True):
        assert write_memory(store_of(some, encoder), path, encoder, embeddings=True, at=NOW) == 1200
    assert gzip.decompress(paths[1].read_bytes()) == paths[0].read_bytes()  # no trace of the order
    batches = list(read_memory(paths[0], encoder))
    assert len(batches) > 1
    back = {record.id: record for batch in batches for record in batch}
    assert back == {record.id: normalise(record, NOW) for record in records}
    made = encoder.encode([record.text or "" for record in back.values()])
    kept = [record.vector for record in back.values() if record.vector is not None]
    assert np.array_equal(np.stack(kept), made)


def test_vectors_of_another_encoder_are_made_anew_or_refused(tmp_path) -> None:
    encoder, other = HashEncoder(), HashEncoder(dim=8)
    path = tmp_path / "a.jsonl"
    write_memory(
        store_of([Record(text="x", id="a")], encoder), path, encoder, embeddings=True, at=NOW
    )
    assert [record.vector for batch in read_memory(path, other) for record in batch] == [None]
    bare = Record(id="b", vector=np.ones(3, np.float32))
    write_memory(store_of([bare], encoder), path, encoder, embeddings=False, at=NOW)
    assert [r.vector is not None for batch in read_memory(path, encoder) for r in batch] == [True]
    with pytest.raises(InvalidRecord, match="no text"):
        list(read_memory(path, other))


def test_expired_records_are_left_out(tmp_path) -> None:
    encoder = HashEncoder()
    hour = timedelta(hours=1)
    records = [
        Record(text="x", id=name, expires_at=when)
        for name, when in (
            ("past", NOW - hour),
            ("now", NOW),
            ("next", NOW + hour),
            ("never", None),
        )
    ]
    path = tmp_path / "a.jsonl"
    write_memory(store_of(records, encoder), path, encoder, embeddings=True, at=NOW)
    assert {record.id for record, _ in read_export(path)[1]} == {"next", "never"}
