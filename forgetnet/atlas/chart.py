"""What a map shows: topics with their counts, records where they lie, and what would go.

Made of records and of a plan; knows nothing of pictures. It is a copy of what it was made from:
names of topics and subjects, and of each record its topic, its colour and 32 bits of a keyed hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forgetnet.atlas.disk import Complexes, holds
from forgetnet.atlas.layout import Layout, Path, Shorts, Tree, lay_out, scatter, spots
from forgetnet.record import Record, split_topic

__all__ = ["COLOURS", "Bools", "Chart", "Ints", "Region", "Taken", "chart_of", "region_of"]

COLOURS = 8
"""Subjects that have a colour of their own; number 8 is of all the others."""

_ASKED = 256  # half-planes that a region is at most tried to be made of

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


class Region(NamedTuple):
    """What of the plane would go with a topic: half-planes, and topics that stand alone.

    ``wholes`` hold nothing that stays. Where a half-plane would hold a stranger, as sisters that
    are hashed near one another can make it, those of the topics below stand for it, and the topic
    itself is among ``alone``.
    """

    wholes: list[int]
    alone: list[int]


@dataclass(frozen=True)
class Taken:
    """What a scope takes, as its plan says.

    Attributes:
        kind: of the scope, such as ``topic``.
        name: of its subject or topic; empty for ids and filters.
        ids: of all that would go.
        held: how many match and stay, for they are under a legal hold.
    """

    kind: str
    name: str = field(repr=False)
    ids: frozenset[str] = field(repr=False)
    held: int = 0


@dataclass(frozen=True)
class Chart:
    """All that is drawn.

    Attributes:
        layout: of the topics.
        own, total: records of each topic itself, and of it and all under it, (n,).
        topic: number of each record's topic, (m,); 0 for none.
        colour: of each record's subject, (m,).
        drawn: (m, 2) keyed hashes of the ids.
        point: where each record lies, (m,).
        goes: whether each would go, (m,).
        subjects: by colour, with their counts; one without records has no name.
        others: how many subjects have none, and how many records they have.
        nobodys: records without a subject.
        focus: number of the topic in the middle.
        taken: what a scope takes; None if none is given.
        region: of a scope that is a topic.
        texts, ids: of each record, if they were asked for.
    """

    layout: Layout
    own: Ints
    total: Ints
    topic: Ints
    colour: npt.NDArray[np.uint8]
    drawn: Shorts
    point: Complexes
    goes: Bools
    subjects: list[tuple[str, int]] = field(repr=False)
    others: tuple[int, int]
    nobodys: int
    focus: int = 0
    taken: Taken | None = None
    region: Region = field(default_factory=lambda: Region([], []))
    texts: list[str | None] | None = field(default=None, repr=False)
    ids: list[str] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.topic)


def chart_of(
    records: Sequence[Record],
    key: bytes,
    *,
    tree: Tree,
    under: Path = (),
    coloured: Sequence[str] | None = None,
    taken: Taken | None = None,
    texts: bool = False,
    ids: bool = False,
) -> Chart:
    """Make the chart of some records.

    Args:
        records: in any order.
        key: secret bytes, by which names and ids are hashed.
        tree: the taxonomy, empty for none.
        under: topic in the middle.
        coloured: subjects to give the colours to; by default those with most records.
        taken: what would go.
        texts, ids: keep those of the records.

    Raises:
        InvalidScope: the taxonomy can't be drawn.
    """
    paths = {topic: split_topic(topic) for topic in {record.topic for record in records}}
    asked = [split_topic(taken.name)] if taken is not None and taken.kind == "topic" else []
    layout = lay_out([*paths.values(), under, *asked], key, tree)
    number = {topic: layout.number[path] for topic, path in paths.items()}
    topic = np.fromiter((number[r.topic] for r in records), np.intp, len(records))
    own = np.bincount(topic, minlength=len(layout.paths)).astype(np.intp)
    total = own.copy()
    for i in range(len(total) - 1, 0, -1):
        total[layout.parent[i]] += total[i]
    subjects, others, nobodys, colour = _coloured(records, coloured)
    drawn = spots((record.id for record in records), key)
    point = scatter(layout.place[topic], drawn)
    goes = np.zeros(len(records), np.bool_)
    if taken is not None:
        goes = np.fromiter((record.id in taken.ids for record in records), np.bool_, len(records))
    region = Region([], [])
    if asked:
        region = region_of(layout, layout.number[asked[0]], topic, point)
    return Chart(
        layout, own, total, topic, colour, drawn, point, goes, subjects, others, nobodys,
        layout.number[under], taken, region,
        [record.text for record in records] if texts else None,
        [record.id for record in records] if ids else None,
    )  # fmt: skip


def _coloured(
    records: Sequence[Record], wanted: Sequence[str] | None
) -> tuple[list[tuple[str, int]], tuple[int, int], int, npt.NDArray[np.uint8]]:
    """Give colours to subjects: who has one, who hasn't, what is nobody's, and each record's."""
    counts = Counter(record.subject for record in records)
    nobodys = counts.pop(None, 0)
    most = sorted(counts, key=lambda name: (-counts[name], name or ""))
    chosen = list(dict.fromkeys(most if wanted is None else wanted))[:COLOURS]
    number = {name: i for i, name in enumerate(chosen)}
    colour = np.array([number.get(record.subject, COLOURS) for record in records], np.uint8)
    rest = [counts[name] for name in counts if name not in number]
    subjects = [(name or "" if counts[name] else "", counts[name]) for name in chosen]
    return subjects, (len(rest), sum(rest)), nobodys, colour


def region_of(layout: Layout, topic: int, topics: Ints, points: Complexes) -> Region:
    """Return the part of the plane that goes with a topic, and holds nothing else that is drawn.

    Args:
        layout: of the topics.
        topic: number of the one that would go.
        topics: number of each record's topic, (m,).
        points: where each record lies, (m,).
    """
    wholes: list[int] = []
    alone: list[int] = []
    ahead, asked = [topic], 0
    below: dict[int, list[int]] = {}
    for i in range(1, len(layout.paths)):
        below.setdefault(int(layout.parent[i]), []).append(i)
    while ahead:
        here = ahead.pop()
        asked += 1
        if here and asked <= _ASKED and not _strangers(layout, here, topics, points):
            wholes.append(here)
        else:
            alone.append(here)
            ahead += below.get(here, [])
    return Region(wholes, alone)


def _strangers(layout: Layout, topic: int, topics: Ints, points: Complexes) -> bool:
    """Tell whether a topic's half-plane holds a topic or a record that isn't under it."""
    inside, arc = layout.under(topic), layout.arc(topic)
    outside = ~inside
    return bool(
        holds(arc, layout.place[outside]).any() or holds(arc, points[outside[topics]]).any()
    )
