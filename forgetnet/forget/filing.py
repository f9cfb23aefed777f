"""The verbs that file records anew: topics are moved, renamed and merged.

A record's place follows from its topic, so it is computed anew, in one commit for all; then the
old paths and places are purged from the files. Held records are refused: a hold promises that
nothing about them changes, and where a record is filed decides which scopes take it. Knows nothing
of taxonomies.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from forgetnet.component import Influence
from forgetnet.errors import Held, InvalidRecord, InvalidScope, StoreError
from forgetnet.forget.execute import settle
from forgetnet.forget.office import Office, roomy
from forgetnet.forget.plan import broken_places
from forgetnet.geometry import codes
from forgetnet.given import text_of
from forgetnet.record import MAX_TOPIC_DEPTH, Record, split_topic
from forgetnet.retrieve import cone_of
from forgetnet.taxonomy.paths import MAX_NAME, above, check_name, renamed

__all__ = ["Files", "Moved"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did.

    Attributes:
        records: how many are filed elsewhere now.
        topics: where those of each topic went; only topics that had records.
    """

    records: int
    topics: Mapping[str, str] = field(repr=False)


class Files:
    """Something whose records are filed by topic."""

    @abstractmethod
    def _keeping(self) -> AbstractContextManager[Office]:
        """Give out the office, with nothing under way and nothing else let in."""

    def move_topic(self, old: str, new: str) -> Moved:
        """File everything under a topic elsewhere, each record as far below it as it was.

        Renames it, moves its subtree, or merges it into a topic that is there. One commit: a crash
        leaves all records where they were, or all where they are to be, and the next opening then
        removes the old paths and places from the files. Afterwards everything answers as in the
        memory that was written so from the start.

        Args:
            old: the topic.
            new: where it is to be; not under itself.

        Raises:
            Held: a record under it is under a legal hold; nothing was moved.
            InvalidRecord: a path is none, or would have more than 6 levels; nothing was moved.
            InvalidScope: nothing is filed under ``old``, or a record's place isn't the one that its
                topic gives; nothing was moved.
            StoreError: the store can't be written, or shared weights learnt from the memory; the
                message says if the records are moved and only old bytes are still to be removed.
        """
        _check_path(old, "old", None)
        _check_path(new, "new", MAX_NAME)
        if f"{new}/".startswith(f"{old}/"):
            raise InvalidRecord(
                "a topic can't be moved to itself, nor under itself; name a path elsewhere"
            )
        return self.refile({old: new})

    def refile(self, moved: Mapping[str, str]) -> Moved:
        """Move many topics at once, in one commit, as a changed taxonomy says.

        A topic that isn't named follows the nearest one above it that is. See :meth:`move_topic`.

        Args:
            moved: new path by old path, all meant at once: two may change places.

        Raises:
            Held, InvalidRecord, InvalidScope, StoreError: as :meth:`move_topic`.
        """
        told = _paths(moved)
        with self._keeping() as office:
            settle(office)  # refuses where nothing may be written
            _check_untaught(office)
            records, topics = _concerned(office, told)
            if not records:
                raise InvalidScope("nothing is filed under these topics; nothing was moved")
            _check_places(office, told, [record.id for record in records])
            _check_free(office, records)
            _commit(office, records, topics)
        return Moved(len(records), topics)


def _paths(moved: object) -> dict[str, str]:
    """Return a mapping of topic paths.

    Raises:
        InvalidRecord: it is none.
    """
    if not isinstance(moved, Mapping):
        raise InvalidRecord(f"moved= must map old paths to new ones, not {type(moved).__name__}")
    for old, new in moved.items():
        _check_path(old, "a path in moved=", None)
        _check_path(new, "a path in moved=", MAX_NAME)
    return {old: new for old, new in moved.items() if old != new}


def _check_path(path: object, name: str, limit: int | None) -> None:
    for each in split_topic(text_of(path, name, InvalidRecord)):
        check_name(each, limit=limit)


def _concerned(office: Office, moved: Mapping[str, str]) -> tuple[list[Record], dict[str, str]]:
    """Return the records that move, as they are now, and where those of each topic go.

    Raises:
        InvalidRecord: some would lie too deep.
    """
    found: dict[str, list[Record]] = {}
    for record in office.store.scan():
        if record.topic is not None:
            found.setdefault(record.topic, []).append(record)
    goes = {topic: new for topic in sorted(found) if (new := renamed(topic, moved)) != topic}
    deep = [topic for topic, new in goes.items() if len(new.split("/")) > MAX_TOPIC_DEPTH]
    if deep:
        raise InvalidRecord(
            f"{len(deep)} topics would have more than {MAX_TOPIC_DEPTH} levels, which are not kept "
            "apart; move them higher up, or join their deepest names first; nothing was moved"
        )
    return [record for topic in goes for record in found[topic]], goes


def _check_untaught(office: Office) -> None:
    """Refuse where shared weights learnt from the records: they would go on knowing the old topic.

    Raises:
        StoreError: there are such weights.
    """
    entangled = [part.name for part in office.components if part.influence is Influence.ENTANGLED]
    if entangled:
        raise StoreError(
            f"can't move topics: {', '.join(entangled)} learnt from this memory as it is filed; "
            "detach it first, or forget the records and add them anew"
        )


def _check_places(office: Office, moved: Mapping[str, str], ids: Sequence[str]) -> None:
    """Ask both witnesses of what is to move, as a forget does.

    Raises:
        InvalidScope: a record's place isn't the one that its topic gives.
    """
    tops = [topic for topic in moved if not any(head in moved for head in above(topic))]
    cones = (office.store.cone(cone_of(topic, office.salt)) for topic in tops)
    if broken := broken_places(office.store, sorted(set(ids).union(*cones)), office.salt):
        shown = ", ".join(repr(i[:80]) for i in broken[:5])
        raise InvalidScope(
            f"the place of {len(broken)} records is not the one that their topic path gives "
            f"({shown}); a byte was changed. Restore or forget them first; nothing was moved"
        )


def _check_free(office: Office, records: Sequence[Record]) -> None:
    if held := office.marks.held(records):
        holds = ", ".join(sorted({name for names in held.values() for name in names}))
        raise Held(
            f"{len(held)} records under these topics are under the legal hold {holds}, and may "
            "not be changed; lift it first; nothing was moved"
        )


def _commit(office: Office, records: Sequence[Record], goes: Mapping[str, str]) -> None:
    """Store the records under their new topics, in one commit, and purge what they replace."""
    topics = list(dict.fromkeys(goes.values()))
    places = codes.places([split_topic(topic) for topic in topics], office.salt)
    number = {topic: i for i, topic in enumerate(topics)}
    fresh = [replace(record, topic=goes[record.topic or ""]) for record in records]
    content, _ = office.store.vectors([record.id for record in records])
    place = places[[number[record.topic or ""] for record in fresh]]
    office.owes[0] = True  # whatever happens from here on, the next change looks
    try:
        office.journal.owe_purge()
    except OSError as error:
        raise StoreError(f"can't write the journal: {error.strerror}; nothing was moved") from error
    # If this fails the word stays: who can tell what such a disk will show when it is read again?
    office.store.add(fresh, content, place, replace=True)
    try:
        roomy(office, office.store.purge)
        office.journal.purged()
    except (StoreError, OSError) as error:
        raise StoreError(
            f"the topics are moved, but their old paths are not gone from the files yet: {error}; "
            "the next change or opening removes them"
        ) from error
    office.owes[0] = bool(office.journal.pending())
