"""Whatever the bytes, reading ends in records, faults or a clear error, and quotes nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import FORMATS, Fault, detect, read
from forgetnet.record import Record, check_record

SECRET = "zebra"
SAID = {"role": "user", "text": SECRET, "from_id": "u1", "date_unixtime": "1715169600"}
NODE = {"message": {"id": "m", "author": {"role": "user"}, "content": {"parts": [SECRET]}}}
TURN = {"speaker": "Kim", "dia_id": "D1:1", "text": SECRET}
SEEDS = {
    "a.jsonl": json.dumps(SAID) + "\n" + json.dumps({"messages": [SAID]}),
    "b.csv": f'text,user,n\n{SECRET},ann,1\n"{SECRET}\n","bob",2\n',
    "c.json": json.dumps([SAID, {"title": "t", "messages": [SAID, SAID]}]),
    "d.json": json.dumps([{"title": "t", "mapping": {"n": NODE}}]),
    "e.json": json.dumps([{"sample_id": "s", "conversation": {"session_1": [TURN]}}]),
    "f.json": json.dumps({"name": "n", "type": "p", "id": 1, "messages": [SAID, SAID]}),
    "g.txt": f"[12/31/23, 9:15:03 PM] Ann: {SECRET}\nmore\n[1/1/24, 9:15:03 AM] Bob: {SECRET}",
    "h.md": f"# Title\n\n{SECRET}\n\n## Two\n{SECRET}",
}
EDITS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 6),
        st.sampled_from([b"", b'"', b"{", b"]", b"\\", b",", b"\n", b"\xff", b"\x00", b"\\ud800"])
        | st.binary(max_size=4),
    ),
    max_size=5,
)


def look(path: Path, kind: str | None = None) -> list[Record | Fault]:
    """Read a file to its end; an error counts as a fault."""
    try:
        return list(read(path, format=kind, split="heading"))
    except InvalidRecord as error:
        return [Fault(0, str(error))]


@pytest.mark.parametrize("name", SEEDS)
@given(edits=EDITS, packed=st.booleans())
def test_damage_anywhere_is_survived(tmp_path_factory, name, edits, packed) -> None:
    data = SEEDS[name].encode()
    for place, length, new in edits:
        data = data[:place] + new + data[place + length :]
    path = tmp_path_factory.mktemp("x") / name
    path.write_bytes(gzip.compress(data) if packed else data)
    for item in look(path):
        if isinstance(item, Fault):
            # a key of a row may be named in the error that no field is the text
            assert SECRET not in item.reason or "there are" in item.reason
        else:
            assert not [why for why in check_record(item) if why != "id is empty"]


@pytest.mark.parametrize("name", SEEDS)
def test_each_seed_is_read_whole(tmp_path, name) -> None:
    path = tmp_path / name
    path.write_text(SEEDS[name])
    items = look(path)
    assert items
    assert all(isinstance(item, Record) and SECRET in (item.text or "") for item in items)
    assert detect(path) not in ("text", "json") or name in ("c.json", "h.md")


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"folder", "slack", "export", "parquet"}))
@given(data=st.binary(max_size=200) | st.sampled_from(list(SEEDS.values())).map(str.encode))
def test_any_bytes_in_any_format_are_survived(tmp_path_factory, kind, data) -> None:
    path = tmp_path_factory.mktemp("x") / "file"
    path.write_bytes(data)
    for item in look(path, kind):
        assert isinstance(item, Record | Fault)
