"""The demo's deeds: what is remembered, asked, looked for in the bytes, and compared.

Every function looks at the real memory and returns what it saw; nothing here is told from the
story's file alone. Shows nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forgetnet.audit import residue
from forgetnet.record import Hit, Record

if TYPE_CHECKING:
    from forgetnet.memory import Memory

__all__ = ["Probe", "Sight", "answers", "gone_with", "probe_for", "record_of", "unmoved"]

Message = dict[str, Any]


def record_of(message: Message) -> Record:
    """Make a record of one of the demo's messages."""
    return Record(
        text=message["text"],
        id=message["id"],
        subject=message["subject"],
        topic=message["topic"],
        mentions=tuple(message.get("mentions", ())),
        derived_from=tuple(message.get("derived_from", ())),
        metadata=message["metadata"],
        created_at=datetime.fromisoformat(message["created_at"]),
    )


def gone_with(records: Sequence[Record], subject: str) -> frozenset[str]:
    """Return the ids that go with a subject: its own, what mentions it, what is derived of these.

    Worked out from the messages alone, so that a plan which misses one is found out.
    """
    gone = {r.id for r in records if subject == r.subject or subject in r.mentions}
    while more := {r.id for r in records if gone & set(r.derived_from)} - gone:
        gone |= more
    return frozenset(gone)


def answers(memory: Memory, questions: Iterable[str], k: int) -> list[list[Hit]]:
    """Ask every question; return its k hits."""
    return [memory.search(question, k=k) for question in questions]


def unmoved(before: Sequence[Hit], after: Sequence[Hit], gone: Collection[str]) -> bool:
    """Tell whether the hits that stay are the same ones, in order, distance by distance."""
    stay = [hit for hit in before if hit.id not in gone]
    return bool(stay) and stay == list(after)[: len(stay)]


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at the files of a memory found.

    Attributes:
        records: how many records were looked for.
        found: distinct ids, texts and vectors of theirs that were seen.
        hits: places in which something of theirs was seen.
        whole: whether every trace of every record was found by decoding.
        absent: whether all files were understood and none held anything.
        opaque: files that could not be decoded.
        files, bytes: how much was read.
    """

    records: int
    found: dict[str, int]
    hits: int
    whole: bool
    absent: bool
    opaque: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What some records look like, to be looked for in files, before and after."""

    count: int
    traces: residue.Traces
    needles: residue.Needles

    def look(self, root: Path, memory: Memory | None = None) -> Sight:
        """Decode and search every file below ``root``.

        Args:
            root: folder of the memory.
            memory: tells which records are live, once these should be gone.
        """
        survivors = None if memory is None else lambda i: memory.get(i) is not None
        seen = residue.scan([root], self.traces, self.needles, root=root, survivors=survivors)
        kinds = (residue.Kind.ID, residue.Kind.TEXT, residue.Kind.VECTOR)
        return Sight(
            records=self.count,
            found={kind.value: seen.traces[kind] for kind in kinds},
            hits=sum(seen.hits.values()),
            whole=seen.complete(self.traces),
            absent=seen.absent(),
            opaque=len(seen.opaque),
            files=seen.files,
            bytes=seen.bytes_read,
        )


def probe_for(memory: Memory, ids: Collection[str]) -> Probe:
    """Learn from a memory what some of its records look like."""
    found = [record for i in sorted(ids) if (record := memory.get(i, vector=True)) is not None]
    content = np.array([record.vector for record in found], np.float32)
    salt = secrets.token_bytes(32)
    return Probe(
        len(found),
        residue.trace(found, content, salt=salt),
        residue.Needles(found, content, salt=salt),
    )
