"""Canaries planted in rows of a clean memory: found, or their file is opaque; never clean."""

from __future__ import annotations

import gzip
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


FORMS = ["inside", "binary", "list", "struct", "map", "dictionary", "metadata", "name"]


@pytest.mark.parametrize("form", FORMS)
def test_an_id_inside_another_column(clean: Any, form: str) -> None:
    """Too short for the raw search of a file of rows: only what is decoded tells."""
    told = f"deleted {clean.ids[3]} today"
    assert len(clean.ids[3]) < 16
    column = {
        "inside": pa.array(["so long", told]),
        "binary": pa.array([b"so long", told.encode("utf-16-le")], pa.large_binary()),
        "list": pa.array([["so", "long"], ["a", told]]),
        "struct": pa.array([{"why": "so long"}, {"why": told}]),
        "map": pa.array([[("a", "b")], [("why", told)]], pa.map_(pa.string(), pa.string())),
        "dictionary": pa.array(["so long", told]).dictionary_encode(),
    }.get(form, pa.array([1, 2]))
    table = pa.table({told if form == "name" else "log": column})
    if form == "metadata":
        table = table.replace_schema_metadata({"note": told})
    assert clean.look().absent()
    tail_of(clean).write_bytes(frame_of(table.combine_chunks().to_batches()[0]))
    found = clean.look()
    assert found.traces[Kind.ID] == 1 and not found.opaque
    if form != "map":  # which Lance does not store by default
        tail_of(clean).write_bytes(b"")
        path = clean.root / "pieces" / "data" / "planted.lance"
        path.parent.mkdir()
        with lance.file.LanceFileWriter(str(path), table.schema) as writer:
            writer.write_batch(table)
        assert clean.look().traces[Kind.ID] == 1


@pytest.mark.parametrize("form", ["list", "struct", "map", "large", "view", "binary"])
def test_an_id_that_is_a_nested_cell(clean: Any, form: str) -> None:
    told = clean.ids[3]
    column = {
        "list": pa.array([["so", "long"], ["a", told]]),
        "struct": pa.array([{"why": "so long"}, {"why": told}]),
        "map": pa.array([[("a", "b")], [("why", told)]], pa.map_(pa.string(), pa.string())),
        "large": pa.array(["so long", told], pa.large_string()),
        "view": pa.array(["so long", told], pa.string_view()),
        "binary": pa.array([b"so long", told.encode()]),
    }[form]
    tail_of(clean).write_bytes(frame_of(pa.record_batch({"log": column})))
    found = clean.look(raw=False)
    assert found.hits[Kind.ID] == 1 and not found.opaque


def test_a_column_of_no_known_type_is_opaque(clean: Any) -> None:
    kinds = pa.array([0], pa.int8())
    union = pa.UnionArray.from_sparse(kinds, [pa.array(["a text"])])
    tail_of(clean).write_bytes(frame_of(pa.record_batch({"log": union})))
    assert clean.look().opaque == ("tails/planted.tail",)


def test_ids_in_strings_that_lance_compresses(clean: Any) -> None:
    log = [f"{n}: deleted {i} today" for n in range(9) for i in clean.ids[:20]]
    lance.write_dataset(pa.table({"log": log}), str(clean.root / "pieces/orphan.lance"))
    assert clean.look().traces[Kind.ID] == 20


@pytest.mark.parametrize("kind", [pa.float64(), pa.float16()])
def test_a_vector_in_other_numbers(clean: Any, kind: Any) -> None:
    other = pa.array(clean.content[:4].astype(np.float64).ravel()).cast(kind)
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(other, clean.DIM)})
    lance.write_dataset(table, str(clean.root / "pieces/orphan.lance"))
    assert clean.look().traces[Kind.VECTOR] == 4


@pytest.mark.parametrize("stale", [b"ada-record-0=>erased", b"A" * 20])
def test_stale_bytes_between_the_pages(clean: Any, stale: bytes) -> None:
    path = data_in(clean)
    metadata = lance.file.LanceFileReader(str(path)).metadata()
    buffers = [b for c in metadata.columns for page in c.pages for b in page.buffers]
    ends = sorted(b.position + b.size for b in buffers if b.size)
    gap = next(end for end in ends if -end % 64 >= 20)
    whole = bytearray(path.read_bytes())
    whole[gap : gap + 20] = stale
    path.write_bytes(whole)
    found = clean.look(path)
    assert found.opaque and not found.absent()


def test_a_buffer_that_no_column_names(clean: Any) -> None:
    path = clean.root / "pieces" / "data" / "spare.lance"
    path.parent.mkdir()
    for spare, opaque in ((None, ()), (gzip.compress(b"a text"), ("pieces/data/spare.lance",))):
        table = pa.table({"n": pa.array([1, 2])})
        with lance.file.LanceFileWriter(str(path), table.schema) as writer:
            writer.write_batch(table)
            if spare is not None:
                writer.add_global_buffer(spare)
        assert clean.look().opaque == opaque


def test_lance_is_not_asked_about_a_file_whose_end_is_damaged(
    clean: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take 36 GB for two thousand million columns, and abort the process."""
    path = data_in(clean)
    whole = path.read_bytes()
    asked: list[str] = []
    monkeypatch.setattr(lance.file, "LanceFileReader", asked.append)
    for place in (1, 4, 9, 13, 16, 20, 24, 32, 40, 100):  # from the end: footer, then the tables
        damaged = bytearray(whole)
        damaged[-place] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(StoreCorrupt):
            decode.reader_of(path)
    assert asked == []


def test_more_rows_than_bytes_are_not_decoded(clean: Any) -> None:
    table = pa.table({"nothing": pa.nulls(10**6, pa.int8())})
    lance.write_dataset(table, str(clean.root / "pieces/orphan.lance"))
    assert len(clean.look().opaque) == 1


def test_a_panic_of_lance_makes_the_file_opaque(clean: Any) -> None:
    path = data_in(clean)
    whole = path.read_bytes()
    assert whole.count(b"fixed_size_list:float:32") == 1
    path.write_bytes(whole.replace(b"fixed_size_list:float:32", b"fixed_size_lyst:float:32"))
    assert clean.look(path).opaque and not clean.look(path).absent()


def test_text_that_is_no_utf8_is_opaque(clean: Any) -> None:
    buffers = [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    wrong = pa.table({"id": pa.Array.from_buffers(pa.string(), 1, buffers)})
    lance.write_dataset(wrong, str(clean.root / "pieces/orphan.lance"))
    tail_of(clean).write_bytes(frame_of(wrong.to_batches()[0]))
    assert len(clean.look().opaque) == 2


def test_bytes_before_a_data_files_footer(clean: Any) -> None:
    path = data_in(clean)
    whole = path.read_bytes()
    stale = clean.SUBJECT.encode() + bytes(64)
    path.write_bytes(stale + whole)
    assert not clean.look(path).absent()
    path.write_bytes(whole[:-40] + stale + whole[-40:])
    assert clean.look(path).hits[Kind.SUBJECT] == 1
    first, table, buffers, *rest = struct.unpack("<QQQIIHH4s", whole[-40:])
    moved = struct.pack("<QQQIIHH4s", first, table + 99, buffers + 99, *rest)
    path.write_bytes(whole[:table] + b"hidden".ljust(99) + whole[table:-40] + moved)
    assert clean.look(path).opaque
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


def test_rows_that_lance_keeps_back_are_missed(clean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(reader: Any, **how: Any) -> Any:
        return reader.read_range(0, 1, **how)

    assert clean.look(data_in(clean)).absent()
    monkeypatch.setattr(lance.file.LanceFileReader, "read_all", few)
    assert clean.look(data_in(clean)).opaque


def test_an_index_is_opaque(clean: Any) -> None:
    orphan = lance.write_dataset(pa.table({"t": ["some words"] * 9}), str(clean.root / "o.lance"))
    assert not clean.look().opaque
    orphan.create_scalar_index("t", "INVERTED")
    assert any("_indices" in name for name in clean.look().opaque)


# -- tails


def tail_of(house: Any) -> Path:
    """An empty file where a leaf's tail would be."""
    path: Path = house.root / "tails" / "planted.tail"
    path.write_bytes(b"")
    return path


def frame_of(batch: pa.RecordBatch, spare: bytes = b"") -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload = sink.getvalue().to_pybytes() + spare
    head = struct.pack("<4sQIIQ", b"FNTF", 99, 0, 1, len(payload))
    return head + zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "little") + payload


def test_what_follows_the_last_frame_of_a_tail(clean: Any) -> None:
    clean.store.delete([next(iter(clean.store.scan())).id])
    tail = next(path for path in clean.store.files() if path.suffix == ".tail")
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
    batch = pa.record_batch({"dead": pa.array([1], pa.uint64())})
    for spare in (b"", b"behind the rows"):
        tail_of(clean).write_bytes(frame_of(batch, spare))
        assert bool(clean.look().opaque) is bool(spare)


def test_a_frame_that_was_changed(clean: Any) -> None:
    """Cells that were altered can't be told from a forgotten record's: only the checksum can."""
    batch = pa.record_batch({"text": pa.array(["a text of eighteen"])})
    whole = frame_of(batch)
    for old, new in ((b"eighteen", b"nineteen"), (b"FNTF\x63", b"FNTF\x64")):
        tail_of(clean).write_bytes(whole)
        assert clean.look().absent() and whole.count(old) == 1
        tail_of(clean).write_bytes(whole.replace(old, new))
        assert clean.look().opaque == ("tails/planted.tail",)


def test_a_null_that_hides_its_text(clean: Any) -> None:
    """Arrow may keep bytes under a null: the cell is empty, the raw bytes are not.

    Under 16 bytes they are left to the cells: a symbol table of Lance may hold as much by chance.
    """
    for hidden, hits in ((next(iter(clean.gone.values())).text, 1), (clean.ids[3], 0)):
        plain = pa.py_buffer(hidden.encode())
        offsets = pa.py_buffer(struct.pack("<2i", 0, plain.size))
        null = pa.Array.from_buffers(pa.string(), 1, [pa.py_buffer(b"\0"), offsets, plain])
        assert null.to_pylist() == [None]
        batch = pa.record_batch({"id": pa.array(["x"]), "text": null})
        tail_of(clean).write_bytes(frame_of(batch))
        found = clean.look()
        assert not found.opaque and sum(found.hits.values()) == hits
        assert hidden.encode() in (clean.root / "tails" / "planted.tail").read_bytes()
