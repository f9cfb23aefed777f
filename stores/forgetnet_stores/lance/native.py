"""The other way to ask: LanceDB's own search over the files, for those who check answers.

Shares no memory with the serving index: every call opens the pieces and tails anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgetnet.errors import Unsupported
from forgetnet.store import Cone, Query
from forgetnet_stores.lance.catalogue import Leaf
from forgetnet_stores.lance.load import load_tail

__all__ = ["native_cone", "native_search"]

_COLUMNS = ["key", "id", "content"]


def _vectors(column: pa.ChunkedArray, dim: int) -> npt.NDArray[np.float64]:
    flat = column.combine_chunks().flatten() if len(column) else pa.array([], pa.float32())
    wide: npt.NDArray[np.float64] = np.asarray(flat, np.float64).reshape(-1, dim)
    return wide


def _tables(root: Path, leaves: Iterable[Leaf]) -> Iterator[tuple[Leaf, lancedb.table.Table | None]]:
    database = lancedb.connect(str(root / "pieces"))
    for leaf in leaves:
        yield leaf, database.open_table(leaf.name) if leaf.rows else None


def native_search(root: Path, leaves: Iterable[Leaf], query: Query) -> list[tuple[str, float]]:
    """Return the k nearest rows that LanceDB and the tails' bytes give, dead ones left out.

    Raises:
        Unsupported: the query has a filter, a cone or a pull, which this path doesn't know.
    """
    if query.where is not None or query.cone is not None or query.near is not None:
        raise Unsupported("the lancedb path searches by vector alone; leave where, cone, near out")
    dim = len(query.vector)
    exact = query.vector.astype(np.float64)
    found: list[tuple[float, str]] = []
    for leaf, table in _tables(root, leaves):
        rows, dead = load_tail(root, leaf, dim)
        cosines = (rows.content.astype(np.float64) * exact).sum(axis=1)
        found += [(1.0 - c, r.id) for c, r in zip(cosines.tolist(), rows.records, strict=True)]
        if table is None:
            continue
        best = (
            table.search(query.vector, vector_column_name="content")
            .distance_type("dot")
            .select(_COLUMNS)
            .limit(query.k + len(dead))
            .to_arrow()
        )
        cosines = (_vectors(best.column("content"), dim) * exact).sum(axis=1)
        keys, ids = best.column("key").to_pylist(), best.column("id").to_pylist()
        found += [
            (1.0 - c, i) for c, i, key in zip(cosines, ids, keys, strict=True) if key not in dead
        ]
    return [(i, float(distance)) for distance, i in sorted(found)[: query.k]]


def native_cone(root: Path, leaves: Iterable[Leaf], cone: Cone, dim: int) -> set[str]:
    """Return the ids that one inner-product range query of LanceDB finds, and the apex's own."""
    found: set[str] = set()
    query = cone.query.astype(np.float32)
    for leaf, table in _tables(root, leaves):
        rows, dead = load_tail(root, leaf, dim)
        products = (rows.place.astype(np.float64) * cone.query).sum(axis=1)
        inside = (products > cone.threshold) | (rows.place == cone.apex).all(axis=1)
        found |= {r.id for r, yes in zip(rows.records, inside, strict=True) if yes}
        if table is None:
            continue
        below = 1.0 - cone.threshold
        ranges = [("dot", query, below), ("l2", cone.apex, 1e-12)]
        for metric, vector, upper in ranges:
            part = (
                table.search(vector, vector_column_name="place")
                .distance_type(metric)
                .distance_range(None, upper)
                .select(["key", "id"])
                .limit(leaf.rows)
                .to_arrow()
            )
            pairs = zip(part["id"].to_pylist(), part["key"].to_pylist(), strict=True)
            found |= {i for i, key in pairs if key not in dead}
    return found
