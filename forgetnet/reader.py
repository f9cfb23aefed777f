"""The half of a memory that answers: search, get, count, figures.

Changes nothing. Every verb takes the memory's lock, so that threads may share one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np

from forgetnet.encode import Encoder, check_vectors
from forgetnet.errors import InvalidRecord, InvalidScope, StoreError, Unsupported
from forgetnet.filters import Filter, unexpired
from forgetnet.forget.keys import derive_salt
from forgetnet.forget.leftovers import Leftovers, look_for
from forgetnet.given import check_switches, clock_of, names_of, number_of, text_of, whole_of
from forgetnet.heads.relate import Relates
from forgetnet.ledger import Ledger
from forgetnet.opening import Parts
from forgetnet.record import Hit, Record, Stats
from forgetnet.retrieve import cone_of, find, narrow, near_of, with_vector
from forgetnet.store import Floats, Query, TextQuery

__all__ = ["Mode", "Reader", "now"]

Mode = Literal["vector", "text", "hybrid"]
"""By what a search finds: meaning, words, or both."""

_TRIES = 100
_RECALL = "recall_target"


def now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)


def _check_mode(mode: str, query: object, near: str | None) -> None:
    if text_of(mode, "mode", InvalidScope) not in get_args(Mode):
        raise InvalidScope(f"mode= is one of {', '.join(get_args(Mode))}, not {str(mode)[:80]!r}")
    if mode != "vector" and not isinstance(query, str):
        raise InvalidRecord(
            f'mode="{mode}" takes a text, whose words are looked for, not {type(query).__name__}; '
            'give a vector with mode="vector"'
        )
    if mode == "text" and near is not None:
        raise InvalidScope(
            'near= pulls by distance, which mode="text" has none of; use mode="hybrid", or under='
        )


def _is_here(record: Record, moment: datetime) -> bool:
    return record.expires_at is None or record.expires_at > moment


def _tally(values: Iterable[str | None]) -> dict[str, int]:
    """Count each name, in order; None is no name."""
    return dict(sorted(Counter(name for name in values if name is not None).items()))


class Reader(Relates):
    """A memory's answers; :class:`forgetnet.Memory` adds the verbs that change it."""

    def __init__(self, parts: Parts, clock: Callable[[], datetime]) -> None:
        home = parts.home
        self._store = parts.store
        self._encoder = parts.encoder
        self._clock = clock_of(clock)
        self._lock = parts.lock
        self._marks = parts.marks
        self._salt = derive_salt(home.secret)
        self._home = home
        self._ledger = Ledger(home.path("ledger.jsonl"), read_only=home.readonly)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store and let go of its lock."""
        with self._lock:
            self._store.close()

    @property
    def encoder(self) -> Encoder:
        """The encoder that this memory was opened with."""
        return self._encoder

    def get(self, id: str, *, vector: bool = False) -> Record | None:
        """Return a stored record, with its embedding if asked; None if there is none.

        Raises:
            InvalidRecord: the id is no string.
        """
        text_of(id, "id", InvalidRecord)
        check_switches(InvalidRecord, vector=vector)
        with self._lock:
            record = with_vector(self._store, id) if vector else self._store.get([id]).get(id)
            return record if record is not None and _is_here(record, self._clock()) else None

    def get_all(self, filter: Filter | None = None) -> list[Record]:
        """Return the stored records that match, by time and id."""
        with self._lock:
            moment = self._clock()
            found = [record for record in self._store.scan(filter) if _is_here(record, moment)]
        return sorted(found, key=lambda record: (record.created_at or moment, record.id))

    def count(self, filter: Filter | None = None) -> int:
        """Count the stored records that match."""
        with self._lock:
            return self._store.count(unexpired(self._clock(), filter))

    def search(
        self,
        query: str | Floats | Sequence[float],
        *,
        k: int = 10,
        subject: str | None = None,
        filter: Filter | None = None,
        under: str | None = None,
        near: str | None = None,
        weight: float = 1.0,
        mode: Mode = "vector",
        recall_target: float | None = None,
    ) -> list[Hit]:
        """Return the k records nearest in meaning, nearest first, ties by id.

        Or those that say the words of a text best, with ``mode="text"`` (BM25; see
        :meth:`forgetnet.store.Store.words`), or both, with ``mode="hybrid"``: the rankings by
        meaning and by words, the first ``max(4 * k, 100)`` of each, are fused by
        :func:`forgetnet.retrieve.fused`.

        A distance is 1 minus the inner product of the stored unit vectors, in float64. A vector
        given with a squared length within 1e-6 of 1 keeps its bits, so that may differ from the
        cosine distance by as much. With ``near`` it is the product metric
        ``sqrt(|q - x|^2 + (weight * d)^2)``, d the hyperbolic distance between topics.

        Args:
            query: one text, or one (d,) vector, of any norm but 0.
            k: how many hits at most.
            subject: only records of this subject.
            filter: only records that match.
            under: only records filed under this topic.
            near: pull towards this topic.
            weight: how strongly.
            mode: ``"vector"``, ``"text"`` or ``"hybrid"``; the last two take a text.
            recall_target: share of the k nearest to find on average, from 0 to 1, where there are
                more than 32,768 records; by default 0.99 is aimed at, and 1.0 is the exact search.

        Raises:
            InvalidRecord: the query is neither, such as a list of texts, or isn't finite; or it
                isn't a text, for a search by words.
            InvalidScope: the filter is malformed, k is no whole number from 1 on, there is no such
                mode, or it can't pull towards a topic.
            Unsupported: a search by words needs SQLite with FTS5, which this Python hasn't got.
            StoreError: what may be searched changes faster than it can be read.
        """
        k = whole_of(k, "k", InvalidScope)
        number_of(weight, "weight", InvalidScope)
        if recall_target is not None and number_of(recall_target, _RECALL, InvalidScope) > 1.0:
            raise InvalidScope(f"{_RECALL} is a share, from 0 to 1")
        _check_mode(mode, query, near)
        with self._lock:
            vector = None if mode == "text" else self._query_vector(query)
            where = narrow(filter, subject)
            cone = None if under is None else cone_of(under, self._salt)
            pull = None if near is None else near_of(near, weight, self._salt)
            at = self._clock()
            with self._hiding() as hidden:
                meaning = words = None
                if vector is not None:
                    meaning = Query(vector, k, where, cone, pull, at, hidden, recall_target)
                if mode != "vector" and isinstance(query, str):
                    words = TextQuery(query, k, where, cone, at, hidden)
                return find(self._store, meaning, under, words)

    @contextlib.contextmanager
    def _hiding(self) -> Iterator[frozenset[str]]:
        """Give out the ids that may not be searched, of the moment that the store answers from."""
        beside = self._home.readonly
        for _ in range(_TRIES):
            before = self._marks.all() if beside else []
            with self._store.still():
                hidden = self._marks.hidden(self._store)
                # Else a record may come after its mark was looked for, or a mark go with it.
                if not beside or self._marks.all() == before:
                    yield hidden
                    return
        raise StoreError("what may be searched changes faster than it can be read; ask later")

    @contextlib.contextmanager
    def _relatable(self) -> Iterator[dict[str, Record]]:
        with self._lock, self._hiding() as hidden:
            moment = self._clock()
            found = (r for r in self._store.scan() if r.id not in hidden)
            yield {record.id: record for record in found if _is_here(record, moment)}

    def _query_vector(self, query: str | Floats | Sequence[float]) -> Floats:
        if isinstance(query, str):
            try:
                query.encode()
            except UnicodeEncodeError:
                raise InvalidRecord(
                    "a query holds half of a surrogate pair, which UTF-8 can't write; repair it"
                ) from None
            vector: Floats = self._encoder.encode([query], progress=False)[0]
            return vector
        dim = self._encoder.dim
        try:
            given = np.asarray(query)
        except ValueError:  # rows of several lengths
            given = np.empty(0, object)
        if given.dtype.kind not in "fiu" or given.shape not in ((dim,), (1, dim)):
            raise InvalidRecord(
                f"search takes one text or one vector of shape ({dim},), not "
                f"{type(query).__name__} of shape {given.shape}; search once for each of several"
            )
        checked: Floats = check_vectors(given.reshape(1, -1).astype(np.float32), dim)[0]
        return checked

    def topics(self) -> dict[str, int]:
        """Count the stored records by topic."""
        return _tally(record.topic for record in self.get_all())

    def subjects(self) -> dict[str, int]:
        """Count the stored records by subject."""
        return _tally(record.subject for record in self.get_all())

    def stats(self) -> Stats:
        """Return figures of this memory."""
        with self._lock:
            ledger = self._ledger
            if self._home.readonly:  # another process appends to it
                ledger = Ledger(self._home.path("ledger.jsonl"), read_only=True)
            files = self._sizes()
            moment = self._clock()
            stored = list(self._store.scan())
            live = [record for record in stored if _is_here(record, moment)]
            return Stats(
                records=len(live),
                subjects=len({record.subject for record in live} - {None}),
                topics=len({record.topic for record in live} - {None}),
                expired=len(stored) - len(live),
                bytes=sum(files.values()),
                files=len(files),
                receipts=len(ledger),
                encoder=self._encoder.name,
                dim=self._encoder.dim,
            )

    def _sizes(self) -> dict[Path, int]:
        """Measure the store's files, which another process may shred meanwhile."""
        sizes: dict[Path, int] = {}
        for _ in range(_TRIES):
            tops = self._store.files()
            with contextlib.suppress(FileNotFoundError):
                paths = [path for top in tops for path in [top, *top.rglob("*")]]
                sizes = {path: path.stat().st_size for path in paths if path.is_file()}
            if self._store.files() == tops:
                break
        return sizes

    def residue(
        self,
        *,
        ids: Sequence[str] | str = (),
        subjects: Sequence[str] | str = (),
        texts: Sequence[str] | str = (),
        progress: bool = True,
    ) -> Leftovers:
        """Read every file and look for what should not be in it; changes nothing.

        The folder is compared with its format, everything is decoded, and some records that are
        there have to be found, as a control. What a live record holds is explained by it.

        Args:
            ids: of records that should be gone.
            subjects: whose records should be gone.
            texts: that should be gone; their vectors are looked for, too.
            progress: show a bar on long work, when the output is a terminal.

        Raises:
            InvalidScope: an argument is none of these.
            Unsupported: the memory has no folder, so it has no files.
        """
        check_switches(InvalidScope, progress=progress)
        named = names_of(ids, "ids", InvalidScope), names_of(subjects, "subjects", InvalidScope)
        told = names_of(texts, "texts", InvalidScope)
        root = self._home.root
        if root is None:
            raise Unsupported("a memory without a folder has no files to look through")
        content = self._encoder.encode(told, progress=progress) if told else None
        with self._lock:
            return look_for(self._store, root, named, told, content, progress=progress)

    def digest(self) -> str:
        """Hash the live records in canonical order: equal to the twin's that never had the rest."""
        with self._lock:
            return self._store.digest()
