"""Formats are told apart by what is in them, and a wrong path or option says so at once."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import FORMATS, Fault, count_hint, detect, read


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.jsonl", b"", "jsonl"),
        ("a.NDJSON", b"", "jsonl"),
        ("a.json", b'{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        ("a.json", b'{"text": "a"}\n', "json"),
        ("a.json", b'{\n"text": "a"}\n', "json"),
        ("a.json", b"", "json"),
        ("a.json", b'\xef\xbb\xbf[{"text": "a"}]', "json"),
        ("a", b' [{"text": "a"}]', "json"),
        ("a.dump", b'{"text": "a"}\n{"text": "b"}', "jsonl"),
        ("a.csv", b"", "csv"),
        ("a.tsv.gz", b"", "tsv"),
        ("a.md", b'{"text": "a"}', "text"),
        ("a.txt", b"hello: you", "text"),
        ("a.json", b'{"forgetnet":1,"dim":3}\n{"id":"a"}\n', "export"),
    ],
)
def test_a_format_is_known(tmp_path, name, data, kind) -> None:
    for packed in (False, True):
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if packed else data)
        assert detect(path) == kind
        assert kind in FORMATS


def test_parquet_is_known_without_its_suffix(tmp_path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.data")
    assert detect(tmp_path / "a.data") == "parquet"


def test_what_is_not_there_or_not_known_is_an_error(tmp_path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x00\x01")
    (tmp_path / "a.zip").write_bytes(b"PK")
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("nothing.csv", "no file or folder"),
        ("a.bin", "format="),
        ("a.zip", "unpack"),
        ("pipe", "format="),
    ):
        with pytest.raises(InvalidRecord, match=said):
            read(tmp_path / name)
    with pytest.raises(InvalidRecord, match="no file or folder"):
        count_hint(tmp_path / "nothing")
    with pytest.raises(InvalidRecord, match="no file or folder"):
        read(tmp_path / "nothing", format="csv")
    with pytest.raises(InvalidRecord, match="unknown format"):
        read(tmp_path / "a.txt", format="docx")
    with pytest.raises(InvalidRecord, match="folder"):
        read(tmp_path / "a.txt", format="slack")
    with pytest.raises(InvalidRecord, match="read from a file"):
        read(tmp_path, format="csv")
    with pytest.raises(InvalidRecord, match="unknown split"):
        read(tmp_path / "a.txt", split="page")


def test_our_own_export_is_sent_to_its_door(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"dim":3,"encoder":"x","forgetnet":1}\n')
    with pytest.raises(InvalidRecord, match="import_"):
        read(path)


def test_a_file_that_may_not_be_read_is_an_error(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")

    def refuse(*_args: object, **_kwargs: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InvalidRecord, match="Permission denied"):
        list(read(path, format="jsonl"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json", "a.txt", "a.md"])
@pytest.mark.parametrize("packed", [False, True])
def test_bytes_told_add_up_to_the_hint(tmp_path, name, packed) -> None:
    rows = [{"text": f"line {n}"} for n in range(20_000)]
    text = {
        "a.jsonl": "\n".join(map(json.dumps, rows)),
        "a.json": json.dumps(rows) + "\n" * 100,
        "a.csv": "text\n" + "\n".join(row["text"] for row in rows),
        "a.txt": "\n".join(f"1/1/24, 10:00 - A: line {n}" for n in range(20_000)),
        "a.md": "\n\n".join(row["text"] for row in rows),
    }[name]
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    told: list[int] = []
    items = list(read(path, split="paragraph", on_bytes=told.append))
    assert len(items) == 20_000
    assert not [item for item in items if isinstance(item, Fault)]
    assert sum(told) == path.stat().st_size == count_hint(path)
    assert all(count > 0 for count in told)
    if not packed:
        assert len(told) > 2  # told on the way, not at the end
