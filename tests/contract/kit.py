"""What the contract suite is made of: engines to try, records to try them with, and a reference.

An engine of another package is tried by adding it to ``engines`` before the suite is collected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from forgetnet.filters import compile_filter
from forgetnet.record import Record, normalise
from forgetnet.store import PLACE_DIM, Cone, Floats, Query, Store, StoreConfig
from forgetnet_stores.lance import LanceStore
from forgetnet_stores.memory import MemoryStore

DIM = 8
SALT = b"the salt of the contract"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
HOSTILE = {
    "quote": 'it\'s "quoted" and `ticked`',
    "nul": "before\0after",
    "newline": "one\ntwo\r\nthree",
    "sql": "x' OR 1=1 --",
    "percent": "100%_of {it} $eq ../..",
    "emoji": "👩🏽‍🚀🏳️‍🌈",
    "rtl": "\u202eشُكرًا\u202c עברית",
    "combining": "e\u0301 and é",
    "magic": "FNTF" * 20,
    "long": "long " * 2_000,
}


@dataclass(frozen=True)
class Engine:
    """One engine under the contract.

    Attributes:
        name: shown in the names of the tests.
        open: opens the store at a path.
        decode: returns every row in the files below a folder, live or dead, by its own means;
            None for an engine without files.
    """

    name: str
    open: Callable[[Path, StoreConfig], Store]
    decode: Callable[[Path], list[dict[str, Any]]] | None = None


def config(cap: int = 16, dim: int = DIM, *, readonly: bool = False) -> StoreConfig:
    return StoreConfig(dim, SALT, cap, readonly)


def record(id: str, text: str | None = None, **fields: Any) -> Record:
    said = f"text of {id}" if text is None else text
    return normalise(Record(text=said, id=id, **fields), NOW)


def unit(values: Any) -> Floats:
    wide = np.asarray(values, np.float64)
    found: Floats = (wide / np.linalg.norm(wide, axis=-1, keepdims=True)).astype(np.float32)
    return found


def vectors(n: int, seed: int = 0, dim: int = DIM) -> Floats:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)))


def places(n: int, seed: int = 0) -> Floats:
    drawn = np.random.default_rng(seed).standard_normal((n, PLACE_DIM)) * 3
    found: Floats = drawn.astype(np.float32)
    return found


def fill(store: Store, records: Sequence[Record], seed: int = 0, **options: Any) -> Floats:
    """Add records with vectors drawn from a seed; return the vectors."""
    content = vectors(len(records), seed, DIM)
    store.add(records, content, places(len(records), seed), **options)
    return content


@dataclass
class Reference:
    """A store in plain Python: the live set, and answers by the definition."""

    rows: dict[str, tuple[Record, Floats, Floats]]

    @staticmethod
    def of(records: Sequence[Record], content: Floats, place: Floats) -> Reference:
        return Reference({r.id: (r, content[i], place[i]) for i, r in enumerate(records)})

    def search(self, query: Query) -> list[tuple[str, float]]:
        matches = compile_filter(query.where)
        found = []
        for id, (record, content, place) in self.rows.items():
            late = query.at is not None and record.expires_at and record.expires_at <= query.at
            if late or not matches(record):
                continue
            if query.cone is not None and not inside(query.cone, place):
                continue
            products = content.astype(np.float64) * query.vector.astype(np.float64)
            cosine = float(products.sum())
            distance = 1.0 - cosine
            if query.near is not None:
                pull = float(query.near.weight * query.near.distance(place[None])[0]) ** 2
                distance = math.sqrt(max(0.0, 2.0 - 2.0 * cosine) + pull)
            found.append((distance, id))
        return [(id, distance) for distance, id in sorted(found)[: query.k]]

    def cone(self, cone: Cone) -> set[str]:
        return {id for id, (_, _, place) in self.rows.items() if inside(cone, place)}


def inside(cone: Cone, place: Floats) -> bool:
    product = float((place.astype(np.float64) * cone.query).sum())
    return product > cone.threshold or bool((place == cone.apex).all())


def some_cone(seed: int, place: Floats, threshold: float = 0.0) -> Cone:
    """Draw a half-space, with one of the places as its apex."""
    rng = np.random.default_rng(seed)
    return Cone(rng.standard_normal(PLACE_DIM), threshold, place[rng.integers(len(place))])


def rows_on_disk(folder: Path) -> list[dict[str, Any]]:
    """Decode every row of every Lance table and Arrow stream below a folder, dead ones too."""
    found: list[dict[str, Any]] = []
    for versions in sorted(folder.rglob("_versions")):
        data = lance.dataset(str(versions.parent))
        found += data.to_table().to_pylist()
    for path in sorted(folder.rglob("*.tail")):
        data = path.read_bytes()
        start = 0
        while start < len(data):
            assert data[start : start + 4] == b"FNTF"
            size = int.from_bytes(data[start + 20 : start + 28], "little")
            stream = pa.ipc.open_stream(data[start + 32 : start + 32 + size])
            found += stream.read_all().to_pylist()
            start += 32 + size
    return found


def bytes_below(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def named_by_manifest(folder: Path) -> set[str]:
    """Return the files and folders that a store's folder may hold, by its manifest."""
    leaves = json.loads((folder / "manifest.json").read_bytes())["leaves"].values()
    names = {"manifest.json", "lock", "pulse", "pieces", "tails", "reserve", "keys"}
    for leaf in leaves:
        names |= {f"pieces/{leaf['name']}.lance", f"tails/{leaf['name']}.tail"}
    return names


def strays(folder: Path) -> set[str]:
    """Return what lies in a store's folder and is not named by its manifest."""
    found = {p.name for p in folder.iterdir()}
    found |= {
        f"{p.parent.name}/{p.name}" for d in ("pieces", "tails") for p in folder.glob(d + "/*")
    }
    return found - named_by_manifest(folder)


def sealed(path: Path, given: StoreConfig) -> Store:
    return LanceStore(path, replace(given, sealed=True))


def filed(path: Path, given: StoreConfig) -> Store:
    """Open with vectors read from files; a reader keeps them in memory."""
    return LanceStore(path, replace(given, filed=not given.readonly))


def sealed_on_disk(folder: Path) -> list[dict[str, Any]]:
    """Decode every row below a folder and open what is sealed; without its key it stays so."""
    keys = {}
    data = (folder / "keys").read_bytes()
    for start in range(0, len(data), 64):
        keys[data[start : start + 16]] = data[start + 16 : start + 48]
    found = rows_on_disk(folder)
    for row in found:
        if (told := row.get("sealed")) is None or told[:16] not in keys:
            continue
        opened = AESGCM(keys[told[:16]]).decrypt(told[16:28], told[28:], row["id"].encode())
        size = int.from_bytes(opened[:4], "little")
        row["text"], row["metadata"] = json.loads(opened[4 : 4 + size])
        row["content"] = np.frombuffer(opened[4 + size :], np.float32).tolist()
    return found


engines = [
    Engine("memory", MemoryStore),
    Engine("lance", LanceStore, rows_on_disk),
    Engine("sealed", sealed, sealed_on_disk),
    Engine("filed", filed, rows_on_disk),
]
