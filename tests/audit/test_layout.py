"""The folder is what docs/format.md says, or the reasons name what it is instead."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from forgetnet.audit.layout import check_layout, leaf_names
from forgetnet.errors import StoreCorrupt
from forgetnet.record import Record


def piece_in(house: Any) -> Path:
    return min((house.root / "pieces").iterdir())


def manifest_of(house: Any) -> Any:
    return json.loads((house.root / "manifest.json").read_bytes())


def write_manifest(house: Any, told: Any) -> None:
    if isinstance(told, dict):
        told = {name: value for name, value in told.items() if name != "check"}
        plain = json.dumps(told, sort_keys=True, separators=(",", ":"))
        told["check"] = hashlib.sha256(plain.encode()).hexdigest()
    (house.root / "manifest.json").write_text(json.dumps(told))


def test_a_memory_in_use_is_as_the_format_says(house: Any) -> None:
    assert check_layout(house.root) == []
    house.store.delete(house.ids)
    assert check_layout(house.root) == []
    before = leaf_names(house.root)
    house.store.purge()
    assert check_layout(house.root) == []
    assert leaf_names(house.root) - before and before - leaf_names(house.root)
    assert all((house.root / f"pieces/{n}.lance").exists() for n in leaf_names(house.root) - before)


def test_a_memory_of_two_floors(clean: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "journal").mkdir(parents=True)
    shutil.copytree(clean.root, home / "store")
    (home / "forgetnet.json").write_text("{}")
    assert check_layout(home) == []
    (home / "journal" / "one.json").write_text("{}")
    assert check_layout(home) == ["journal/one.json: a forget is under way"]
    assert check_layout(home, under_way=True) == []
    (home / ".ledger.jsonl.0011.tmp").write_text("")
    assert any(".ledger" in reason for reason in check_layout(home, under_way=True))


def strays(house: Any) -> dict[str, Any]:
    """Ways in which something lies about, or isn't what the manifest says."""
    piece = piece_in(house)
    data = next((piece / "data").iterdir())
    return {
        "pieces/orphan.lance": lambda: shutil.copytree(piece, piece.with_name("orphan.lance")),
        "tails/orphan.tail": lambda: (house.root / "tails/orphan.tail").write_bytes(b""),
        ".manifest.json.00.tmp": lambda: (house.root / ".manifest.json.00.tmp").write_bytes(b""),
        "history.db": lambda: (house.root / "history.db").write_bytes(b""),
        "versions": lambda: lance.write_dataset(
            lance.dataset(str(piece)).to_table(), str(piece), mode="append"
        ),
        "_deletions": lambda: lance.dataset(str(piece)).delete("key % 2 = 0"),
        "_indices": lambda: lance.dataset(str(piece)).create_scalar_index("id", "BTREE"),
        "digest": lambda: flip(data, data.stat().st_size // 2),
        "size": lambda: data.write_bytes(data.read_bytes()[:-1]),
        "data/copy.lance": lambda: shutil.copy(data, data.with_name("copy.lance")),
        "missing": lambda: shutil.rmtree(piece),
        "not a part": lambda: (piece / "data" / "link.lance").symlink_to(data),
    }


def flip(path: Path, place: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)


NAMES = [
    "pieces/orphan.lance", "tails/orphan.tail", ".manifest.json.00.tmp", "history.db", "versions",
    "_deletions", "_indices", "digest", "size", "data/copy.lance", "missing", "not a part",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_about_is_named(clean: Any, name: str) -> None:
    assert check_layout(clean.root) == []
    assert set(strays(clean)) == set(NAMES)
    strays(clean)[name]()
    assert any(name in reason for reason in check_layout(clean.root))
    others = leaf_names(clean.root) - {piece_in(clean).stem}
    if name not in {"digest", "data/copy.lance"}:  # these need the bytes
        assert any(name in reason for reason in check_layout(clean.root, pieces=others))


def test_a_manifest_that_tells_other_rows(clean: Any) -> None:
    told = manifest_of(clean)
    told["leaves"][min(told["leaves"])]["rows"] += 1
    write_manifest(clean, told)
    assert any("the manifest says" in reason for reason in check_layout(clean.root))


def test_a_manifest_of_another_shape(clean: Any) -> None:
    good = manifest_of(clean)
    bits = min(good["leaves"])
    leaf = good["leaves"][bits]
    worse = [
        {},
        [],
        {**good, "format": 2},
        {**good, "dim": "8"},
        {**good, "more": 1},
        {**good, "leaves": {"2": leaf}},
        {**good, "leaves": {bits: {**leaf, "name": "../x"}}},
        {**good, "leaves": {bits: {**leaf, "rows": -1}}},
        {**good, "leaves": {bits: {**leaf, "digest": "x"}}},
        {**good, "leaves": {bits: {}}},
    ]
    for told in worse:
        write_manifest(clean, told)
        assert check_layout(clean.root) != []
        with pytest.raises(StoreCorrupt):
            leaf_names(clean.root)
    write_manifest(clean, {**good, "dim": 31})
    assert any("columns" in reason for reason in check_layout(clean.root))
    below = {**good["leaves"], bits + "0": {**leaf, "rows": 0, "name": "other"}}
    write_manifest(clean, {**good, "leaves": below})
    assert any("below another" in reason for reason in check_layout(clean.root))
    twice = {**below, bits + "0": {**leaf, "rows": 0}}
    write_manifest(clean, {**good, "leaves": twice})
    assert any("two leaves" in reason for reason in check_layout(clean.root))
    (clean.root / "manifest.json").write_text(json.dumps({**good, "cap": good["cap"] + 1}))
    assert check_layout(clean.root) == ["manifest.json does not fit its own checksum"]
    (clean.root / "manifest.json").unlink()
    assert check_layout(clean.root) != []


def test_tails_are_whole(clean: Any) -> None:
    ids = [record.id for record in clean.store.scan()]
    clean.store.delete(ids[::7])
    clean.add([Record("a late note", subject=f"other {i}") for i in range(9)], seed=4)
    assert check_layout(clean.root) == []
    tails = [path for path in clean.store.files() if path.suffix == ".tail"]
    assert len(tails) > 1
    whole = tails[0].read_bytes()
    for told in (whole[:-1], whole + b"more", whole[:33] + b"\1" + whole[34:]):
        tails[0].write_bytes(told)
        assert any("can't be decoded" in reason for reason in check_layout(clean.root))
    tails[0].write_bytes(b"")
    assert any("parts of it are missing" in reason for reason in check_layout(clean.root))
    told = manifest_of(clean)
    leaf = next(x for x in told["leaves"].values() if x["name"] == tails[0].stem)
    leaf["tail"] = 10
    write_manifest(clean, told)
    assert any("shorter" in reason for reason in check_layout(clean.root))


def test_a_frame_of_other_columns(clean: Any) -> None:
    clean.store.delete([next(iter(clean.store.scan())).id])
    tail = next(path for path in clean.store.files() if path.suffix == ".tail")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("note", pa.string())])):
        pass
    payload = sink.getvalue().to_pybytes()
    head = struct.pack("<4sQIIQ", b"FNTF", 1, 0, 1, len(payload))
    crc = zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "little")
    tail.write_bytes(tail.read_bytes() + head + crc + payload)
    assert any("other columns" in reason for reason in check_layout(clean.root))
