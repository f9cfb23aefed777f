"""Links of a memory's records, as a component that forgets: a row goes, and so does its vote.

Derived and in memory only: rows that a forgotten exemplar voted on are linked anew, and no others,
to the bits of the twin that never had it. Knows nothing of memories, marks or clocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.component import EXACT, Cost, Finding, Influence
from forgetnet.linking.exemplars import Closure, Exemplars, upward
from forgetnet.linking.linker import Linker, Links
from forgetnet.store import Floats, Store

__all__ = ["Linked", "Source"]

_CHUNK = 16_384
_COUNTED = "the links and their voters counted"
_ANEW = "the records linked anew and compared"
_FREE = nullcontext()

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Source:
    """Where exemplars come from.

    Attributes:
        public: exemplars that no record has shaped; None for records with a topic.
        only: ids of the records that teach; None for all that have a topic.
        closure: says what lies above a topic.
    """

    public: Exemplars | None = field(default=None, repr=False)
    only: frozenset[str] | None = field(default=None, repr=False)
    closure: Closure = upward


@dataclass(frozen=True, slots=True)
class _State:
    """What was linked: row i is ``ids[i]``, whose voters are ``known.names[slots[i]]``."""

    prints: Mapping[str, bytes]
    ids: tuple[str, ...]
    exemplars: Exemplars
    known: Exemplars
    slots: Ints
    scores: Ints


class Linked:
    """The records without a topic, linked; a pure function of the live ones, and kept so.

    Args:
        store: the records.
        linker: how they are linked.
        source: where exemplars come from.
        unseen: ids that are stored and don't count, such as what may not be searched.
        lock: held while the records change; a model lets go of it while its experts learn.
    """

    name = "links"
    influence = Influence.LOCAL
    standing = EXACT
    behind = False

    def __init__(
        self,
        store: Store,
        linker: Linker,
        source: Source,
        unseen: Callable[[], Collection[str]] = tuple,
        lock: AbstractContextManager[object] = _FREE,
    ) -> None:
        self.linker = linker
        self.source = source
        self._store = store
        self._unseen = unseen
        self._lock = lock
        self._state: _State | None = None
        self._seen: tuple[str, frozenset[str]] | None = None

    def links(self) -> Links:
        """Return the links of what is live now."""
        with self._store.still():
            return self._decided(self._current())

    def _decided(self, state: _State) -> Links:
        return self.linker.decide(state.ids, state.known, state.slots, state.scores)

    @property
    def tells_apart(self) -> bool:
        """Whether there are two topics at least to learn from."""
        with self._store.still():
            return self._current().known.tells_apart

    # -- keeping in line

    def _current(self, unseen: frozenset[str] | None = None) -> _State:
        """Bring the state in line with the store: by what went if nothing else did, else anew."""
        seen = self._store.state(), frozenset(self._unseen()) if unseen is None else unseen
        if self._state is None or self._seen != seen:
            prints, topics = self._look(seen[1])
            have = {} if self._state is None else self._state.prints
            gone = have.keys() - prints.keys()
            if self._state is None or any(have.get(i) != found for i, found in prints.items()):
                self._state = self._made(prints, topics)
            elif gone:
                self._state = self._without(self._state, gone)
            self._seen = seen
        return self._state

    def _look(self, unseen: frozenset[str]) -> tuple[dict[str, bytes], dict[str, str | None]]:
        """Return a hash of what each live record has to do with links, and its topic."""
        only = self.source.only
        topics = {
            record.id: record.topic
            for record in self._store.scan()
            if record.id not in unseen
            and (record.topic is None or (not self.source.public and _in(only, record.id)))
        }
        prints: dict[str, bytes] = {}
        for ids, vectors in self._chunks(sorted(topics)):
            for record_id, vector in zip(ids, vectors, strict=True):
                topic = topics[record_id]
                mark = b"\0" if topic is None else b"\1" + topic.encode()
                prints[record_id] = hashlib.sha256(vector.tobytes() + mark).digest()
        return prints, topics

    def _chunks(self, ids: Sequence[str]) -> Iterator[tuple[Sequence[str], Floats]]:
        for start in range(0, len(ids), _CHUNK):
            some = ids[start : start + _CHUNK]
            yield some, self._store.vectors(some)[0]

    def _made(self, prints: Mapping[str, bytes], topics: Mapping[str, str | None]) -> _State:
        """Link everything."""
        ids = tuple(sorted(i for i, topic in topics.items() if topic is None))
        exemplars = self.source.public
        if exemplars is None:
            told = {i: topic for i, topic in topics.items() if topic is not None}
            vectors, _ = self._store.vectors(list(told))
            exemplars = Exemplars.of(list(told), vectors, list(told.values()), self.source.closure)
        known = self.linker.known(exemplars)
        return _State(prints, ids, exemplars, known, *self._near(ids, known))

    def _near(self, ids: Sequence[str], known: Exemplars) -> tuple[Ints, Ints]:
        near = [self.linker.near(vectors, known) for _, vectors in self._chunks(ids)]
        if not near:
            return self.linker.near(np.zeros((0, known.codes.shape[-1]), np.float32), known)
        return np.concatenate([slots for slots, _ in near]), np.concatenate([s for _, s in near])

    def _without(self, state: _State, gone: Collection[str]) -> _State:
        """Let go of records: rows lose their links, and rows that lost a voter are linked anew."""
        kept = np.array([i not in gone for i in state.ids], np.bool_)
        state = replace(
            state,
            prints={i: found for i, found in state.prints.items() if i not in gone},
            ids=tuple(i for i in state.ids if i not in gone),
            slots=state.slots[kept],
            scores=state.scores[kept],
        )
        if self.source.public is not None:  # their names are no ids, though one may sound the same
            return state
        lost = np.array([name in gone for name in state.exemplars.names], np.bool_)
        if not lost.any():
            return state
        exemplars = state.exemplars.without(gone)
        known = self.linker.known(exemplars)
        state = replace(state, exemplars=exemplars, known=known)
        if self.linker.method == "centroid" or not known.tells_apart:
            touched = np.arange(len(state.ids))  # centroids have moved, and every score with them
        else:
            touched = np.flatnonzero(lost[state.slots].any(axis=1))
        slots, scores = self._near([state.ids[i] for i in touched.tolist()], known)
        if len(touched) < len(state.ids):  # who voted on the others is there, as many as ever
            some, best = slots, scores
            slots, scores = (np.cumsum(~lost) - 1)[state.slots], state.scores.copy()
            slots[touched], scores[touched] = some, best
        return replace(state, slots=slots, scores=scores)

    # -- the component

    def digest(self) -> str:
        """Hash the links: equal for equal sets of live records."""
        return self.links().digest()

    def holds(self, ids: Collection[str]) -> int:
        """Count the records of ``ids`` that are linked or teach."""
        return 0 if self._state is None else sum(i in self._state.prints for i in ids)

    def cost(self, ids: Collection[str]) -> Cost:
        """Predict: rows go, and those that they voted on are linked anew."""
        return Cost("drop the links, link anew what they voted on", self.holds(ids))

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Note how many are linked or teach."""
        held = self.holds(ids)
        return {"held": held, "found": held}

    def hide(self, ids: Collection[str]) -> None:
        """Answer without them; the store has let go of them already."""
        with self._lock:
            if self._state is None:
                return
            known = self._state.prints.keys()
            gone = known - self._store.get(list(known)).keys() | known & set(ids)
            if gone:
                self._state = self._without(self._state, gone)

    def forget(self, ids: Collection[str]) -> None:
        """Let go of them, if that wasn't done."""
        self.hide(ids)

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing: nothing takes long."""

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Count what is left; in full, link everything anew and compare."""
        expected, found = int(note["held"]), int(note["found"])
        looks = [Finding(_COUNTED, self.holds(ids), expected, found)]
        if full and self._state is not None:
            unseen = frozenset(self._unseen())  # of one moment: something may expire meanwhile
            twin = Linked(self._store, self.linker, self.source, lambda: unseen)
            differs = self._decided(self._current(unseen)).digest() != twin.digest()
            looks.append(Finding(_ANEW, int(differs), expected, found))
        return looks


def _in(only: frozenset[str] | None, record_id: str) -> bool:
    return only is None or record_id in only
