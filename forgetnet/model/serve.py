"""What a model serves: predictors by part and leaf, and how their answers are mixed.

A ``Serving`` is immutable: a change makes another and swaps it in, so an answer never mixes two
states. Probabilities are summed anew over what is there, in canonical order, never subtracted.
Knows nothing of files, nor of how predictors came to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.exact import Codes
from forgetnet.experts.expert import Label, Predictor
from forgetnet.experts.router import Router, SubjectRouter

__all__ = ["MEMORY", "Mixture", "Serving", "Share"]

MEMORY = "memory"
"""The name of the part that answers from the memory's own rows."""

Answers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one answer came from one part, or from one leaf of it.

    Attributes:
        part: the part's name.
        leaf: the leaf of the shard map; empty for a part without leaves.
        weight: its share, from 0 to 1; the shares of an answer sum to 1.
        answer: what it said: (classes,) probabilities or (t,) numbers.
    """

    part: str
    leaf: str
    weight: float
    answer: Answers = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Answers to n queries, and for each of them who had which part in it."""

    answers: Answers
    shares: tuple[tuple[str, str, npt.NDArray[np.float64], Answers], ...]

    def explain(self, row: int) -> list[Share]:
        """List the shares of one answer, largest first."""
        found = [
            Share(part, leaf, float(weight[row]), answer[row])
            for part, leaf, weight, answer in self.shares
            if weight[row] > 0.0
        ]
        return sorted(found, key=lambda share: (-share.weight, share.part, share.leaf))


@dataclass(frozen=True, slots=True)
class Serving:
    """Everything that answers now.

    Attributes:
        classes: labels of the answer's columns; empty for a regression.
        width: columns of the answer.
        weights: of the parts that there are, by name; ``memory`` for the rows themselves.
        sums: predictors of the additive parts; one that is absent is being solved anew.
        leaves: predictors of the isolated parts, by leaf.
        masked: by part, how many of its leaves await retraining.
        router: says which leaves answer what.
    """

    classes: tuple[Label, ...] = ()
    width: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    sums: Mapping[str, Predictor] = field(default_factory=dict)
    leaves: Mapping[str, Mapping[str, Predictor]] = field(default_factory=dict)
    masked: Mapping[str, int] = field(default_factory=dict)
    router: Router = field(default_factory=SubjectRouter)

    @property
    def exact(self) -> bool:
        """Whether nothing is masked and no answer awaits a solve."""
        wanted = [name for name in self.weights if name not in self.leaves and name != MEMORY]
        solved = all(name in self.sums and self.sums[name].exact for name in wanted)
        return solved and not any(self.masked.values())

    def can_answer(self, *, memory: bool) -> bool:
        """Tell whether any part with weight is there."""
        named = set(self.sums) | {name for name, by in self.leaves.items() if by}
        if memory:
            named.add(MEMORY)
        return any(self.weights.get(name, 0.0) > 0.0 for name in named)

    def mix(self, codes: Codes, remembered: Answers | None) -> Mixture:
        """Answer (n, d) codes.

        Args:
            codes: the queries.
            remembered: (n, columns) answers of the memory; None where it has none.
        """
        total = np.zeros((len(codes), self.width))
        norm = np.zeros(len(codes))
        shares: list[tuple[str, str, npt.NDArray[np.float64], Answers]] = []
        spare = np.zeros(len(codes))

        def include(part: str, leaf: str, weight: npt.NDArray[np.float64], said: Answers) -> None:
            nonlocal total, norm
            total = total + weight[:, None] * said
            norm = norm + weight
            shares.append((part, leaf, weight, said))

        for name in sorted(self.sums):
            weight = np.full(len(codes), self.weights.get(name, 0.0))
            include(name, "", weight, self._columns(self.sums[name], codes))
        for name in sorted(self.leaves):
            by = self.leaves[name]
            present = sorted(by)
            all_of = self.weights.get(name, 0.0)
            routed = self.router.weights(codes, present)
            if present and not self.sums and remembered is None:
                # Where no asked leaf is there, and nobody else either, all of them answer.
                routed[routed.sum(axis=1) == 0.0] = 1.0 / len(present)
            part = len(by) / max(1, len(by) + self.masked.get(name, 0))
            spare += all_of * (1.0 - part * (routed.sum(axis=1) > 0.0))
            for column, leaf in enumerate(present):
                said = self._columns(by[leaf], codes)
                include(name, leaf, all_of * part * routed[:, column], said)
        if remembered is not None and self.weights.get(MEMORY, 0.0) > 0.0:
            # What a masked leaf would have said, the memory may know: it holds its other records.
            include(MEMORY, "", self.weights[MEMORY] + spare, remembered)
        scale = np.maximum(norm, np.finfo(np.float64).tiny)
        scaled = tuple((part, leaf, weight / scale, said) for part, leaf, weight, said in shares)
        return Mixture(total / scale[:, None], scaled)

    def _columns(self, predictor: Predictor, codes: Codes) -> Answers:
        """Put a predictor's answers into this serving's columns."""
        said = predictor(codes)
        if not self.classes or predictor.classes == self.classes:
            return said
        column = {label: n for n, label in enumerate(self.classes)}
        wide = np.zeros((len(codes), self.width))
        known = [(n, column[label]) for n, label in enumerate(predictor.classes) if label in column]
        if known:
            from_, to = zip(*known, strict=True)
            wide[:, list(to)] = said[:, list(from_)]
        return wide
