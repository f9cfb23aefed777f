"""CSV, TSV and Parquet: cells come through as they are, a broken row costs only itself."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import Fault, count_hint, read, source, table
from forgetnet.record import Record

CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def split(items) -> tuple[list[Record], list[Fault]]:
    items = list(items)
    records = [item for item in items if isinstance(item, Record)]
    return records, [item for item in items if isinstance(item, Fault)]


def wrote(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@given(
    st.lists(st.tuples(CELL.filter(lambda c: bool(c.strip())), CELL), max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_cell_comes_through_unchanged(tmp_path_factory, rows, delimiter, end) -> None:
    path = tmp_path_factory.mktemp("x") / "a.csv"
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "note"), *rows])
    path.write_bytes(out.getvalue().encode("utf-8-sig"))
    records, faults = split(read(path))
    assert not faults
    assert [(r.text, r.metadata.get("note", "")) for r in records] == rows


def test_cells_of_several_lines_and_line_numbers(tmp_path) -> None:
    path = wrote(tmp_path / "a.csv", 'text,n\n"one\ntwo",1\n\n,3\nx,4,SECRET\ny\nz,5\n')
    records, faults = split(read(path))
    assert [(r.text, r.metadata["n"]) for r in records] == [("one\ntwo", "1"), ("z", "5")]
    assert [fault.line for fault in faults] == [5, 6, 7]
    assert "SECRET" not in str(faults)


def test_a_cell_left_open_does_not_swallow_the_rows_after_it(tmp_path) -> None:
    rows = "".join(f"row {n},{n}\n" for n in range(50))
    path = wrote(tmp_path / "a.csv", f'text,n\nfirst,0\n"SECRET,0\n{rows}')
    records, faults = split(read(path))
    assert [r.text for r in records] == ["first", *(f"row {n}" for n in range(50))]
    assert [fault.line for fault in faults] == [3]
    assert "SECRET" not in str(faults)


def test_a_quote_in_the_middle_costs_one_row(tmp_path) -> None:
    path = wrote(tmp_path / "a.csv", 'text,n\n"a"b,1\nok,2\n"open,3\n"fine",4\nok,5\n')
    records, faults = split(read(path))
    assert [r.text for r in records] == ["ok", "fine", "ok"]
    assert [fault.line for fault in faults] == [2, 4]


def test_undecodable_bytes_cost_one_row(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\nok\n"a\n\xff"\nfine\n')
    records, faults = split(read(path))
    assert [r.text for r in records] == ["ok", "fine"]
    assert [fault.line for fault in faults] == [3]


def test_columns_without_name_and_names_taken_twice(tmp_path) -> None:
    path = wrote(tmp_path / "a.csv", "text,,k,k\na,b,c,d\n")
    assert dict(split(read(path))[0][0].metadata) == {"column_2": "b", "k": "c", "k_2": "d"}


def test_a_cell_beyond_the_limit_of_the_module_is_read(tmp_path) -> None:
    text = "word " * 100_000
    records, faults = split(read(wrote(tmp_path / "a.csv", f'text\n"{text}"\n')))
    assert (records[0].text, faults) == (text, [])


def test_a_row_beyond_the_limit_is_given_up(tmp_path, monkeypatch) -> None:
    for module in (source, table):
        monkeypatch.setattr(module, "MAX_CHARS", 1000)
    before = csv.field_size_limit(1000)
    try:
        path = wrote(tmp_path / "a.csv", 'text\nok\n"' + "long\n" * 1000 + '"\nfine\n')
        records, faults = split(read(path))
    finally:
        csv.field_size_limit(before)
    assert [r.text for r in records if r.text != "long"] == ["ok", "fine"]
    assert faults[0].line == 3


def test_a_header_alone_and_nothing_at_all(tmp_path) -> None:
    assert list(read(wrote(tmp_path / "a.csv", "text,n\n"))) == []
    assert list(read(wrote(tmp_path / "b.csv", ""))) == []
    assert list(read(wrote(tmp_path / "c.tsv", "\n\n"))) == []


def test_a_broken_header_is_an_error(tmp_path) -> None:
    with pytest.raises(InvalidRecord, match="header"):
        list(read(wrote(tmp_path / "a.csv", '"te"xt,n\na,1\n')))


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_gives_rows_with_their_types(tmp_path, packed) -> None:
    when = datetime(2024, 5, 8, 12, 0, 0, 123456, tzinfo=UTC)
    columns = {
        "text": ["a", "b", None],
        "user": [1, 2, 3],
        "created_at": pa.array([when] * 3, pa.timestamp("ns", "UTC")),
        "price": [Decimal("1.50"), None, Decimal("0.1")],
        "score": [0.5, float("nan"), 1.0],
        "raw": [b"\xff\x00", None, None],
        "tags": [["x"], [], None],
        "v": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
    }
    path = tmp_path / ("a.parquet.gz" if packed else "a.parquet")
    pq.write_table(pa.table(columns), path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    told: list[int] = []
    records, faults = split(read(path, vector_field="v", on_bytes=told.append))
    assert [r.text for r in records] == ["a", "b", None]
    assert [r.subject for r in records] == ["1", "2", "3"]
    assert records[0].created_at == when
    assert dict(records[0].metadata) == {"price": 1.5, "score": 0.5, "raw": "/wA=", "tags": ["x"]}
    assert dict(records[1].metadata) == {"tags": []}
    assert sum(told) == count_hint(path)
    assert not faults
    assert [fault.line for fault in split(read(path))[1]] == [3]


def test_parquet_text_that_is_not_utf8_costs_one_row(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    cells = pa.array([b"a", b"SECRET\xff", b"c"]).view(pa.string())
    pq.write_table(pa.table({"text": cells}), path)
    records, faults = split(read(path))
    assert [r.text for r in records] == ["a", "c"]
    assert [fault.line for fault in faults] == [2]
    assert "SECRET" not in str(faults)


def test_a_broken_parquet_file_is_an_error(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidRecord, match="Parquet"):
        list(read(path))


def test_a_damaged_page_ends_with_a_fault(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text number {n}" for n in range(2000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, use_dictionary=False)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    items = list(read(path))
    assert isinstance(items[-1], Fault)
    assert len(items) < 2001
