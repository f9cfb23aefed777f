"""Sealed rows, opened again for a look: by ``docs/format.md``, sharing no code with the engine.

A row whose key is gone is left as it is: its id, subject and topic are still read. Knows nothing of
what is looked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from forgetnet.errors import StoreCorrupt

__all__ = ["keys_of", "opened", "slots"]

_SLOT, _NAME, _END, _BODY = 64, 16, 48, 28


def slots(data: bytes) -> Iterator[bytes]:
    """Iterate over the slots of a file of keys that are in use.

    Raises:
        StoreCorrupt: it is none.
    """
    if len(data) % _SLOT:
        raise StoreCorrupt("the file of keys does not consist of slots")
    for start in range(0, len(data), _SLOT):
        slot = data[start : start + _SLOT]
        if not any(slot):
            continue
        if hashlib.sha256(slot[:_END]).digest()[: _SLOT - _END] != slot[_END:]:
            raise StoreCorrupt("a slot in the file of keys holds something else than a key")
        yield slot


def keys_of(store: Path) -> dict[bytes, AESGCM]:
    """Return the keys of a store by their names; none where it seals nothing.

    Raises:
        StoreCorrupt: its file of keys is none.
    """
    path = store / "keys"
    data = path.read_bytes() if path.exists() else b""
    return {slot[:_NAME]: AESGCM(slot[_NAME:_END]) for slot in slots(data)}


def opened(batches: Iterator[Any], store: Path) -> Iterator[Any]:
    """Open the sealed rows among the parts of a file.

    Raises:
        StoreCorrupt: what a key opens is no row.
    """
    keys: dict[bytes, AESGCM] | None = None
    for part in batches:
        if not isinstance(part, pa.RecordBatch) or "sealed" not in part.schema.names:
            yield part
            continue
        keys = keys_of(store) if keys is None else keys
        yield _batch(part, keys)


def _batch(batch: pa.RecordBatch, keys: Mapping[bytes, AESGCM]) -> pa.RecordBatch:
    texts: list[str | None] = []
    metadata: list[str | None] = []
    vectors: list[list[float] | None] = []
    columns = (batch.column(name).to_pylist() for name in ("id", "sealed"))
    for record_id, data in zip(*columns, strict=True):
        key = keys.get(data[:_NAME])
        row = (None, None, None) if key is None else _row(key, record_id, data)
        texts.append(row[0])
        metadata.append(row[1])
        vectors.append(row[2])
    width = next((len(vector) for vector in vectors if vector is not None), 1)
    found = [
        (pa.field("text", pa.string()), pa.array(texts, pa.string())),
        (pa.field("metadata", pa.string()), pa.array(metadata, pa.string())),
        (
            pa.field("content", pa.list_(pa.float32(), width)),
            pa.array(vectors, pa.list_(pa.float32(), width)),
        ),
    ]
    for field, column in found:
        batch = batch.append_column(field, column)
    return batch


def _row(key: AESGCM, record_id: str, data: bytes) -> tuple[str | None, str | None, list[float]]:
    bound = record_id.encode("utf-8", "surrogatepass")
    try:
        plain = key.decrypt(data[_NAME:_BODY], data[_BODY:], bound)
        end = 4 + int.from_bytes(plain[:4], "little")
        text, metadata = json.loads(plain[4:end])
        return text, metadata, np.frombuffer(plain[end:], "<f4").tolist()
    except (InvalidTag, ValueError, TypeError):
        raise StoreCorrupt("a sealed row is not what its key sealed") from None
