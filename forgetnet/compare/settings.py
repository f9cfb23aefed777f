"""What is compared on: a model, its recipe, data of which a part is to be forgotten.

Knows nothing of methods, measures or tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from forgetnet.unlearn import Recipe, Task

__all__ = ["PROVING", "TUNED_ON", "Material", "Records", "Setting", "joined", "owners"]

PROVING = (0, 1, 2, 3, 4)
"""The seeds of a comparison, unless others are given."""
TUNED_ON = 100
"""The seed whose data the methods' settings were chosen on; no comparison uses it by default."""


@dataclass(frozen=True)
class Records:
    """A data set as a memory takes it.

    Attributes:
        inputs: n texts, or (n, d) vectors.
        answers: n labels.
        people: whose each is.
        fallback: (n,) probabilities of the right answer by what never saw private data: guessing,
            or a public model.
        tokens: (n,) labelled tokens of each; 1 where there are none.
    """

    inputs: Any = field(repr=False)
    answers: Sequence[str] = field(repr=False)
    people: Sequence[str] = field(repr=False)
    fallback: npt.NDArray[np.float64] = field(repr=False)
    tokens: npt.NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True)
class Material:
    """One draw of a setting's data: each side by name, as the task takes it.

    Sides are ``forget`` and ``retain``, which are learnt; ``unseen``, like the forget set and never
    learnt; ``test``, what has to go on working; and ``paraphrase`` where there is one: the forget
    set asked for in other words.

    Attributes:
        sides: data sets by name.
        records: the same as records, for memories.
        alternatives: other answers to the forget set, in its order, for methods that want some.
    """

    sides: Mapping[str, Any] = field(repr=False)
    records: Mapping[str, Records] = field(repr=False)
    alternatives: Any = field(default=None, repr=False)

    def whole(self) -> Any:
        """Return retain and forget together: what the original learnt."""
        return joined(self.sides["retain"], self.sides["forget"])


@dataclass(frozen=True)
class Setting:
    """One comparison.

    Attributes:
        name: of data and model.
        request: what is asked to be forgotten.
        about: both in a sentence, for readers.
        task: knows losses.
        build: makes a fresh model.
        recipe: trains it.
        draw: makes the data of a seed.
        encoder: of the records, for memories.
        methods: settings of unlearners by name, chosen on :data:`TUNED_ON` alone.
        linear: makes frozen features with a linear head called ``head``; for methods that are for
            linear models, None where there is none.
        traced: whether the original's training is recorded for methods that need it; it takes the
            size of the weights a step.
        cap: most records of a leaf, for experts.
        designs: which models by design take part, by name.
        member: makes one model of an ensemble, which maps inputs to bare logits; ``build`` by
            default.
    """

    name: str
    request: str
    about: str
    task: Task = field(repr=False)
    build: Callable[[], nn.Module] = field(repr=False)
    recipe: Recipe = field(repr=False)
    draw: Callable[[int], Material] = field(repr=False)
    encoder: str
    methods: Mapping[str, Mapping[str, Any]] = field(repr=False)
    linear: Callable[[], nn.Module] | None = field(default=None, repr=False)
    traced: bool = True
    cap: int = 128
    designs: tuple[str, ...] = ("memory", "ridge trunk", "experts")
    member: Callable[[], nn.Module] | None = field(default=None, repr=False)


def joined(first: Any, second: Any) -> Any:
    """Return two data sets as one, in this order."""
    if isinstance(first, tuple):
        return tuple(torch.cat([a, b]) for a, b in zip(first, second, strict=True))
    return [*first, *second]


def owners(count: int, people: int, seed: int) -> list[str]:
    """Make up whose records are: each belongs to one of some people, drawn alike."""
    drawn = np.random.default_rng([seed, 7]).integers(0, people, count)
    return [f"person {number}" for number in drawn]
