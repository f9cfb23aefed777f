"""Lines of JSON: what is broken is reported by its number and the rest goes in."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import Fault, jsonl, read, source
from forgetnet.record import Record

WHOLE = st.text(st.characters(exclude_categories=["Cs"]))
SAID = WHOLE.filter(lambda text: bool(text.strip()))


def split(items) -> tuple[list[Record], list[Fault]]:
    items = list(items)
    records = [item for item in items if isinstance(item, Record)]
    return records, [item for item in items if isinstance(item, Fault)]


def wrote(path: Path, *lines: object) -> Path:
    data = [
        line
        if isinstance(line, bytes)
        else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path.write_bytes(b"\n".join(data))
    return path


@given(st.lists(st.tuples(SAID, WHOLE), max_size=8), st.booleans())
def test_any_text_comes_through_unchanged(tmp_path_factory, rows, ascii_only) -> None:
    path = tmp_path_factory.mktemp("x") / "a.jsonl"
    lines = [json.dumps({"text": t, "note": n}, ensure_ascii=ascii_only) for t, n in rows]
    path.write_bytes("\n".join(lines).encode())
    records, faults = split(read(path))
    assert not faults
    assert [(r.text, r.metadata.get("note", "")) for r in records] == rows


def test_a_broken_line_is_reported_by_number_and_never_quoted(tmp_path) -> None:
    path = wrote(
        tmp_path / "a.jsonl",
        {"text": "one"},
        '{"text": "SECRET" "x"}',
        "",
        "   ",
        b'{"text": "SECRET \xff"}',
        ["SECRET"],
        {"text": ""},
        {"text": None},
        {"other": "SECRET"},
        r'{"text": "SECRET \ud83d"}',
        {"text": 7},
        {"text": "SECRET", "created_at": "2024-01-01", "expires_at": "one day"},
        '{"text": ' + "[" * 5000,
        {"text": "last", "n": 1},
    )
    records, faults = split(read(path))
    assert [record.text for record in records] == ["one", "last"]
    assert [fault.line for fault in faults] == [2, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert "SECRET" not in " ".join(map(str, faults))
    assert "SECRET" not in " ".join(map(repr, faults))


def test_text_may_hold_nul_and_separators(tmp_path) -> None:
    text = "a\x00b\u2028c\u0085d\r\ne\U0001f600"
    records, faults = split(read(wrote(tmp_path / "a.jsonl", {"text": text})))
    assert (records[0].text, faults) == (text, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_byte_order_marks_are_understood(tmp_path, encoding) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = tmp_path / "a.jsonl"
    path.write_bytes((mark + '{"text": "Größe"}\n{"text": "b"}\n').encode(encoding))
    assert [record.text for record in split(read(path))[0]] == ["Größe", "b"]


def test_another_encoding_can_be_named(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "Größe"}\n'.encode("cp1252"))
    assert split(read(path, encoding="cp1252"))[0][0].text == "Größe"
    assert [fault.line for fault in split(read(path))[1]] == [1]
    with pytest.raises(InvalidRecord, match="encoding"):
        read(path, encoding="klingon")


def test_a_file_in_quite_another_encoding_ends_with_a_fault(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "one"}\n'.encode("utf-16-le") + b"\x00\xd8a\x00")
    records, faults = split(read(path, encoding="utf-16-le"))
    assert len(faults) == 1
    assert len(records) <= 1


def test_gzip_is_seen_through_whatever_the_name(tmp_path) -> None:
    data = b'{"text": "one"}\n' * 5
    for name in ("a.jsonl.gz", "b.jsonl"):
        (tmp_path / name).write_bytes(gzip.compress(data))
        assert len(split(read(tmp_path / name))[0]) == 5


def test_gzip_cut_short_gives_all_lines_before_the_cut(tmp_path) -> None:
    rows = [json.dumps({"text": f"{n} " + "xyz"[n % 3] * (n % 50)}) for n in range(20_000)]
    packed = gzip.compress("\n".join(rows).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    records, faults = split(read(path))
    assert len(faults) == 1
    assert faults[0].line == len(records) + 1
    whole = zlib.decompressobj(31).decompress(packed[: len(packed) // 2]).count(b"\n")
    assert len(records) == whole > 5_000


def test_a_line_beyond_the_limit_is_passed_by(tmp_path, monkeypatch) -> None:
    for module in (source, jsonl):
        monkeypatch.setattr(module, "MAX_CHARS", 1000)
    path = wrote(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b" * 200_000}, {"text": "c"})
    records, faults = split(read(path))
    assert [record.text for record in records] == ["a", "c"]
    assert [fault.line for fault in faults] == [2]


def test_ten_megabytes_of_text_are_one_record(tmp_path) -> None:
    text = "häh " * 2_500_000
    records, faults = split(read(wrote(tmp_path / "a.jsonl", {"text": text})))
    assert (records[0].text, faults) == (text, [])


def test_a_line_that_holds_a_conversation_gives_its_messages(tmp_path) -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"text": "a"}]}]
    path = wrote(tmp_path / "a.jsonl", {"id": 9, "title": "t", "messages": said}, {"text": "x"})
    records, faults = split(read(path))
    assert not faults
    assert [r.text for r in records] == ["hi", "a", "x"]
    assert [r.subject for r in records] == ["user", "assistant", None]
    assert [r.topic for r in records] == ["t", "t", None]
    assert [dict(r.metadata) for r in records] == [{"conversation": 9}] * 2 + [{}]
