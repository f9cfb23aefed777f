"""The engine in memory: FAISS flat with an id table; nothing outlives the process.

A removed row is overwritten in memory; no file is ever written.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from forgetnet.errors import StoreError, Unsupported
from forgetnet.filters import Filter
from forgetnet.record import Record
from forgetnet.store import Capabilities, Cone, Floats, Purged, Query, StoreConfig, TextQuery
from forgetnet.table import Table, check_batch

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store that lives and dies with its process."""

    capabilities = Capabilities(
        durable=False, physical_purge=True, readers=False, search_paths=("flat",)
    )

    def __init__(self, path: Path, config: StoreConfig) -> None:
        del path
        if config.filed:
            raise Unsupported("memory:// has no files that vectors could be read from")
        self._table: Table | None = Table(config.dim, config.salt)
        self._state = secrets.token_hex(32)

    def _live(self) -> Table:
        if self._table is None:
            raise StoreError("the store in memory was closed; its records are gone")
        return self._table

    def add(
        self, records: Sequence[Record], content: Floats, place: Floats, *, replace: bool = False
    ) -> None:
        """Store records, all or none."""
        table = self._live()
        content, place = np.asarray(content, np.float32), np.asarray(place, np.float32)
        dim = table.flat.dim
        check_batch(records, content, place, table.records, dim=dim, replace=replace)
        table.remove([record.id for record in records])
        table.add(records, content, place)
        if records:
            self._state = secrets.token_hex(32)

    def still(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: there is no other process that could change it."""
        self._live()
        return contextlib.nullcontext()

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return live records by id."""
        records = self._live().records
        return {i: record for i in ids if (record := records.get(i)) is not None}

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return content and place of live records."""
        return self._live().vectors(ids)

    def scan(self, where: Filter | None = None) -> Iterator[Record]:
        """Iterate over the live records that match."""
        return self._live().scan(where)

    def count(self, where: Filter | None = None) -> int:
        """Count the live records that match."""
        return self._live().count(where)

    def search(self, query: Query, path: str = "") -> list[tuple[str, float]]:
        """Return the exact k nearest."""
        self.capabilities.pick(path)
        return self._live().search(query)

    def words(self, query: TextQuery) -> list[tuple[str, float]]:
        """Return the k best by BM25."""
        return self._live().words(query)

    @property
    def worded(self) -> bool:
        """Whether an index of words stands."""
        return self._live().worded

    def cone(self, cone: Cone, path: str = "") -> set[str]:
        """Return the ids in a half-space of places."""
        self.capabilities.pick(path)
        return self._live().cone(cone)

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Remove records and overwrite their vectors in memory."""
        gone = [record.id for record in self._live().remove(dict.fromkeys(ids))]
        if gone:
            self._state = secrets.token_hex(32)
        return gone

    def purge(self) -> Purged:
        """Overwrite removed words: ``delete`` left nothing else behind."""
        self._live().purge()
        return Purged()

    def reserve(self, ids: Sequence[str], size: int) -> None:
        """Do nothing: no disk can run full."""

    def spare(self) -> bool:
        """Say that nothing was set aside."""
        return False

    def digest(self) -> str:
        """Hash the live set."""
        return self._live().digest()

    def state(self) -> str:
        """Return a name for the present state, drawn when it came about."""
        self._live()
        return self._state

    def files(self, ids: Sequence[str] | None = None) -> list[Path]:
        """List no files: there are none."""
        del ids
        self._live()
        return []

    def close(self) -> None:
        """Drop every record."""
        self._table = None
