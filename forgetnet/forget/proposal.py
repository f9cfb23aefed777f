"""What a scope by meaning says of itself: the numbers that a receipt repeats, and what was seen.

A proposal was shown to somebody, edited and confirmed before its ids came here. Knows nothing of
how it was made.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from forgetnet.errors import InvalidScope, ReceiptInvalid
from forgetnet.forget.strict import fields, hexadecimal, natural, one_of
from forgetnet.record import Record, canonical_bytes
from forgetnet.store import Floats, Store

__all__ = ["METHODS", "Frozen", "Proposal", "Proposes", "check_unchanged", "prints_of", "seal_of"]

METHODS = ("exemplars", "topics", "uncalibrated", "everything")
"""How a threshold was found: see :mod:`forgetnet.meaning`."""

_SHARES = ("miss_ppm", "miss_low_ppm", "miss_high_ppm")
_COUNTS = ("units", "looked_at", "proposed", "added", "dropped")
_MILLION = 1_000_000
_PRINT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Proposal:
    """A scope by meaning as a receipt tells it: digests and whole numbers, nothing in plain.

    Attributes:
        digest: SHA-256 of the scope as it was confirmed.
        query: salted commitment to what was asked.
        recall_ppm: the recall asked for, in parts per million.
        method: how the threshold was found; one of ``METHODS``.
        miss_ppm, miss_low_ppm, miss_high_ppm: the estimated share that is missed, and its interval
            of 95 %; None where it wasn't calibrated.
        units: exemplars or topics that it was estimated on.
        looked_at: records that could have been proposed.
        proposed: records that were.
        added, dropped: by hand, afterwards.
    """

    digest: str
    query: str
    recall_ppm: int
    method: str
    miss_ppm: int | None
    miss_low_ppm: int | None
    miss_high_ppm: int | None
    units: int
    looked_at: int
    proposed: int
    added: int
    dropped: int

    def __post_init__(self) -> None:
        for digest in (self.digest, self.query):
            hexadecimal(digest, 32, 32, "a digest of the proposal")
        one_of(self.method, METHODS, "the method of the proposal")
        for name in _COUNTS:
            natural(getattr(self, name), "a count of the proposal")
        told = [getattr(self, name) for name in _SHARES]
        if {share is None for share in told} != {self.method == "uncalibrated"}:
            raise ReceiptInvalid("only a proposal that isn't calibrated has no miss rate")
        shares = [share for share in (self.recall_ppm, *told) if share is not None]
        if any(natural(share, "a share of the proposal") > _MILLION for share in shares):
            raise ReceiptInvalid("a share of the proposal is more than the whole")
        if self.proposed > self.looked_at or self.dropped > self.proposed:
            raise ReceiptInvalid("the counts of the proposal don't fit each other")

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, value: Any) -> Proposal:
        """Read what ``to_plain`` wrote; raises ``ReceiptInvalid`` if it is something else."""
        return cls(**fields(value, list(cls.__slots__), "the proposal"))

    @property
    def sentence(self) -> str:
        """What it says, in plain words."""
        asked = f"recall asked {self.recall_ppm / 10_000:g} %"
        if self.miss_ppm is None or self.miss_low_ppm is None or self.miss_high_ppm is None:
            missed = "not calibrated"
        else:
            low, high = self.miss_low_ppm / 10_000, self.miss_high_ppm / 10_000
            by = {"exemplars": f" by {self.units} exemplars", "topics": f" by {self.units} topics"}
            missed = (
                f"estimated to miss {self.miss_ppm / 10_000:.1f} %, from {low:.1f} to {high:.1f}"
                + by.get(self.method, "")
            )
        return (
            f"the records were proposed by meaning ({asked}, {missed}; {self.proposed} of "
            f"{self.looked_at} proposed, {self.added} added and {self.dropped} dropped by hand)"
        )


@dataclass(frozen=True, slots=True)
class Frozen:
    """What was confirmed, and what it looked like then.

    Attributes:
        proposal: for the receipt.
        prints: keyed hash of each record, by id; see :func:`prints_of`.
        core: digest of what the memory proposed.
        seal: by the memory's key, that it was this memory; see :func:`seal_of`.
    """

    proposal: Proposal
    prints: Mapping[str, str] = field(repr=False)
    core: str = field(repr=False)
    seal: str = field(repr=False)


@runtime_checkable
class Proposes(Protocol):
    """Something that a forget takes as ``scope=``."""

    def frozen(self) -> tuple[Sequence[str], Frozen]:
        """Return the ids, and what was confirmed.

        Raises:
            InvalidScope: it wasn't, or holds nothing.
        """
        ...


def prints_of(records: Iterable[Record], content: Floats, salt: bytes) -> dict[str, str]:
    """Return a hash of each record and its vector, keyed, so that it tells nothing to others."""
    key = hmac.digest(salt, b"forgetnet scope prints v1", "sha256")
    return {
        record.id: hmac.digest(key, canonical_bytes(record, row.tobytes(), b""), "sha256")[
            :_PRINT_BYTES
        ].hex()
        for record, row in zip(records, content, strict=True)
    }


def seal_of(core: str, salt: bytes) -> str:
    """Return what only the memory with this salt can write under a proposal."""
    return hmac.digest(salt, b"forgetnet scope v1\0" + core.encode("ascii"), "sha256").hex()


def check_unchanged(store: Store, ids: Sequence[str], frozen: Frozen, salt: bytes) -> None:
    """Refuse a scope of another memory, or one whose records have changed since they were seen.

    Those that are gone are not found, which the plan says.

    Raises:
        InvalidScope: with what to do; nothing was deleted.
    """
    if not hmac.compare_digest(frozen.seal, seal_of(frozen.core, salt)):
        raise InvalidScope(
            "this scope was not proposed by this memory, or what was proposed has been altered; "
            "make it again with scope(). Nothing was deleted"
        )
    found = store.get(list(ids))
    live = [i for i in ids if i in found]
    if not live:
        return
    now = prints_of([found[i] for i in live], store.vectors(live)[0], salt)
    changed = [i for i in live if now[i] != frozen.prints.get(i)]
    if changed:
        shown = ", ".join(repr(i[:80]) for i in changed[:5])
        raise InvalidScope(
            f"{len(changed)} records of this scope have changed since it was proposed ({shown}); "
            "make it again with scope(), or drop them and add them again once you have looked at "
            "them. Nothing was deleted"
        )
