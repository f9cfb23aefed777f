"""The verb ``scope`` as users call it: one signature for whatever can propose what to forget.

Turns arguments into a question and the answer into a proposal; knows nothing of how a forget goes.
"""

from __future__ import annotations

import hmac
import logging
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from forgetnet.encode import Encoder
from forgetnet.errors import InvalidRecord, InvalidScope
from forgetnet.forget.office import Office
from forgetnet.forget.proposal import prints_of, seal_of
from forgetnet.forget.verbs import Forgets
from forgetnet.given import names_of, number_of
from forgetnet.linking import Exemplars
from forgetnet.meaning.ask import Asked, Found, Seen, look, public_of, see
from forgetnet.meaning.conformal import MILLION
from forgetnet.meaning.scope import EDGE, Opening, Ranked, Scope
from forgetnet.record import Record
from forgetnet.retrieve import near_duplicates, spread
from forgetnet.store import Floats

__all__ = ["Scopes"]

_BINS = 20
_log = logging.getLogger("forgetnet")


class Scopes(Forgets):
    """Something that can propose what to forget."""

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """The encoder of the records."""

    @abstractmethod
    def _keeping(self) -> AbstractContextManager[Office]:
        """Give out the office, with nothing under way and nothing else let in."""

    @abstractmethod
    def _query_vector(self, query: str | Floats | Sequence[float]) -> Floats:
        """Return the unit vector of a query."""

    def scope(
        self,
        query: str | Floats | Sequence[float],
        *,
        recall: float = 0.95,
        topics: str | Sequence[str] | None = None,
        like: str | Sequence[str] | None = None,
        unlike: str | Sequence[str] | None = None,
        exemplars: Exemplars | None = None,
    ) -> Scope:
        """Propose what to forget by meaning, with how much of it is probably missed.

        Nothing is forgotten: the proposal is looked at, edited and confirmed, and goes to
        ``forget(scope=)`` then. A record's margin is its mean cosine to the 5 nearest exemplars of
        what is meant, the query among them, less that to the 5 nearest of all else. From which
        margin on records are proposed is chosen by conformal risk control, so that the expected
        share that is missed is at most ``1 - recall``, if what isn't labelled is like what is.

        Args:
            query: what it is about, as a text or a (d,) vector.
            recall: share of what is meant to take in, above 0 to 1; 1 takes everything.
            topics: paths that are meant, labelled records under which are its exemplars; None to
                take those that the query itself is linked to, or none if it is something new.
            like: ids of records that are what is meant.
            unlike: ids of records that aren't.
            exemplars: public ones to compare with, instead of the records that have a topic.

        Raises:
            InvalidScope: nothing is stored that may be found, the recall is no such share, no
                exemplar lies under a topic, or a marked record can't be found.
            InvalidRecord: the query is neither a text nor a vector of this memory's length.
        """
        asked = self._asked(
            query, recall, topics=topics, like=like, unlike=unlike, exemplars=exemplars
        )
        named = None if asked.text is None else self._named
        with self._keeping() as office, office.store.still():
            seen = see(office.store, office.marks.hidden(office.store), office.clock())
            found = look(office.store, seen, asked, named)
            scope = self._proposed(office, seen, asked, found)
        if scope.is_everything:
            _log.warning("a scope by meaning holds all %d records", scope.looked_at)
        return scope

    def _asked(
        self, query: Any, recall: Any, *, topics: Any, like: Any, unlike: Any, exemplars: Any
    ) -> Asked:
        """Look at the arguments of a question."""
        share = round(number_of(recall, "recall=", InvalidScope) * MILLION)
        if not 0 < share <= MILLION:
            raise InvalidScope("recall= is a share above 0, up to 1, such as 0.95")
        if isinstance(query, str) and not query.strip():
            raise InvalidRecord("the query is empty; say what is to be forgotten")
        vector = self._query_vector(query)
        return Asked(
            vector,
            query if isinstance(query, str) else None,
            share,
            None if topics is None else names_of(topics, "topics", InvalidScope),
            tuple(dict.fromkeys(names_of(like, "like", InvalidScope))),
            tuple(dict.fromkeys(names_of(unlike, "unlike", InvalidScope))),
            public_of(exemplars, len(vector)),
        )

    def _named(self, names: Sequence[str]) -> Floats:
        """Embed names of topics, as a query is."""
        vectors: Floats = self.encoder.encode(list(names), progress=False)
        return vectors

    def _proposed(self, office: Office, seen: Seen, asked: Asked, found: Found) -> Scope:
        """Make a proposal of what was found."""
        inside = found.inside
        kept = np.flatnonzero(inside)
        below = np.flatnonzero(~inside)[:EDGE]
        told = [found.ids[i] for i in (*kept.tolist(), *below.tolist())]
        content = office.store.vectors(told)[0]
        prints = prints_of([seen.records[i] for i in told], content, office.salt)
        ids = [found.ids[i] for i in kept.tolist()]
        counts, lows = np.histogram(found.margins, _BINS)
        near: tuple[str, ...] = ()
        compared = 0
        if ids:
            some = office.store.vectors(spread(ids))[0]
            unseen = office.marks.hidden(office.store).union(ids)
            near, compared = near_duplicates(office.store, some, unseen, at=office.clock())
        opening = Opening.draw(asked.vector.tobytes().hex() if asked.text is None else asked.text)

        def ranked(which: Sequence[int]) -> tuple[Ranked, ...]:
            named = [(found.ids[i], float(found.margins[i])) for i in which]
            return tuple(Ranked(i, margin, prints[i]) for i, margin in named)

        scope = Scope(
            asked.recall,
            found.cut.threshold,
            found.cut.method,
            found.cut.miss,
            len(found.ids),
            ranked(kept.tolist()),
            ranked(below.tolist()),
            tuple(zip(lows[:-1].tolist(), counts.tolist(), strict=True)),
            tuple(i for i in near if i in seen.records),
            compared,
            seen.restricted,
            seen.expired,
            opening.commitment,
            topics=found.concept.topics,
            opening=opening,
            _home=self,
        )
        return replace(scope, seal=seal_of(scope.core, office.salt))

    # -- what a proposal asks of its memory

    def _records(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return records that are stored, by id."""
        with self._keeping() as office:
            return office.store.get(ids)

    def _prints(self, ids: Sequence[str]) -> dict[str, str]:
        """Return a keyed hash of what each record is like now; those not stored are left out."""
        with self._keeping() as office, office.store.still():
            found = office.store.get(ids)
            live = [i for i in ids if i in found]
            if not live:
                return {}
            return prints_of([found[i] for i in live], office.store.vectors(live)[0], office.salt)

    def _check_own(self, scope: Scope) -> None:
        """Refuse a scope that this memory didn't propose.

        Raises:
            InvalidScope: it didn't, or what was proposed has been altered.
        """
        with self._keeping() as office:
            own = seal_of(scope.core, office.salt)
        if not hmac.compare_digest(own, scope.seal):
            raise InvalidScope(
                "this scope was proposed by another memory, or has been altered; make it again "
                "with scope()"
            )
