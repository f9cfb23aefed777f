"""Search by words, in memory only: BM25 over the texts that are live, by SQLite's FTS5.

The index is made at the first question from the live records, follows them from then on, and is
never in a file: neither a crash nor a copy of the disk leaves a word of it. Knows nothing of
vectors, nor of which records a question may see.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from forgetnet.errors import StoreError, Unsupported
from forgetnet.record import Record

if TYPE_CHECKING:
    from sqlite3 import Connection

__all__ = ["TERMS", "Words"]

TERMS = 1_024
"""How many distinct words of a question count at most: the rarest ones that occur."""

_LAYOUT = (
    "PRAGMA temp_store = MEMORY",  # so that nothing large is ever sorted in a file
    "PRAGMA secure_delete = ON",  # freed pages are overwritten
    """CREATE VIRTUAL TABLE words
    USING fts5(text, content = '', tokenize = 'unicode61 remove_diacritics 2')""",
    "CREATE VIRTUAL TABLE counts USING fts5vocab(words, row)",
)
_MISSING = "so there is no search by words; use another build of it, or search by meaning"
# FTS5 cuts off a word that is longer than 32,768 bytes, maybe within a character.
_WORD_BYTES = 32_000
# Words that so many records have are worth a second way to ask.
_MANY = 4_096

Wanted = Callable[[str], bool]


class Words:
    """The words of the live records that have a text.

    A word is a run of letters and digits of Unicode, without case and diacritics: ``Zoë's`` is
    ``zoe`` and ``s``. There is no stemming, and no list of words that don't count.

    Args:
        live: records by id; read at the first question, followed by ``add`` and ``remove`` then.
    """

    def __init__(self, live: Mapping[str, Record]) -> None:
        self._live = live
        self._index: _Index | None = None
        self._absent: frozenset[str] = frozenset()

    @property
    def stands(self) -> bool:
        """Tell whether there is an index already, as there is from the first question on."""
        return self._index is not None

    def add(self, records: Iterable[Record]) -> None:
        """Take in records that have just become live."""
        if self._index is not None:
            # One that can't follow goes: the next question makes it anew, or says what is wrong.
            with self._or_nothing():
                self._index.add(self._texts(records))

    def remove(self, records: Iterable[Record]) -> None:
        """Let go of records that have just been live: no question finds them, nor counts them."""
        if self._index is not None:
            with self._or_nothing():
                self._index.remove(self._texts(records))

    def purge(self) -> None:
        """Overwrite what removed records left in memory: words that nobody else used."""
        if self._index is not None:
            with self._or_nothing():
                self._index.purge()

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            self._index = None

    def search(
        self,
        text: str,
        k: int,
        *,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
        absent: frozenset[str] = frozenset(),
    ) -> list[tuple[str, float]]:
        """Return the k records that say the words of a text best: (id, score), ties by id.

        A record is found by any of the words. The score is Okapi BM25 (Robertson et al. 1994, as
        FTS5 has it: k1 = 1.2, b = 0.75, and at least 1e-6 for a word that most records have), a
        positive number; it counts all live records with a text, whatever the question may see,
        but those that are ``absent``.

        Args:
            text: what to look for, nothing of which is syntax. A word that comes twice counts
                once, and of very many the ``TERMS`` rarest count.
            k: how many at most; as many come as match.
            only: ids to choose from, instead of all.
            without: ids to leave out.
            absent: ids of records that are neither found nor counted, as if they weren't live.

        Raises:
            StoreError: SQLite can't index the texts, or runs out of memory.
            Unsupported: this Python has no SQLite with FTS5.
        """
        if k < 1:
            return []
        index = self._standing(absent)

        def wanted(record_id: str) -> bool:
            return (only is None or record_id in only) and record_id not in without

        found = index.best(text, k, None if only is None and not without else wanted)
        self._index = index  # only now: one that failed is made anew
        return found

    def _standing(self, absent: frozenset[str]) -> _Index:
        """Take the index of all live records but those, made now or brought in line."""
        index, self._index, before = self._index, None, self._absent
        if index is None:
            self._absent = absent
            index = _Index()
            index.add(self._texts(self._live.values()))
        elif before != absent:
            # Both before and after, texts of the absent are passed over.
            index.remove(self._texts(self._found(absent - before)))
            self._absent = absent
            index.add(self._texts(self._found(before - absent)))
        return index

    def _found(self, ids: Iterable[str]) -> list[Record]:
        return [self._live[i] for i in ids if i in self._live]

    def _texts(self, records: Iterable[Record]) -> Iterator[tuple[str, str]]:
        """Return ids and texts of records that have one and aren't absent."""
        absent = self._absent
        return ((r.id, r.text) for r in records if r.text is not None and r.id not in absent)


class _Index:
    """A contentless FTS5 table: it holds words and counts, and is handed texts to take them out."""

    def __init__(self) -> None:
        database = _opened()
        weakref.finalize(self, database.close)
        self._run, self._run_many = database.execute, database.executemany
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._free: list[int] = []
        self._dirty = False

    def add(self, texts: Iterable[tuple[str, str]]) -> None:
        rows = ((self._take(record_id), text) for record_id, text in texts)
        self._change("INSERT INTO words(rowid, text) VALUES (?, ?)", rows)

    def _take(self, record_id: str) -> int:
        row = self._free.pop() if self._free else len(self._ids)
        self._ids[row : row + 1] = [record_id]
        self._rows[record_id] = row
        return row

    def remove(self, texts: Iterable[tuple[str, str]]) -> None:
        rows = ((self._give(record_id), text) for record_id, text in texts)
        self._change("INSERT INTO words(words, rowid, text) VALUES ('delete', ?, ?)", rows)

    def _give(self, record_id: str) -> int:
        row = self._rows.pop(record_id)
        self._ids[row] = ""
        self._free.append(row)
        self._dirty = True
        return row

    def _change(self, statement: str, rows: Iterable[tuple[int, str]]) -> None:
        """Run a statement for many rows in one transaction, of which FTS5 makes one piece."""
        with _told():
            self._run("BEGIN")
            self._run_many(statement, rows)
            self._run("COMMIT")

    def purge(self) -> None:
        # FTS5 notes that a word is gone, and drops word and note as it merges its pieces. Its
        # option secure-delete (SQLite 3.42) isn't used: it takes words out of the leaves at once,
        # at several times the price, but not from the dividers above them, and then there is
        # nothing left to merge.
        if self._dirty:
            with _told():
                self._run("INSERT INTO words(words) VALUES ('optimize')")
            self._dirty = False

    def best(self, text: str, k: int, wanted: Wanted | None) -> list[tuple[str, float]]:
        """Return the k best records that have a word of the text and are wanted."""
        with _told():
            words = self._counted(text)
            common = self._common(words, k)
            often, rare = (
                _any(word for _, word in some) for some in (words[:common], words[common:])
            )
            if common:
                # In both questions words are in the same order as in the whole one, but for some
                # that a record hasn't got and that add 0: so scores have the same bits.
                asked = (f"({often}) AND ({rare})", f"({rare}) NOT ({often})")
                found = heapq.nsmallest(k, (hit for q in asked for hit in self._hits(q, wanted)))
                if len(found) == k and -found[-1][0] > self._most(words[:common]):
                    return [(record_id, -score) for score, record_id in found]
            whole = self._hits(_any(word for _, word in words), wanted) if words else ()
            return [(record_id, -score) for score, record_id in heapq.nsmallest(k, whole)]

    def _hits(self, question: str, wanted: Wanted | None) -> Iterator[tuple[float, str]]:
        for row, rank in self._run(
            "SELECT rowid, rank FROM words WHERE words MATCH ?", (question,)
        ):
            record_id = self._ids[row]
            if wanted is None or wanted(record_id):
                yield rank, record_id

    def _counted(self, text: str) -> list[tuple[int, str]]:
        """Return the words that count, with how many records have each: the commonest first.

        In this order their shares of a score are summed.
        """
        question = "SELECT doc FROM counts WHERE term = ?"
        found = ((n, word) for word in _distinct(text) for (n,) in self._run(question, (word,)))
        return sorted(found)[:TERMS][::-1]

    def _common(self, words: Sequence[tuple[int, str]], k: int) -> int:
        """Return how many words are so common that records without the others seem to be no hits.

        It is a guess: a record with the k-th best word may not be said to score as that word does.
        """
        seen = 0
        for n, _ in reversed(words):
            seen += n
            if seen >= k:
                reached = self._weight(n)
                break
        else:
            return 0
        common = 0
        while self._most(words[: common + 1]) < reached:
            common += 1
        return common if sum(n for n, _ in words[:common]) >= _MANY else 0

    def _weight(self, n: int) -> float:
        """Weigh a word that n records have, as FTS5 does."""
        weight = math.log((len(self._rows) - n + 0.5) / (n + 0.5))
        return weight if weight > 0.0 else 1e-6

    def _most(self, words: Sequence[tuple[int, str]]) -> float:
        """Return what a record scores at most by these words: each gives less than k1 + 1."""
        return sum(2.2 * self._weight(n) for n, _ in words) * (1.0 + 1e-9)


def _any(words: Iterable[str]) -> str:
    """Ask for records with any of some words."""
    return " OR ".join(f'"{word}"' for word in words)


def _distinct(text: str) -> list[str]:
    """Return the distinct words of a text, sorted, as FTS5 tells them in a record."""
    known = text.encode(errors="replace").decode()  # halves of surrogate pairs are no words
    # In a database of its own, which goes at once: what is asked for may be what is forgotten.
    with contextlib.closing(_opened()) as database:
        database.execute("INSERT INTO words(rowid, text) VALUES (0, ?)", (known,))
        question = "SELECT term FROM counts WHERE length(CAST(term AS BLOB)) <= ? ORDER BY term"
        return [word for (word,) in database.execute(question, (_WORD_BYTES,))]


def _opened() -> Connection:
    """Open an empty index in memory, and nowhere else."""
    try:
        import sqlite3
    except ImportError as error:
        raise Unsupported(f"this Python was built without SQLite, {_MISSING}") from error
    # Threads take turns by the lock of the memory.
    database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        for statement in _LAYOUT:
            database.execute(statement)
    except sqlite3.OperationalError as error:
        database.close()
        raise Unsupported(f"this Python's SQLite has no FTS5 ({error}), {_MISSING}") from error
    return database


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell SQLite's errors, of memory as it were, in our own words."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"SQLite can't index or look for the words of the records: {error}; search by meaning, "
            "or give the process more memory"
        ) from error
