"""What every part of a model must say: how it holds a record's influence, and how it lets go.

A component is anything that private data may live on in: a store, an index, a prototype, an
expert, a head. ``forget`` never needs to know more of it than this.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from forgetnet.store import Store

__all__ = ["EXACT", "Attachable", "Component", "Cost", "Finding", "Influence", "Standing"]


class Influence(StrEnum):
    """Five ways to hold data, by how they forget it."""

    FROZEN = "frozen"
    """Never saw private data; there is nothing to do."""
    LOCAL = "local"
    """Rows; remove the row, then its bytes."""
    ADDITIVE = "additive"
    """Exact integer sums; subtract what was added."""
    ISOLATED = "isolated"
    """Trained on one shard; drop it, retrain it without."""
    ENTANGLED = "entangled"
    """Shared weights; a parametric unlearner, then an audit."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at a component found, by other code than that which let go.

    Attributes:
        check: what was done, in a few constant words.
        hits: signs of the forgotten records that were found.
        expected: things that the same look had to find beforehand.
        found: how many of these it found; fewer means that it is blind.
        opaque: files that it couldn't read.
        files: files read.
        bytes_read: bytes read.
    """

    check: str
    hits: int
    expected: int = 0
    found: int = 0
    opaque: int = 0
    files: int = 0
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What letting go would cost a component.

    Attributes:
        action: what would be done, in a few constant words.
        records: records of the scope that it holds.
        retrained: records that would be learnt from once more.
        files: files that would be written anew.
        bytes: their size now.
        share: of a full training, from 0 to 1.
        passes: examples that would go through a model, forward and backward.
        guarantee: what it would be worth: ``exact``, ``certified`` or ``audited``.
    """

    action: str
    records: int
    retrained: int = 0
    files: int = 0
    bytes: int = 0
    share: float = 0.0
    passes: int = 0
    guarantee: str = "exact"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the forgetting of a component is worth, as it stands.

    Attributes:
        guarantee: ``exact`` (bit for bit the twin that never saw the records), ``certified``, or
            ``audited``: changed by a method that proves nothing, and looked at.
        method: how it let go, in a few constant words; empty for what its influence says.
        remark: a constant sentence on what that rests on.
        withheld: whether it answers nothing, since it could not let go.
    """

    guarantee: str = "exact"
    method: str = ""
    remark: str = ""
    withheld: bool = False


EXACT = Standing()


class Component(Protocol):
    """Anything that can hold a record's influence, beside the store itself.

    A forget asks in this order: ``holds`` and ``before`` while the records are still stored,
    ``hide`` as soon as they are unreachable there, then ``forget``, then ``after``. All but
    ``before`` may be asked again after a crash, by a process that knows the ids and the note only.
    """

    @property
    def name(self) -> str:
        """A short constant name, part of receipts."""
        ...

    @property
    def influence(self) -> Influence:
        """How it holds what it saw."""
        ...

    @property
    def behind(self) -> bool:
        """Whether it hides something that it hasn't let go of yet."""
        ...

    @property
    def standing(self) -> Standing:
        """What its forgetting is worth, as it stands."""
        ...

    def holds(self, ids: Collection[str]) -> int:
        """Count the records of ``ids`` that it holds."""
        ...

    def cost(self, ids: Collection[str]) -> Cost:
        """Predict what ``forget`` would do, and change nothing."""
        ...

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Return a note of what ``after`` needs to know, as JSON values without plain text.

        Asked while the records are still stored; quick, for a request waits for it.
        """
        ...

    def hide(self, ids: Collection[str]) -> None:
        """Answer without ``ids`` from now on; at once, and in memory only."""
        ...

    def forget(self, ids: Collection[str]) -> None:
        """Let go of ``ids``, bytes and all, durably; doing it twice does no harm.

        Raises:
            ForgetNetError: it could not, and answers without what it could not let go of.
        """
        ...

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Do ahead what ``after`` takes long for in full; no lock is held meanwhile.

        What has changed by the time of ``after`` is done anew there.
        """
        ...

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Look for what is left of ``ids``, by other means than those that let go.

        Args:
            ids: the records that are gone.
            note: what ``before`` returned.
            full: look at everything, however long it takes.
        """
        ...

    def digest(self) -> str:
        """Hash the state that answers: equal for equal sets of live records."""
        ...


class Attachable(Component, Protocol):
    """A component of its own that learnt from a memory, and is attached to it when that opens."""

    @property
    def identity(self) -> str:
        """A random name of this very model, wherever it lies; empty before it is attached."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where its files are; None in memory."""
        ...

    @property
    def taught(self) -> bool:
        """Whether it learnt from records of some memory."""
        ...

    def attach(self, store: Store, lock: threading.RLock) -> None:
        """Follow a store from now on; ``lock`` is held while its records change.

        Raises:
            StoreError: it is attached to a store already, or its folder can't be written.
        """
        ...

    def settled(self) -> None:
        """Catch up with what went while it was not attached; no forget is owed any more."""
        ...

    def detach(self) -> None:
        """Let go of the store; doing it twice does no harm."""
        ...
