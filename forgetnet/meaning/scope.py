"""A scope by meaning: a proposal that is looked at, edited, confirmed and only then forgotten.

A value that nothing changes: each edit returns another one. Its ``repr`` says numbers only. Knows
nothing of how margins come about.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from forgetnet.errors import InvalidScope
from forgetnet.forget.openings import SALT_BYTES, commitment
from forgetnet.forget.plan import Plan
from forgetnet.forget.proposal import Frozen, Proposal
from forgetnet.given import check_switches, names_of, whole_of
from forgetnet.meaning.concept import Method
from forgetnet.meaning.conformal import MILLION, Miss
from forgetnet.record import Record, canonical_json

if TYPE_CHECKING:
    from forgetnet.meaning.verbs import Scopes

__all__ = ["EDGE", "Opening", "Ranked", "Scope", "plain"]

EDGE = 100
"""How many records below the threshold a scope knows by id."""


class Ranked(NamedTuple):
    """A record's margin, and a keyed hash of what the record was like when that was taken.

    The margin of one that was added by hand, and isn't known by it, is ``-inf``.
    """

    id: str
    margin: float
    print: str


@dataclass(frozen=True, slots=True)
class Opening:
    """What was asked, and the salt of the commitment to it: personal data."""

    query: str = field(repr=False)
    salt: bytes = field(repr=False)

    @classmethod
    def draw(cls, query: str) -> Opening:
        """Draw a fresh salt."""
        return cls(query, secrets.token_bytes(SALT_BYTES))

    @property
    def commitment(self) -> str:
        """What stands for the query in files and receipts."""
        return commitment("query", self.query, self.salt)


@dataclass(frozen=True)
class Scope:
    """What a memory proposes to forget; made by ``memory.scope``, taken by ``memory.forget``.

    Equal if all but the commitment is: that has a fresh salt each time.

    Attributes:
        recall_ppm: what was asked for, in parts per million.
        threshold: records of this margin or a larger one are proposed.
        method: how it was found: by ``exemplars`` of what is meant, by other ``topics``,
            ``uncalibrated``, or ``everything`` for a recall of 1.
        miss: the estimated share that is missed; None where it isn't calibrated.
        looked_at: records that could have been proposed.
        proposed: those that were, by margin, the largest first; those that are filed under the
            topics or were marked are among them, whatever their margin.
        below: the next ones, at most 100.
        histogram: (low end, count) of 20 equal bins of the margins of all that were looked at.
        near: ids of records below the threshold that say nearly the same as some proposed one.
        compared: proposed records whose neighbours were looked at for that, at most 64.
        restricted, expired: records that weren't looked at, since nothing may find them.
        topics: what the query was taken to mean; not written to files.
        commitment: salted, to the query.
        seal: by the memory's key, over all of the above but the topics.
        added: by hand.
        dropped: by hand.
        confirmed: whether somebody has said yes to exactly this.
        opening: the query itself; None if it was left out of the file.
    """

    recall_ppm: int
    threshold: float
    method: Method
    miss: Miss | None
    looked_at: int
    proposed: tuple[Ranked, ...] = field(repr=False)
    below: tuple[Ranked, ...] = field(repr=False)
    histogram: tuple[tuple[float, int], ...] = field(repr=False)
    near: tuple[str, ...] = field(repr=False)
    compared: int
    restricted: int
    expired: int
    commitment: str = field(repr=False, compare=False)
    seal: str = field(default="", repr=False, compare=False)
    topics: tuple[str, ...] = field(default=(), repr=False)
    added: tuple[Ranked, ...] = field(default=(), repr=False)
    dropped: tuple[str, ...] = field(default=(), repr=False)
    confirmed: bool = False
    opening: Opening | None = field(default=None, repr=False, compare=False)
    _home: Scopes | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """Show counts and shares: no id, no text, nothing of what was asked."""
        state = "confirmed" if self.confirmed else "not confirmed"
        return f"Scope({len(self)} of {self.looked_at} records, {self.method}, {state})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """What would be forgotten: what is proposed and wasn't dropped, then what was added."""
        out = frozenset(self.dropped)
        kept = tuple(one.id for one in self.proposed if one.id not in out)
        return (*kept, *(one.id for one in self.added))

    @property
    def margins(self) -> Mapping[str, float]:
        """The margins of what is proposed, what was added and what lies next below, by id."""
        return {one.id: one.margin for one in (*self.proposed, *self.below, *self.added)}

    @property
    def recall(self) -> float:
        """The recall that was asked for."""
        return self.recall_ppm / MILLION

    @property
    def is_everything(self) -> bool:
        """Whether it holds all that could be proposed."""
        return len(self) >= self.looked_at

    @property
    def summary(self) -> str:
        """What it says of itself, in one line without any name."""
        told = f"{len(self):,} of {self.looked_at:,} records; "
        if self.method == "everything":
            return told + "a recall of 1 can only be promised by taking everything"
        if self.miss is None:
            return told + (
                "uncalibrated: there are too few exemplars to say what this misses, and a plain "
                "default threshold was taken; label or mark more of what is meant"
            )
        low, high = (f"{share / 10_000:.1f}" for share in (self.miss.low, self.miss.high))
        return told + (
            f"estimated to miss {self.miss.estimate / 10_000:.1f} % of what is meant ({low} to "
            f"{high} %), by {self.miss.units} {self.method}"
        )

    # -- looking

    def samples(self, n: int = 10) -> list[Record]:
        """Return n records around the threshold, half of them just inside; the surest first.

        Raises:
            InvalidScope: it was loaded without its memory, or n is no whole number from 1 on.
        """
        n = whole_of(n, "n", InvalidScope)
        above = (n + 1) // 2
        some = [*self.proposed[-above:], *self.below[: n - min(above, len(self.proposed))]]
        found = self._bound()._records([one.id for one in some])  # noqa: SLF001 - its memory's
        return [found[one.id] for one in some if one.id in found]

    def plan(self) -> Plan:
        """Return what forgetting this would take and cost; change nothing.

        Raises:
            InvalidScope: it is empty, or was loaded without its memory.
        """
        if not self.ids:
            raise InvalidScope("this scope is empty; add ids to it, or ask in other words")
        return self._bound().forget(ids=self.ids, dry_run=True)

    def _bound(self) -> Scopes:
        if self._home is None:
            raise InvalidScope("this scope knows no memory; load it with Scope.load(path, memory)")
        return self._home

    # -- editing

    def drop(self, ids: str | Sequence[str]) -> Scope:
        """Return the scope without these records; it isn't confirmed any more.

        Raises:
            InvalidScope: one of them isn't in it.
        """
        wanted = dict.fromkeys(names_of(ids, "ids", InvalidScope))
        inside = set(self.ids)
        if unknown := [i for i in wanted if i not in inside]:
            raise InvalidScope(f"{_shown(unknown)} isn't in this scope; nothing was dropped")
        dropped = {one.id for one in self.proposed if one.id in wanted}
        return replace(
            self,
            added=tuple(one for one in self.added if one.id not in wanted),
            dropped=tuple(sorted({*self.dropped, *dropped})),
            confirmed=False,
        )

    def add(self, ids: str | Sequence[str]) -> Scope:
        """Return the scope with these records as they are now; it isn't confirmed any more.

        Raises:
            InvalidScope: one of them isn't stored, or the scope was loaded without its memory.
        """
        inside = set(self.ids)
        named = names_of(ids, "ids", InvalidScope)
        wanted = [i for i in dict.fromkeys(named) if i not in inside]
        if not wanted:
            return self
        prints = self._bound()._prints(wanted)  # noqa: SLF001 - its memory's
        if unknown := [i for i in wanted if i not in prints]:
            raise InvalidScope(f"{_shown(unknown)} isn't stored; nothing was added")
        known = {one.id: one for one in (*self.proposed, *self.below)}
        same = {i for i in wanted if i in self.dropped and known[i].print == prints[i]}
        back = [
            Ranked(i, known[i].margin if i in known else -math.inf, prints[i])
            for i in wanted
            if i not in same
        ]
        return replace(
            self,
            added=(*self.added, *back),
            dropped=tuple(i for i in self.dropped if i not in same),
            confirmed=False,
        )

    def confirm(self, *, allow_all: bool = False) -> Scope:
        """Return the scope as one that may be forgotten: exactly these ids, as they were seen.

        Args:
            allow_all: also if it holds everything that was looked at.

        Raises:
            InvalidScope: it is empty, or everything without ``allow_all``.
        """
        check_switches(InvalidScope, allow_all=allow_all)
        if not self.ids:
            raise InvalidScope(
                "this scope is empty, and an empty scope never means everything; add ids to it, or "
                "ask in other words"
            )
        if self.is_everything and not allow_all:
            raise InvalidScope(
                f"this scope is everything that can be found here ({self.looked_at} records); "
                "confirm it with allow_all=True if that is meant, or ask for a lower recall"
            )
        return replace(self, confirmed=True)

    freeze = confirm

    # -- what it is worth

    @property
    def core(self) -> str:
        """SHA-256 of what the memory proposed, in hex; what ``seal`` is over."""
        told = [
            self.commitment, self.recall_ppm, self.threshold.hex(), self.method,
            None if self.miss is None else asdict(self.miss),
            self.looked_at, *map(plain, (self.proposed, self.below)),
            [[low.hex(), count] for low, count in self.histogram],
            list(self.near), self.compared, self.restricted, self.expired,
        ]  # fmt: skip
        return hashlib.sha256(canonical_json(told).encode()).hexdigest()

    @property
    def digest(self) -> str:
        """SHA-256 of the proposal and of what was edited, in hex; receipts repeat it."""
        told = [self.core, self.seal, plain(self.added), sorted(self.dropped)]
        return hashlib.sha256(canonical_json(told).encode()).hexdigest()

    @property
    def proposal(self) -> Proposal:
        """What a receipt says of it."""
        miss = self.miss
        return Proposal(
            digest=self.digest,
            query=self.commitment,
            recall_ppm=self.recall_ppm,
            method=self.method,
            miss_ppm=None if miss is None else miss.estimate,
            miss_low_ppm=None if miss is None else miss.low,
            miss_high_ppm=None if miss is None else miss.high,
            units=0 if miss is None else miss.units,
            looked_at=self.looked_at,
            proposed=len(self.proposed),
            added=len(self.added),
            dropped=len(self.dropped),
        )

    def frozen(self) -> tuple[tuple[str, ...], Frozen]:
        """Return what a forget needs of it.

        Raises:
            InvalidScope: it wasn't confirmed.
        """
        if not self.confirmed:
            raise InvalidScope(
                "this scope is a proposal; look at scope.samples(), edit it with drop() and add(), "
                "then forget scope.confirm(). Nothing was deleted"
            )
        prints = {one.id: one.print for one in (*self.proposed, *self.added)}
        return self.ids, Frozen(self.proposal, prints, self.core, self.seal)

    # -- files

    def save(self, path: str | Path, *, query: bool = False) -> None:
        """Write it as JSON, without any text of records; its owner alone may read the file.

        Args:
            path: the file.
            query: also write what was asked, which may name what is to be forgotten.

        Raises:
            StoreError: the file can't be written.
        """
        from forgetnet.meaning.file import write

        check_switches(InvalidScope, query=query)
        write(self, path, query=query)

    @classmethod
    def load(cls, path: str | Path, memory: Scopes | None = None) -> Scope:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            memory: that proposed it; without it, records can't be shown, planned or added.

        Raises:
            InvalidScope: there is none in the file, it was altered, or another memory proposed it.
        """
        from forgetnet.meaning.file import read

        return read(path, memory)


def plain(ranked: Sequence[Ranked]) -> list[list[str]]:
    """Return ranked records as plain JSON, margins in hexadecimal: bit for bit."""
    return [[one.id, one.margin.hex(), one.print] for one in ranked]


def _shown(ids: Sequence[str]) -> str:
    return ", ".join(repr(i[:80]) for i in ids[:5])
