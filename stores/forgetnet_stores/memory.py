"""The engine in memory: FAISS flat with an id table; nothing outlives the process.

A removed row is overwritten in memory; no file is ever written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from forgetnet.filters import Filter, compile_filter
from forgetnet.record import Record
from forgetnet.store import Capabilities, Cone, Floats, Purged, Query, StoreConfig
from forgetnet.table import Table, check_batch

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store that lives and dies with its process."""

    capabilities = Capabilities(
        durable=False, physical_purge=True, readers=False, search_paths=("flat",)
    )

    def __init__(self, path: Path, config: StoreConfig) -> None:
        del path
        self._table = Table(config.dim)

    def add(
        self, records: Sequence[Record], content: Floats, place: Floats, *, replace: bool = False
    ) -> None:
        """Store records, all or none."""
        check_batch(records, content, place, self._table.records, replace=replace)
        self._table.remove([record.id for record in records])
        self._table.add(records, content, place)

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return live records by id."""
        return {i: record for i in ids if (record := self._table.records.get(i)) is not None}

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return content and place of live records."""
        return self._table.vectors(ids)

    def scan(self, where: Filter | None = None) -> Iterator[Record]:
        """Iterate over the live records that match."""
        return self._table.scan(where)

    def count(self, where: Filter | None = None) -> int:
        """Count the live records that match."""
        compile_filter(where)
        return len(self._table) if where is None else sum(1 for _ in self._table.scan(where))

    def search(self, query: Query, path: str = "") -> list[tuple[str, float]]:
        """Return the exact k nearest."""
        del path
        return self._table.search(query)

    def cone(self, cone: Cone, path: str = "") -> set[str]:
        """Return the ids in a half-space of places."""
        del path
        return self._table.cone(cone)

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Remove records and overwrite their vectors in memory."""
        return [record.id for record in self._table.remove(dict.fromkeys(ids))]

    def purge(self) -> Purged:
        """Do nothing: ``delete`` left nothing behind."""
        return Purged()

    def digest(self) -> str:
        """Hash the live set."""
        return self._table.digest()

    def state(self) -> str:
        """Hash the live set."""
        return self._table.digest()

    def files(self, ids: Sequence[str] | None = None) -> list[Path]:
        """List no files: there are none."""
        del ids
        return []

    def close(self) -> None:
        """Drop every record."""
        self._table = Table(self._table.flat.dim)
