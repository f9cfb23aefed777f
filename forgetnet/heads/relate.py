"""The verbs that relate records: what is broader than one of them, and what is narrower.

An optional view, by a head that never learnt from a record: it ranks, and decides nothing that is
deleted. Nothing is kept between two calls, so nothing of a forgotten record can be left here.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import numpy as np

from forgetnet.encode import Encoder
from forgetnet.encode import Floats as Vectors
from forgetnet.errors import EncoderMismatch, InvalidRecord, InvalidScope
from forgetnet.exact import Floats
from forgetnet.given import text_of, whole_of
from forgetnet.heads.public import PublicHead, load_head
from forgetnet.heads.tangents import TangentMap, exterior_angles
from forgetnet.record import Hit, Record
from forgetnet.store import Store

__all__ = ["AnyHead", "Relates"]

_ROWS = 8_192

AnyHead = PublicHead | TangentMap | str | Path
"""A head, what a ridge head solved for, or the folder of a head."""


def _map_of(head: object) -> TangentMap:
    if isinstance(head, str | Path):
        head = load_head(head)
    if isinstance(head, PublicHead):
        return head.map
    if isinstance(head, TangentMap):
        return head
    raise InvalidScope(
        f"head= must be a head or the folder of one, not {type(head).__name__}; train one: "
        "forgetnet geometry train"
    )


class Relates:
    """Something whose records can be related by a head."""

    _head: TangentMap | None = None
    _store: Store

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """The encoder that the records were embedded with."""

    @abstractmethod
    def _relatable(self) -> AbstractContextManager[dict[str, Record]]:
        """Give out the records that may be searched, by id, and hold them still."""

    @property
    def head(self) -> TangentMap | None:
        """The head that ``broader`` and ``narrower`` ask, unless they are given one."""
        return self._head

    @head.setter
    def head(self, head: AnyHead | None) -> None:
        self._head = None if head is None else self._fitting(head)

    def broader(self, id: str, k: int = 10, *, head: AnyHead | None = None) -> list[Hit]:
        """Return the k records that stand above one most likely, the likeliest first, ties by id.

        A hit's ``distance`` is the exterior angle at the broader record, in radians: 0 where the
        other lies straight below it, pi where it lies straight above. It is a rank, no decision:
        choose a threshold on examples of your own, and don't delete by it.

        Args:
            id: of the record.
            k: how many hits at most.
            head: to ask; by default that of the memory's property ``head``.

        Raises:
            EncoderMismatch: the head was trained for another encoder.
            InvalidRecord: there is no such record, or it may not be searched.
            InvalidScope: there is no head, or k is no whole number from 1 on.
            StoreError: a folder was given that holds no head.
        """
        return self._related(id, k, head, "broader")

    def narrower(self, id: str, k: int = 10, *, head: AnyHead | None = None) -> list[Hit]:
        """Return the k records that stand under one most likely, the likeliest first, ties by id.

        As :meth:`broader`, with the angle at this record.

        Args:
            id: of the record.
            k: how many hits at most.
            head: to ask; by default that of the memory's property ``head``.

        Raises:
            EncoderMismatch: the head was trained for another encoder.
            InvalidRecord: there is no such record, or it may not be searched.
            InvalidScope: there is no head, or k is no whole number from 1 on.
            StoreError: a folder was given that holds no head.
        """
        return self._related(id, k, head, "narrower")

    def _fitting(self, head: AnyHead) -> TangentMap:
        found = _map_of(head)
        if found.encoder != self.encoder.digest:
            raise EncoderMismatch(
                "this head was trained for another encoder than this memory has; train one for "
                f"{self.encoder.name}: forgetnet geometry train"
            )
        return found

    def _related(
        self, id: str, k: int, head: AnyHead | None, way: Literal["broader", "narrower"]
    ) -> list[Hit]:
        text_of(id, "id", InvalidRecord)
        k = whole_of(k, "k", InvalidScope)
        asked = self._head if head is None else self._fitting(head)
        if asked is None:
            raise InvalidScope(
                f"{way} needs a head; give head=, or set the memory's .head; train one: forgetnet "
                "geometry train"
            )
        with self._relatable() as records:
            if id not in records:
                raise InvalidRecord(f"no record that may be searched has the id {id[:80]!r}")
            ids = sorted(records)
            content = self._store.vectors(ids)[0]
        own = ids.index(id)
        angles = _angles(asked, content, own, way)
        angles[own] = np.inf
        order = np.argsort(angles, kind="stable")[: min(k, len(ids) - 1)]
        return [_hit(records[ids[place]], float(angles[place])) for place in order]


def _angles(asked: TangentMap, content: Vectors, own: int, way: str) -> Floats:
    """Return the angles (n,) of one row and each, in blocks of bounded memory."""
    here = asked.tangents(content[own : own + 1])[0]
    found = np.empty(len(content))
    for start in range(0, len(content), _ROWS):
        rows = slice(start, start + _ROWS)
        there = asked.tangents(content[rows])
        pair = (there, here) if way == "broader" else (here, there)
        found[rows] = exterior_angles(*pair)
    return found


def _hit(record: Record, angle: float) -> Hit:
    return Hit(record.id, angle, record.text, record.subject, record.topic, record.metadata)
