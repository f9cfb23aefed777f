"""The contract of a store of records, and the door through which engines come.

A store keeps records with their two embeddings (``content``: unit vector of the encoder;
``place``: 17 coordinates of the topic) and answers from exactly the live ones. It doesn't encode,
doesn't know what a topic means, and signs nothing. Engines register under the entry-point group
``forgetnet.stores`` and open by URL; one contract suite runs over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from forgetnet.errors import StoreError, Unsupported
from forgetnet.filters import Filter
from forgetnet.record import Record

__all__ = [
    "PLACE_DIM",
    "Capabilities",
    "Cone",
    "Floats",
    "Near",
    "Purged",
    "Query",
    "Store",
    "StoreConfig",
    "TextQuery",
    "engine_of",
    "open_store",
    "split_url",
]

PLACE_DIM = 17
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do.

    Attributes:
        durable: an acknowledged write survives the end of the process and of the machine's power.
        physical_purge: ``purge`` leaves no byte of a deleted row in the store's files.
        readers: other processes may read while one writes.
        search_paths: names of the independent ways in which ``search`` and ``cone`` can answer;
            the first is the one that serves.
    """

    durable: bool
    physical_purge: bool
    readers: bool
    search_paths: tuple[str, ...]

    def pick(self, path: str) -> str:
        """Return the search path asked for; the one that serves for an empty name.

        Raises:
            Unsupported: the engine has no such path.
        """
        if path and path not in self.search_paths:
            raise Unsupported(
                f"no search path is called {path[:80]!r}; there are {', '.join(self.search_paths)}"
            )
        return path or self.search_paths[0]


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What an engine needs to know before it opens.

    Attributes:
        dim: length of a content vector.
        salt: secret bytes that key the shard map.
        cap: most records of several subjects in one leaf.
        readonly: open for reading beside a writer.
        sealed: encrypt what a new store's rows say, with a key for each subject; an old one is as
            it was made.
        filed: read content vectors from the store's files instead of keeping them in memory, for
            a writer whose rows aren't sealed.
    """

    dim: int
    salt: bytes
    cap: int = 4096
    readonly: bool = False
    sealed: bool = False
    filed: bool = False


@dataclass(frozen=True, slots=True)
class Cone:
    """A half-space of places: those with ``<query, place> > threshold``, and ``apex`` itself."""

    query: npt.NDArray[np.float64]
    threshold: float
    apex: Floats


@dataclass(frozen=True, slots=True)
class Near:
    """A pull towards a place, as a product metric of meaning and topic.

    A hit's distance is ``sqrt(|q - x|^2 + (weight * distance(place))^2)``.

    Attributes:
        distance: maps (n, 17) places to (n,) float64 distances from the point.
        weight: how much the place counts; 0 leaves the ranking by meaning alone.
    """

    distance: Callable[[Floats], npt.NDArray[np.float64]]
    weight: float


@dataclass(frozen=True, slots=True)
class Query:
    """One search.

    Attributes:
        vector: (d,) float32 unit vector.
        k: how many hits at most.
        where: filter that a hit must match.
        cone: half-space that a hit's place must lie in.
        near: place towards which hits are pulled.
        at: records expired by then are left out.
        without: ids that are left out, whatever else holds.
        recall_target: share of the exact hits to find on average, where an engine doesn't look at
            every record; 1.0 for all of them, None for what the engine takes to be enough.
    """

    vector: Floats
    k: int = 10
    where: Filter | None = None
    cone: Cone | None = None
    near: Near | None = None
    at: datetime | None = None
    without: frozenset[str] = frozenset()
    recall_target: float | None = None


@dataclass(frozen=True, slots=True)
class TextQuery:
    """One search by words.

    Attributes:
        text: the words, nothing of which is syntax.
        without: ids that are left out of answers and scores, as if they weren't stored.
        k, where, cone, at: as in :class:`Query`.
    """

    text: str
    k: int = 10
    where: Filter | None = None
    cone: Cone | None = None
    at: datetime | None = None
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge rewrote: pieces written anew, files shredded, bytes written."""

    pieces: int = 0
    shredded: int = 0
    bytes_written: int = 0


class Store(Protocol):
    """A set of records; every verb is atomic, and durable where the engine says so."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        ...

    def add(
        self,
        records: Sequence[Record],
        content: Floats,
        place: Floats,
        *,
        replace: bool = False,
    ) -> None:
        """Store normalised records, all or none.

        Args:
            records: n records with distinct ids.
            content: (n, d) unit vectors.
            place: (n, 17) topic codes.
            replace: take the place of live records with the same ids, in the same commit.

        Raises:
            InvalidRecord: an id is live already (without ``replace``) or comes twice.
            StoreError: nothing was stored.
        """
        ...

    def still(self) -> AbstractContextManager[None]:
        """Answer from one state until the end of the block, whatever another process writes.

        Inside, only the search path that serves is asked: files of that state may be gone.
        """
        ...

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return the live records of ``ids``, by id; the others are left out."""
        ...

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return (n, d) content and (n, 17) place of live records, in the order asked."""
        ...

    def scan(self, where: Filter | None = None) -> Iterator[Record]:
        """Iterate over the live records that match, in no promised order."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """Count the live records that match."""
        ...

    def search(self, query: Query, path: str = "") -> list[tuple[str, float]]:
        """Return the k nearest live records: id and distance, nearest first, ties by id.

        Distances are exact in float64, and the answer is a function of the live set: it doesn't
        depend on where rows lie, nor on what was there before. An engine may look at a part of
        many records only, and then miss some of the k nearest; ``recall_target=1.0`` forbids it.
        ``path`` picks one of ``capabilities.search_paths``; other paths than the first serve
        verification.
        """
        ...

    def words(self, query: TextQuery) -> list[tuple[str, float]]:
        """Return the k live records that say the words of a text best: id and BM25, ties by id.

        Scores depend on the live set alone. What is indexed for this is in memory, from the first
        such search on, and in no file.

        Raises:
            StoreError: the words can't be indexed.
            Unsupported: this Python has no SQLite with FTS5.
        """
        ...

    @property
    def worded(self) -> bool:
        """Whether there has been a search by words, so that this process holds an index of them."""
        ...

    def cone(self, cone: Cone, path: str = "") -> set[str]:
        """Return the ids of live records whose place lies in the half-space."""
        ...

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Make records unreachable, at once and durably; return the ids that were live."""
        ...

    def purge(self) -> Purged:
        """Remove the bytes of everything deleted or replaced from the live files."""
        ...

    def reserve(self, ids: Sequence[str], size: int) -> None:
        """Set room on the disk aside in which erasing these records can be finished.

        That is what the largest part takes that a purge without them writes anew, and ``size``
        bytes for the caller. An engine without files does nothing.

        Raises:
            StoreError: there is no such room.
        """
        ...

    def spare(self) -> bool:
        """Give the room that was set aside to whoever needs it; tell whether there was any."""
        ...

    def digest(self) -> str:
        """Hash the live set in canonical order: equal for equal sets, whatever their history."""
        ...

    def state(self) -> str:
        """Hash what names the present state, rows unread; may differ for equal sets."""
        ...

    def files(self, ids: Sequence[str] | None = None) -> list[Path]:
        """List the files whose rows include any of ``ids`` or rows not yet purged; None: all."""
        ...

    def close(self) -> None:
        """Let go of files and locks."""
        ...


def split_url(url: str) -> tuple[str, str]:
    """Split ``lance://./kb`` into engine and path; a plain path means the lance engine."""
    engine, separator, rest = url.partition("://")
    if not separator:
        return "lance", url
    return engine, rest


def open_store(url: str, config: StoreConfig) -> Store:
    """Open the store at a URL such as ``lance://./kb`` or ``memory://``.

    Raises:
        Unsupported: no installed package offers the engine.
        StoreError: the engine can't open the path.
    """
    engine, path = split_url(url)
    point = engine_of(engine)
    if engine != "memory" and not path:
        raise StoreError(f"the URL names no path; write {engine}://PATH")
    opened: Store = point.load()(Path(path), config)
    return opened


def engine_of(name: str) -> EntryPoint:
    """Find the entry point of an engine.

    Raises:
        Unsupported: no installed package offers it.
    """
    found = {point.name: point for point in entry_points(group="forgetnet.stores")}
    if name not in found:
        raise Unsupported(
            f"no engine is called {name[:80]!r}; installed are {', '.join(sorted(found))}"
        )
    return found[name]
