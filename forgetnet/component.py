"""What every part of a model must say: how it holds a record's influence, and how it lets go.

A component is anything that private data may live on in: a store, an index, a prototype, an
expert, a head. ``forget`` never needs to know more of it than this.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Component", "Influence", "Outcome", "Status"]


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


class Status(StrEnum):
    """Four different words, never mixed up."""

    ERASED = "erased"
    NOT_FOUND = "not_found"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one component did with a request: a status, how many entries, and a plain sentence."""

    status: Status
    count: int
    detail: str


class Component(Protocol):
    """Anything that can hold a record's influence."""

    @property
    def influence(self) -> Influence:
        """How it holds what it saw."""
        ...

    def holds(self, ids: Collection[str]) -> int:
        """Count the records of ``ids`` that it holds."""
        ...

    def forget(self, ids: Collection[str]) -> Outcome:
        """Let go of ``ids``, bytes and all."""
        ...

    def digest(self) -> str:
        """Hash the state that answers: equal for equal sets of live records."""
        ...
