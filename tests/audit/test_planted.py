"""Canaries planted in a clean memory: each is found, or its file is called opaque; never clean."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import sqlite3
import struct
import zlib
from pathlib import Path
from typing import Any

import lance
import lance.file
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet.audit import decode
from forgetnet.audit.residue import Kind
from forgetnet.errors import StoreCorrupt
from forgetnet.record import Record


def rows(house: Any, column: str = "text") -> pa.Table:
    """Rows of three forgotten records, and of two of nobody's."""
    some = house.ids[:3]
    vectors = pa.array([*house.content[:3].tolist(), *house.content[:2].tolist()])
    return pa.table({
        "id": [*some, "x", "y"],
        column: [*(house.gone[i].text for i in some), "nothing", "nothing more"],
        "content": vectors.cast(pa.list_(pa.float32(), house.DIM)),
    })


def piece_in(house: Any) -> Path:
    return next((house.root / "pieces").iterdir())


def data_in(house: Any) -> Path:
    return max((house.root / "pieces").rglob("data/*.lance"), key=lambda p: p.stat().st_size)


# -- Lance


def test_rows_behind_a_deletion_vector(clean: Any) -> None:
    orphan = lance.write_dataset(rows(clean), str(clean.root / "pieces/orphan.lance"))
    orphan.delete(f"id in ('{clean.ids[0]}', '{clean.ids[1]}', '{clean.ids[2]}')")
    assert orphan.count_rows() == 2
    found = clean.look(raw=False)
    assert found.traces[Kind.ID] == found.traces[Kind.TEXT] == found.traces[Kind.VECTOR] == 3
    assert not found.opaque and any("_deletions" in str(p) for p in clean.root.rglob("*.arrow"))


def test_rows_of_an_old_version(clean: Any) -> None:
    path = str(clean.root / "pieces/orphan.lance")
    lance.write_dataset(rows(clean), path)
    assert lance.write_dataset(rows(clean).slice(3), path, mode="overwrite").count_rows() == 2
    assert clean.look(raw=False).traces[Kind.ID] == 3


def test_a_predicate_in_a_transaction(clean: Any) -> None:
    path = str(clean.root / "pieces/orphan.lance")
    quoted = clean.SUBJECT.replace("'", "''")
    orphan = lance.write_dataset(rows(clean, "subject").slice(3), path)
    orphan.delete(f"subject = '{quoted}'")
    for raw in (True, False):
        assert clean.look(raw=raw).hits[Kind.SUBJECT] >= 1


def test_a_short_subject_in_a_transaction(house: Any) -> None:
    house.add([Record("a text", subject="x'y")])
    house.choose([r.id for r in house.store.scan({"subject": "x'y"})])
    house.forget()
    orphan = lance.write_dataset(pa.table({"subject": ["a"]}), str(house.root / "pieces/o.lance"))
    assert house.look().absent()
    orphan.delete("subject = 'x''y'")
    assert house.look().hits[Kind.SUBJECT] >= 1


@pytest.mark.parametrize("form", ["inside", "binary", "list", "struct", "dictionary", "metadata"])
def test_a_text_inside_another_column(clean: Any, form: str) -> None:
    text = next(iter(clean.gone.values())).text
    told = ["so long", f"deleted: {text}!", "and thanks"]
    column = {
        "inside": pa.array(told),
        "binary": pa.array([t.encode("utf-16-le") for t in told], pa.large_binary()),
        "list": pa.array([[t, "a"] for t in told]),
        "struct": pa.array([{"why": t} for t in told]),
        "dictionary": pa.array(told).dictionary_encode(),
        "metadata": pa.array([1, 2, 3]),
    }[form]
    table = pa.table({"log": column})
    if form == "metadata":
        table = table.replace_schema_metadata({"note": told[1]})
    lance.write_dataset(table, str(clean.root / "pieces/orphan.lance"))
    found = clean.look()
    assert found.hits[Kind.TEXT] or found.opaque
    assert found.hits[Kind.TEXT] or form == "dictionary"


def test_a_short_id_inside_a_longer_string(clean: Any) -> None:
    """Too short for the raw search of a file of rows: only the decoded rows tell."""
    log = [f"{n}: deleted {i} today" for n in range(9) for i in clean.ids[:20]]
    lance.write_dataset(pa.table({"log": log}), str(clean.root / "pieces/orphan.lance"))
    assert max(map(len, clean.ids[:20])) < 16
    assert clean.look().traces[Kind.ID] == 20


@pytest.mark.parametrize("kind", [pa.float64(), pa.float16()])
def test_a_vector_in_other_numbers(clean: Any, kind: Any) -> None:
    other = pa.array(clean.content[:4].astype(np.float64).ravel()).cast(kind)
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(other, clean.DIM)})
    lance.write_dataset(table, str(clean.root / "pieces/orphan.lance"))
    assert clean.look().traces[Kind.VECTOR] == 4


def test_stale_bytes_between_the_pages(clean: Any) -> None:
    path = data_in(clean)
    metadata = lance.file.LanceFileReader(str(path)).metadata()
    buffers = [b for c in metadata.columns for page in c.pages for b in page.buffers]
    ends = sorted(b.position + b.size for b in buffers if b.size)
    gap = next(end for end in ends if -end % 64 >= 20)
    whole = bytearray(path.read_bytes())
    whole[gap : gap + 20] = clean.ids[0].encode()[:12] + b"=> erased"[:8]
    path.write_bytes(whole)
    found = clean.look(path)
    assert found.opaque and not found.absent()


def test_bytes_before_a_data_files_footer(clean: Any) -> None:
    path = data_in(clean)
    whole = path.read_bytes()
    stale = clean.SUBJECT.encode() + bytes(64)
    path.write_bytes(stale + whole)
    assert not clean.look(path).absent()
    path.write_bytes(whole[:-40] + stale + whole[-40:])
    assert clean.look(path).hits[Kind.SUBJECT] == 1
    path.write_bytes(whole + stale)
    assert clean.look(path).opaque


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_data_file_is_never_clean(house: Any, data: st.DataObject) -> None:
    path = data_in(house)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[: data.draw(st.integers(1, len(whole) - 1))])
        found = house.look(path, alive=False)
        assert found.opaque == (path.relative_to(house.root).as_posix(),) and not found.absent()
    finally:
        path.write_bytes(whole)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_never_stops_the_scan(house: Any, data: st.DataObject) -> None:
    """Lance panics on some of these; with its rows unread, the file must count as opaque."""
    path = data_in(house)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=4)):
        damaged[-place] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(damaged)
        found = house.look(path, alive=False, raw=False)
        assert found.opaque or found.rows_seen == house.look(path).rows_seen
    finally:
        path.write_bytes(whole)


def test_an_index_is_opaque(clean: Any) -> None:
    orphan = lance.write_dataset(pa.table({"t": ["some words"] * 9}), str(clean.root / "o.lance"))
    assert not clean.look().opaque
    orphan.create_scalar_index("t", "INVERTED")
    assert any("_indices" in name for name in clean.look().opaque)


# -- tails


def tail_in(house: Any) -> Path:
    one = next(iter(house.store.scan()))
    house.store.delete([one.id])
    return next(path for path in house.store.files() if path.suffix == ".tail")


def test_what_follows_the_last_frame_of_a_tail(clean: Any) -> None:
    tail = tail_in(clean)
    whole = tail.read_bytes()
    assert clean.look().absent()
    tail.write_bytes(whole + bytes(100))
    assert clean.look().absent()
    hidden = next(iter(clean.gone.values())).text.encode("utf-16-le")
    for rest in (hidden, bytes(50) + hidden, b"FNTF" + hidden, whole[:40], whole[:-1]):
        tail.write_bytes(whole + rest)
        found = clean.look()
        assert found.opaque == (tail.relative_to(clean.root).as_posix(),)
        assert found.hits[Kind.TEXT] == (hidden in rest)


def test_what_a_frame_hides_behind_its_rows(clean: Any) -> None:
    tail = tail_in(clean)
    header = struct.Struct("<4sQIIQ")
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"dead": pa.array([1], pa.uint64())})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream = sink.getvalue().to_pybytes()
    for payload, opaque in ((stream, False), (stream + b"behind the rows", True)):
        head = header.pack(b"FNTF", 99, 0, 1, len(payload))
        crc = zlib.crc32(payload, zlib.crc32(head))
        tail.write_bytes(head + crc.to_bytes(4, "little") + payload)
        assert bool(clean.look().opaque) is opaque


def test_a_null_that_hides_its_text(clean: Any) -> None:
    """Arrow may keep bytes under a null; the decoded cell is empty, the raw bytes are not."""
    text = next(iter(clean.gone.values())).text.encode()
    offsets = pa.py_buffer(struct.pack("<2i", 0, len(text)))
    buffers = [pa.py_buffer(b"\0"), offsets, pa.py_buffer(text)]
    hidden = pa.Array.from_buffers(pa.string(), 1, buffers)
    assert hidden.to_pylist() == [None]
    batch = pa.record_batch({"id": pa.array(["x"]), "text": hidden})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload = sink.getvalue().to_pybytes()
    head = struct.pack("<4sQIIQ", b"FNTF", 99, 0, 1, len(payload))
    crc = zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "little")
    tail_in(clean).write_bytes(head + crc + payload)
    found = clean.look()
    assert text in payload and not found.opaque and found.hits[Kind.TEXT] == 1


# -- documents


def spoken(house: Any) -> dict[str, bytes | str]:
    """The same secret, as many ways as it may be written down."""
    first = house.ids[0]
    text, vector = house.gone[first].text, house.content[0]
    plain = text.encode()
    statement = json.dumps({"said": text}).encode()
    return {
        "a.json": json.dumps({"log": [{"was": text}]}),
        "b.json": json.dumps({"log": f"He said: {text}."}, ensure_ascii=False),
        "c.json": json.dumps({"log": text}).encode("utf-16"),
        "d.json": json.dumps({"log": text}).encode("utf-16-be"),
        "e.json": json.dumps({"log": json.dumps({"inner": text})}),
        "f.json": json.dumps({"payload": base64.b64encode(statement).decode()}),
        "g.json": json.dumps({"note": "x" + base64.b64encode(b"ab" + plain + b"c").decode()}),
        "h.json": json.dumps({"note": f"0x{plain.hex()}"}),
        "i.json": f'{{"twice": {json.dumps(text)}, "twice": 1}}',
        "j.json": json.dumps({text: 1}),
        "k.jsonl": f'{{"a": 1}}\n\n{json.dumps([text])}\n',
        "l.json": json.dumps({"v": vector.tolist()}),
        "m.json": json.dumps([0.5, *vector.tolist()[3:25]]),
        "n.json": json.dumps({"id": first}),
        "journal/o.json": json.dumps({"ids": [first]}),
        "p.jsonl": (json.dumps([text]) + "\n").encode("utf-16-le"),
    }


def test_a_document_that_tells(clean: Any) -> None:
    for name, told in spoken(clean).items():
        path = clean.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(told if isinstance(told, bytes) else told.encode())
        found = clean.look()
        assert any(found.hits.values()) and not found.opaque and not found.absent(), name
        path.unlink()
        assert clean.look().absent(), name


def test_short_cells_of_a_document(house: Any) -> None:
    house.add([Record("ok", subject="Bo")])
    house.choose([r.id for r in house.store.scan({"subject": "Bo"})])
    house.forget()
    log = house.root / "log.json"
    for told in (["Bo"], [{"a": {"b": ["Bo"]}}], ["forgot 'Bo' today"], ['forgot "Bo" today']):
        log.write_text(json.dumps(told))
        assert house.look().traces[Kind.SUBJECT] == 1
        assert house.look(raw=False).traces[Kind.SUBJECT] == 1
    log.write_text(json.dumps(["Bob", {"Bo": 1}, "Bo is a short word"]))
    assert house.look().absent()


@pytest.mark.parametrize(
    "told", [b"{", b'{"a": 1} x', b"\xff\xfe\x00", b"[" * 90_000, b'{"a": 1}\0', b"[1" * 70]
)
def test_a_document_that_is_none_is_opaque(clean: Any, told: bytes) -> None:
    for name in ("a.json", "b.jsonl"):
        (clean.root / name).write_bytes(told)
    assert set(clean.look().opaque) == {"a.json", "b.jsonl"}


def test_a_row_key_in_a_document(house: Any) -> None:
    house.traces = house.traces.learn(house.look(alive=False).keys)
    keys = []
    for piece in house.root.glob("pieces/*.lance"):
        table = lance.dataset(str(piece)).to_table(columns=["key", "subject"]).to_pylist()
        keys += [row["key"] for row in table if row["subject"] == house.SUBJECT]
    house.forget()
    assert house.look().absent()
    (house.root / "log.json").write_text(json.dumps({"dead": keys}))
    assert house.look(raw=False).hits[Kind.KEY] == len(keys) > 10


# -- anything else


def test_files_of_no_format_are_opaque_and_still_searched(clean: Any) -> None:
    text, vector = next(iter(clean.gone.values())).text, clean.content[0]
    (clean.root / "log.gz").write_bytes(gzip.compress(text.encode()))
    np.save(clean.root / "old.npy", clean.content.astype(np.float64))
    (clean.root / "cut.bin").write_bytes(b"abc" + vector[5:21].astype("<f2").tobytes())
    (clean.root / "pieces/data.lance").write_text(clean.SUBJECT)
    database = sqlite3.connect(clean.root / "history.db")
    database.execute("create table t(a)")
    database.execute("insert into t values (?)", (text,))
    database.commit()
    database.close()
    found = clean.look()
    names = {"log.gz", "old.npy", "cut.bin", "pieces/data.lance", "history.db"}
    assert set(found.opaque) == names
    assert found.traces == {"id": 0, "text": 1, "subject": 1, "vector": 21, "key": 0}
    for name in names - {"log.gz"}:
        assert any(clean.look(clean.root / name).hits.values())
    assert clean.look(clean.root / "cut.bin").traces[Kind.VECTOR] == 1


def test_links_and_devices_are_opaque_and_not_followed(clean: Any, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text("far away")
    (clean.root / "link").symlink_to(tmp_path / "outside")
    (clean.root / "pulse.link").symlink_to(clean.root / "pulse")
    os.mkfifo(clean.root / "pipe.json")
    assert set(clean.look().opaque) == {"link", "pulse.link", "pipe.json"}


def test_a_name_of_a_file_tells_too(clean: Any) -> None:
    (clean.root / f"{clean.ids[0]}.json").write_text("{}")
    assert clean.look().hits[Kind.ID] == 1


def test_empty_files_hold_nothing(clean: Any) -> None:
    for name in ("empty.bin", "a.tail", "b.json", "lock"):
        (clean.root / name).write_bytes(b"")
    assert clean.look().absent()


@pytest.mark.parametrize("name, good, bad", [
    ("lock", f"process 7 on {socket.gethostname()}", "a\nb"),
    ("pulse", "12345678", "123456789"),
    ("key", "0f" * 32 + "\n", "0f" * 31),
    ("receipt.pub", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "MCow"),
])  # fmt: skip
def test_the_small_files_have_their_shapes(
    clean: Any, tmp_path: Path, name: str, good: str, bad: str
) -> None:
    path = clean.root / "small" / name
    path.parent.mkdir()
    path.write_text(good)
    assert clean.look().absent()
    path.write_text(bad)
    assert clean.look().opaque == (f"small/{name}",)
    if name == "lock":
        path.write_text(f"process 7 on {clean.SUBJECT}")
        assert clean.look().hits[Kind.SUBJECT] == 1


def test_a_manifest_of_lance_with_bytes_to_spare(clean: Any) -> None:
    path = next(piece_in(clean).glob("_versions/*.manifest"))
    whole = path.read_bytes()
    spare = b"spare bytes"
    for told in (spare + whole, whole + spare, whole[:-16] + spare + whole[-16:], whole[:-3]):
        path.write_bytes(told)
        assert clean.look().opaque
    path.write_bytes(whole)
    assert clean.look().absent()


def test_an_error_of_a_decoder_quotes_nothing(clean: Any) -> None:
    path = clean.root / "a.json"
    path.write_text(f"{{{clean.SUBJECT}")
    with pytest.raises(StoreCorrupt) as caught:
        list(decode.decode(path)[1])
    shown = f"{caught.value} {caught.value.__cause__}"
    assert clean.SUBJECT not in shown and caught.value.__suppress_context__
