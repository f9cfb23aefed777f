"""The verb ``map``: a memory drawn on the Poincare disk, and what a forget would take of it.

Asks for records and for a plan, and changes nothing. Knows nothing of how they are drawn.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from forgetnet.atlas.chart import Taken, chart_of
from forgetnet.atlas.layout import planted
from forgetnet.atlas.picture import Map
from forgetnet.errors import InvalidRecord, InvalidScope
from forgetnet.filters import Filter, unexpired
from forgetnet.filters import under as filed_under
from forgetnet.forget.execute import planned
from forgetnet.forget.office import Office
from forgetnet.forget.verbs import scope_of
from forgetnet.given import check_switches, names_of, text_of
from forgetnet.record import Record, split_topic
from forgetnet.taxonomy import Taxonomy

__all__ = ["Maps"]


class Maps:
    """Something whose records can be drawn."""

    @abstractmethod
    def _keeping(self) -> AbstractContextManager[Office]:
        """Give out the office, with nothing under way and nothing else let in."""

    def map(
        self,
        under: str | None = None,
        *,
        ids: str | Sequence[str] | None = None,
        subject: str | None = None,
        filter: Filter | None = None,
        topic: str | None = None,
        mentions: bool = True,
        after: bool = False,
        taxonomy: Iterable[str] | Taxonomy | None = None,
        coloured: str | Sequence[str] | None = None,
        texts: bool = False,
        show_ids: bool = False,
    ) -> Map:
        """Draw the memory by topics on the Poincare disk; with a scope, what forgetting it takes.

        A topic's place comes from its path, hashed with the memory's key, so nothing moves when
        something is forgotten. Names that are hashed may fall near one another; a taxonomy gives
        each a sector of its own. A topic's scope is drawn as a half-plane, the cone that goes.

        Args:
            under: draw only what is filed under this topic, with the topic in the middle.
            ids, subject, filter, topic, mentions: what would go, at most one scope, as in
                :meth:`forget`; the plan decides, so held records stay and derived ones go.
            after: draw what would be left beside it.
            taxonomy: a taxonomy, or topic paths in the order in which they shall lie around. Give
                one that doesn't change with what is stored, or things will move.
            coloured: subjects to give the eight colours to; by default those with most records.
            texts: have the page show the texts of records. They are in the file then.
            show_ids: likewise their ids.

        Raises:
            InvalidScope: an argument is malformed, the scope is empty or its witnesses disagree,
                or the taxonomy is too wide to be drawn.
        """
        check_switches(InvalidScope, after=after, texts=texts, show_ids=show_ids)
        scope = scope_of(ids, subject, filter, topic, mentions=mentions)
        empty = all(given is None for given in (ids, subject, filter, topic))
        if after and empty:
            raise InvalidScope("after= needs a scope: ids=, subject=, filter= or topic=")
        path = _path_of(under)
        topics = taxonomy.topics() if isinstance(taxonomy, Taxonomy) else taxonomy
        tree = planted(names_of(topics, "taxonomy", InvalidScope, ordered=True))
        names = (
            None if coloured is None else names_of(coloured, "coloured", InvalidScope, ordered=True)
        )
        with self._keeping() as office, office.store.still():
            taken = None
            if not empty:
                plan = planned(office, scope)
                name = scope.subject or scope.topic or ""
                taken = Taken(plan.kind, name, frozenset(plan.ids), len(plan.held))
            records = _drawn(office, under)
            chart = chart_of(
                records, office.salt, tree=tree, under=path, coloured=names, taken=taken,
                texts=texts, ids=show_ids,
            )  # fmt: skip
            root = office.root
        return Map(chart, after=after, store=None if root is None else _short(root))


def _drawn(office: Office, under: str | None) -> list[Record]:
    """Return what is drawn, by time and id: not what has expired."""
    moment = office.clock()
    found = office.store.scan(unexpired(moment, None if under is None else filed_under(under)))
    return sorted(found, key=lambda record: (record.created_at or moment, record.id))


def _short(root: Path) -> str:
    """Write a folder as it is called from here, where that is shorter."""
    try:
        here = Path.cwd()
    except OSError:  # the folder that we are in was removed
        return str(root)
    return str(root.relative_to(here) if root.is_relative_to(here) else root)


def _path_of(topic: str | None) -> tuple[str, ...]:
    if topic is None:
        return ()
    try:
        return split_topic(text_of(topic, "under=", InvalidScope))
    except InvalidRecord as error:
        raise InvalidScope(str(error)) from None
