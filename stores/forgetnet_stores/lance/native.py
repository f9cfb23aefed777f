"""Another way to ask: LanceDB's own search over the files, for those who check answers.

Shares no memory with the serving index: every call opens the pieces and tails anew. LanceDB
proposes in float32, with a margin for its rounding; float64 decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgetnet.errors import Unsupported
from forgetnet.record import Record
from forgetnet.store import PLACE_DIM, Cone, Query
from forgetnet.table import query_vector
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.load import load_tail

__all__ = ["native_cone", "native_search"]

_DISTANCE = "_distance"
# Inner products of vectors up to this norm are off by less than the margin (Higham 2002, eq. 3.5);
# a place of radius 8, the farthest there is, has norm 2,109.
_NORM = 4096.0
_EPS = 2.0**-24

Doubles = npt.NDArray[np.float64]


def _vectors(column: pa.ChunkedArray, dim: int) -> Doubles:
    flat = column.combine_chunks().flatten() if len(column) else pa.array([], pa.float32())
    wide: Doubles = np.asarray(flat, np.float64).reshape(-1, dim)
    return wide


def _tables(root: Path, leaves: Iterable[Leaf]) -> Iterator[tuple[Leaf, Any]]:
    import lancedb  # a second to load, and only those who check answers need it

    database = lancedb.connect(str(root / "pieces"))
    for leaf in leaves:
        yield leaf, database.open_table(leaf.name) if leaf.rows else None


class _Search:
    """One query over the leaves, in two rounds: who may be among the k, then who is."""

    def __init__(self, root: Path, manifest: Manifest, query: Query) -> None:
        self.root = root
        self.dim = manifest.dim
        self.query = query
        self.vector = query_vector(query, manifest.dim)
        self.wide = self.vector.astype(np.float64)
        self.found: list[tuple[float, str]] = []

    def _is_late(self, record: Record) -> bool:
        end, at = record.expires_at, self.query.at
        return at is not None and end is not None and end <= at

    def tail(self, leaf: Leaf) -> set[int]:
        """Score what came since the piece was written; return the keys of dead rows."""
        rows, dead = load_tail(self.root, leaf, self.dim)
        cosines = (rows.content * self.wide).sum(axis=1).tolist()
        pairs = zip(cosines, rows.records, strict=True)
        self.found += [(1.0 - c, r.id) for c, r in pairs if not self._is_late(r)]
        return dead

    def piece(
        self, table: Any, limit: int, dead: set[int], upper: float | None = None
    ) -> tuple[list[tuple[float, str]], float | None]:
        """Ask LanceDB; return exact distances with ids, and how far its list reaches if cut."""
        search = table.search(self.vector, vector_column_name="content")
        search = search.distance_type("dot").select(["key", "id", "content", _DISTANCE])
        if self.query.at is not None:
            moment = self.query.at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
            late = f"expires_at IS NULL OR expires_at > timestamp '{moment}'"
            search = search.where(late, prefilter=True)
        if upper is not None:
            search = search.distance_range(None, upper)
        best = search.limit(limit).to_arrow()
        cosines = (_vectors(best.column("content"), self.dim) * self.wide).sum(axis=1)
        keys, ids = best.column("key").to_pylist(), best.column("id").to_pylist()
        triples = zip(cosines.tolist(), ids, keys, strict=True)
        pairs = [(1.0 - c, i) for c, i, key in triples if key not in dead]
        reach = max(best.column(_DISTANCE).to_pylist()) if len(best) == limit else None
        return pairs, reach


def native_search(root: Path, manifest: Manifest, query: Query) -> list[tuple[str, float]]:
    """Return the k nearest rows that LanceDB and the tails' bytes give, dead ones left out.

    Raises:
        Unsupported: the query has a filter, a cone or a pull, which this path doesn't know.
    """
    if query.where or query.cone or query.near or query.without:
        raise Unsupported(
            "the lancedb path searches by vector alone; leave where, cone, near and without out"
        )
    search = _Search(root, manifest, query)
    if query.k <= 0:
        return []
    margin = 4 * (manifest.dim + 8) * _EPS
    cut = []
    for leaf, table in _tables(root, manifest.leaves.values()):
        dead = search.tail(leaf)
        if table is None:
            continue
        limit = min(leaf.rows, query.k + len(dead))
        pairs, reach = search.piece(table, limit, dead)
        if reach is None or limit == leaf.rows:
            search.found += pairs
        else:
            cut.append((reach, leaf, table, dead, pairs))
    kth = sorted(search.found + [pair for *_, pairs in cut for pair in pairs])[: query.k][-1:]
    for reach, leaf, table, dead, pairs in cut:
        if reach <= kth[0][0] + margin:  # as near as the k-th, or nearer, and not seen yet
            pairs, _ = search.piece(table, leaf.rows, dead, kth[0][0] + margin)
        search.found += pairs
    return [(i, float(distance)) for distance, i in sorted(search.found)[: query.k]]


def native_cone(root: Path, manifest: Manifest, cone: Cone) -> set[str]:
    """Return the ids that one inner-product range query of LanceDB finds, and the apex's own."""
    found: set[str] = set()
    query = cone.query.astype(np.float32)
    margin = 4 * (PLACE_DIM + 8) * _EPS * _NORM * (1.0 + float(np.linalg.norm(cone.query)))
    ranges = [("dot", query, 1.0 - cone.threshold + margin), ("l2", cone.apex, 1e-12)]
    for leaf, table in _tables(root, manifest.leaves.values()):
        rows, dead = load_tail(root, leaf, manifest.dim)
        inside = _inside(rows.place.astype(np.float64), cone)
        found |= {r.id for r, yes in zip(rows.records, inside, strict=True) if yes}
        if table is None:
            continue
        for metric, vector, upper in ranges:
            part = (
                table.search(vector, vector_column_name="place")
                .distance_type(metric)
                .distance_range(None, upper)
                .select(["key", "id", "place", _DISTANCE])
                .limit(leaf.rows)
                .to_arrow()
            )
            inside = _inside(_vectors(part.column("place"), PLACE_DIM), cone)
            ids, keys = part.column("id").to_pylist(), part.column("key").to_pylist()
            triples = zip(ids, keys, inside, strict=True)
            found |= {i for i, key, yes in triples if yes and key not in dead}
    return found


def _inside(places: Doubles, cone: Cone) -> npt.NDArray[np.bool_]:
    inside = (places * cone.query).sum(axis=1) > cone.threshold
    found: npt.NDArray[np.bool_] = inside | (places == cone.apex).all(axis=1)
    return found
