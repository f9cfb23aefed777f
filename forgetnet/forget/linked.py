"""The verbs that link: records without a topic find one by meaning, and what is filed moves.

The links are derived and in memory only; from the first ``link`` on they are a component of every
forget. Knows nothing of how records are linked.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from forgetnet.component import Component
from forgetnet.encode import Encoder
from forgetnet.errors import InvalidRecord, InvalidScope
from forgetnet.forget.filing import Files
from forgetnet.forget.office import Office
from forgetnet.given import check_switches, names_of, text_of
from forgetnet.linking import Exemplars, Linked, Linker, Links, Source, upward
from forgetnet.linking.linker import Method
from forgetnet.taxonomy import Taxonomy
from forgetnet.taxonomy.paths import SEPARATOR, check_name

__all__ = ["Relates", "exemplars_of"]


def exemplars_of(taxonomy: Taxonomy, encoder: Encoder, *, progress: bool = False) -> Exemplars:
    """Return the concepts of a taxonomy as exemplars: the encoder's vectors of name and gloss.

    Public, if the taxonomy is: no record has shaped them. A concept is named by its first path,
    and stands for all its paths and those of what is above it.

    Raises:
        InvalidRecord: the encoder takes no texts, or the taxonomy is too deep to be written out.
    """
    written = taxonomy.written()
    told = [(written[i][0], concept) for i, concept in enumerate(taxonomy.concepts)]
    texts = [f"{c.name}: {c.gloss}" if c.gloss else c.name for _, c in told]
    topics = [topic for topic, _ in told]
    vectors = encoder.encode(texts, progress=progress)
    return Exemplars.of(topics, vectors, topics, taxonomy.closure)


class Relates(Files):
    """Something whose records are linked to topics."""

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """The encoder of its records."""

    def link(
        self,
        taxonomy: Taxonomy | None = None,
        *,
        exemplars: Sequence[str] | str | None = None,
        k: int | None = None,
        min_margin: float = 0.0,
        method: Method = "knn",
        progress: bool = True,
    ) -> Links:
        """Link the records without a topic to topics, by what is nearest to them in meaning.

        The records that have a topic are the exemplars; with a taxonomy, its concepts are, by name
        and gloss. From now on :meth:`links` answers for what is live: when a record is forgotten,
        its links go, and where it was an exemplar, what it voted on is linked anew. What may not
        be searched is not linked and doesn't vote. Nothing is written: a topic is given by
        :meth:`update`, and these settings end with the process.

        Args:
            taxonomy: whose concepts are the exemplars; or, with ``exemplars``, what lies above
                their topics.
            exemplars: ids of the only records to learn from.
            k, min_margin, method: see :class:`forgetnet.linking.Linker`.
            progress: show a bar on long work, when the output is a terminal.

        Raises:
            InvalidRecord: a setting is none, an id isn't stored or has no topic, or there is only
                one topic to learn from, which can't be told from anything; or an expert or an
                attached model is called ``links``, as the links are in receipts.
        """
        check_switches(InvalidRecord, progress=progress)
        linker = Linker(k, min_margin, method)
        if taxonomy is not None and not isinstance(taxonomy, Taxonomy):
            raise InvalidRecord(
                f"a taxonomy must be a Taxonomy, not {type(taxonomy).__name__}; make one with "
                "Taxonomy.load or Taxonomy.of"
            )
        only = None if exemplars is None else names_of(exemplars, "exemplars", InvalidRecord)
        public = None
        if taxonomy is not None and only is None:  # may take long, and needs no lock
            public = exemplars_of(taxonomy, self.encoder, progress=progress)
        with self._keeping() as office:
            source = Source(public) if public is not None else _source(office, taxonomy, only)
            part = Linked(office.store, linker, source, lambda: _unseen(office), office.lock)
            links = part.links()
            if not part.tells_apart:
                raise InvalidRecord(
                    "the records have fewer than two topics, and one can't be told from anything; "
                    "label some of another topic, or give a taxonomy"
                )
            office.components[:] = [*_others(office, part.name), part]
        return links

    def links(self, under: str | None = None) -> Links:
        """Return the links of the records that are live now, as :meth:`link` was asked for them.

        Args:
            under: only links to this topic: one for each record linked at or under it.

        Raises:
            InvalidScope: :meth:`link` was not called since the memory was opened.
            InvalidRecord: ``under`` is no topic path.
        """
        if under is not None:  # of any depth: a taxonomy's concepts may lie deeper than records
            for name in text_of(under, "under", InvalidRecord).split(SEPARATOR):
                check_name(name, limit=None)
        with self._keeping() as office:
            part = next((p for p in office.components if isinstance(p, Linked)), None)
            if part is None:
                raise InvalidScope("nothing is linked yet; call link() first, with its settings")
            links = part.links()
        return links if under is None else links.under(under)


def _others(office: Office, name: str) -> list[Component]:
    """Return the components that stay beside the links.

    Raises:
        InvalidRecord: one has their name, by which a receipt and the journal tell parts apart.
    """
    others = [part for part in office.components if not isinstance(part, Linked)]
    if any(part.name == name for part in others):
        raise InvalidRecord(
            f"another part of this memory is called {name!r}, and a receipt couldn't tell it from "
            "the links; give that model or expert another name"
        )
    return others


def _unseen(office: Office) -> frozenset[str]:
    """Return the ids of what is stored and may not be searched, or has expired."""
    ended = office.store.scan({"expires_at": {"$lte": office.clock()}})
    return office.marks.hidden(office.store).union(record.id for record in ended)


def _source(office: Office, taxonomy: Taxonomy | None, only: Sequence[str] | None) -> Source:
    """Return which records are exemplars, and what lies above their topics.

    Raises:
        InvalidRecord: an id isn't stored, or its record has no topic.
    """
    if only is not None:
        found = office.store.get(only)
        if bad := [i for i in only if i not in found or found[i].topic is None]:
            shown = ", ".join(repr(i[:80]) for i in bad[:5])
            raise InvalidRecord(
                f"{len(bad)} exemplars aren't stored, or have no topic ({shown}); give records "
                "that have one"
            )
    if taxonomy is None:
        return Source(None, None if only is None else frozenset(only))
    known = taxonomy

    def closure(topic: str) -> Sequence[str]:
        if topic not in known:
            return upward(topic)
        return tuple({topic, *known.closure(topic)})  # itself, where it is a concept's key alone

    return Source(None, frozenset(only or ()), closure)
