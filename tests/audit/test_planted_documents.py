"""Canaries planted in documents and in files of no format: found or opaque; never clean."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from forgetnet.audit import decode
from forgetnet.audit.residue import Kind
from forgetnet.errors import StoreCorrupt
from forgetnet.record import Record


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
        "q.json": json.dumps([base64.b64encode(text.encode("utf-16-le")).decode()]),
    }


def test_a_document_that_tells(clean: Any) -> None:
    for name, told in spoken(clean).items():
        path = clean.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(told if isinstance(told, bytes) else told.encode())
        for raw in (True, False):
            found = clean.look(raw=raw)
            within = name in {"b.json", "g.json", "h.json", "m.json", "q.json"}
            assert any(found.hits.values()) or (within and not raw), name
            assert not found.opaque and (within or not found.absent()), name
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
    (clean.root / "b.json").symlink_to(clean.root / "manifest.json")
    os.mkfifo(clean.root / "pipe.json")
    assert set(clean.look().opaque) == {"link", "b.json", "pipe.json"}


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
    path = next(clean.root.rglob("_versions/*.manifest"))
    whole = path.read_bytes()
    spare = b"spare bytes"
    message = b"\x0a\x09" + b"not there"
    section = len(message).to_bytes(4, "little") + message
    behind = whole[:-16] + section + whole[-16:]
    between = whole[:-16] + spare + whole[-16:]
    for told in (behind, spare + whole, whole + spare, between, whole[:-3]):
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
