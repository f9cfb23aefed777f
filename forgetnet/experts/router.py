"""Routers: which leaf learns from a record, and how much each leaf has a say in an answer.

A router may know public data and constants only, and what it says of a record may depend on the
set of live records alone. By subject is the default: one subject lies in one leaf, so that a
request retrains one expert; averaged, such experts lose 0.2 points when one is dropped, where
topic experts lose their topic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.exact import Codes
from forgetnet.experts.public import PublicCorpus
from forgetnet.shards import KEY_BITS

__all__ = ["Router", "SubjectRouter", "TopicRouter"]

Weights = npt.NDArray[np.float64]


@runtime_checkable
class Router(Protocol):
    """Where records go, and who answers."""

    @property
    def name(self) -> str:
        """A short constant name."""
        ...

    def config(self) -> Mapping[str, Any]:
        """Return the settings as JSON values, with the digest of what was chosen on what."""
        ...

    def keys(self, keys: Sequence[str], codes: Codes) -> list[str]:
        """Return the places of n records in the trie.

        Args:
            keys: their n subject keys.
            codes: their (n, d) codes; all live records of a subject must be among them.
        """
        ...

    def weights(self, codes: Codes, leaves: Sequence[str]) -> Weights:
        """Return (n, leaves) weights of the leaves for n queries; rows that aren't 0 sum to 1."""
        ...


@dataclass(frozen=True)
class SubjectRouter:
    """By subject: the leaf of its key; every leaf answers every query with equal weight."""

    name: str = "subject"

    def config(self) -> Mapping[str, Any]:
        """Return nothing: there is nothing to set."""
        return {}

    def keys(self, keys: Sequence[str], codes: Codes) -> list[str]:
        """Return the subject keys themselves."""
        return list(keys)

    def weights(self, codes: Codes, leaves: Sequence[str]) -> Weights:
        """Return equal weights."""
        return np.full((len(codes), len(leaves)), 1.0 / max(1, len(leaves)))


@dataclass(frozen=True)
class TopicRouter:
    """By the nearest of some public anchors, a subject's records together or each by itself.

    The first bits of a key name the anchor, the others are the subject's. A query asks the leaves
    of its nearest anchors, weighted equally.

    Attributes:
        anchors: public vectors, one a topic; at most 4,096.
        by: ``record`` sends each record to its own nearest anchor, ``subject`` all of a subject's
            to the anchor nearest to the sum of their codes, which is an exact integer sum.
        top: how many anchors a query asks.
    """

    anchors: PublicCorpus
    by: Literal["record", "subject"] = "record"
    top: int = 4
    name: str = "topic"

    def __post_init__(self) -> None:
        if not 1 <= len(self.anchors.vectors) <= 4096 or self.top < 1:
            raise InvalidRecord("a topic router takes 1 to 4,096 anchors, and asks at least one")
        if self.by not in {"record", "subject"}:
            raise InvalidRecord("by= is 'record' or 'subject'")

    @property
    def _bits(self) -> int:
        return max(1, (len(self.anchors.vectors) - 1).bit_length())

    def config(self) -> Mapping[str, Any]:
        """Return the settings and what the anchors are."""
        source, digest = self.anchors.source, self.anchors.digest()
        return {"by": self.by, "top": self.top, "anchors": source, "digest": digest}

    def _scores(self, sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return exact inner products with the anchors."""
        wide: npt.NDArray[np.int64] = sums @ self.anchors.codes.astype(np.int64).T
        return wide

    def keys(self, keys: Sequence[str], codes: Codes) -> list[str]:
        """Put the bits of the anchor before the bits of the subject."""
        sums = codes.astype(np.int64)
        if self.by == "subject":
            names, owner = np.unique(np.array(keys), return_inverse=True)
            totals = np.zeros((len(names), sums.shape[1]), np.int64)
            np.add.at(totals, owner, sums)
            sums = totals[owner]
        nearest = self._scores(sums).argmax(axis=1)  # ties go to the first anchor
        width = self._bits
        return [f"{a:0{width}b}{key}"[:KEY_BITS] for a, key in zip(nearest, keys, strict=True)]

    def weights(self, codes: Codes, leaves: Sequence[str]) -> Weights:
        """Return equal weights for the leaves of each query's nearest anchors."""
        scores = self._scores(codes.astype(np.int64))
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, : self.top]
        width = self._bits
        names = [f"{a:0{width}b}" for a in range(scores.shape[1])]
        touches = np.array(
            [[name.startswith(leaf[:width]) for leaf in leaves] for name in names], np.float64
        ).reshape(len(names), len(leaves))
        asked = (touches[nearest].sum(axis=1) > 0).astype(np.float64)
        total = asked.sum(axis=1, keepdims=True)
        found: Weights = asked / np.maximum(total, 1.0)
        return found
