"""The half of a model that answers: predict, explain, search.

Changes nothing. Answers come from what is served at that moment and wait for no training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.embed import embed
from forgetnet.encode import Encoder
from forgetnet.errors import InvalidRecord
from forgetnet.experts.expert import Label
from forgetnet.given import text_of
from forgetnet.model.core import Core
from forgetnet.model.inputs import to_items
from forgetnet.model.serve import Share
from forgetnet.model.stack import Stack
from forgetnet.opening import Parts
from forgetnet.reader import Reader
from forgetnet.record import Record
from forgetnet.store import Floats

__all__ = ["Answering", "Explanation"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who had which part in one answer: taken from the computation itself.

    Attributes:
        answer: the label, or the number or numbers.
        confidence: its probability; None for a regression.
        shares: parts and leaves, with their weights and what each said, largest first.
        neighbours: records that the memory answered from: id, cosine, and weight in its share.
        classes: labels of the columns of what each share said.
        exact: whether nothing was masked, and nobody knows what may not be searched, so that the
            answer is the never-seen twin's.
    """

    answer: Any
    confidence: float | None
    shares: tuple[Share, ...]
    neighbours: tuple[tuple[str, float, float], ...] = field(repr=False)
    classes: tuple[Label, ...] = field(repr=False)
    exact: bool


class Answering:
    """A model's answers; :class:`forgetnet.ForgetNet` adds the verbs that change it.

    Args:
        parts: of the memory.
        core: the experts.
        reader: the memory, for reading.
        progress: show a bar on long work, when the output is a terminal.
    """

    def __init__(self, parts: Parts, core: Core, reader: Reader, *, progress: bool) -> None:
        self._parts = parts
        self._core = core
        self._reader = reader
        self._progress = progress

    @property
    def encoder(self) -> Encoder:
        """The frozen encoder."""
        return self._parts.encoder

    @property
    def stack(self) -> Stack:
        """What the model is made of: its parts, their weights, the cap and the router."""
        return self._core.stack

    @property
    def memory(self) -> Reader:
        """The memory, for reading: search, get, count; changes go through the model."""
        return self._reader

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The labels of live records, in canonical order."""
        return np.array(self._core.serving.classes)

    def _vectors(self, X: Any) -> Floats:
        items = to_items(X, self.encoder)
        if isinstance(items, np.ndarray):
            return embed(self.encoder, [Record(text="") for _ in items], items, progress=False)
        records = [item if isinstance(item, Record) else Record(text=item) for item in items]
        return embed(self.encoder, records, None, progress=self._progress)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return (n, classes) probabilities, columns in the order of ``classes_``.

        Raises:
            InvalidRecord: the model does regression, has learnt nothing, or X can't be read.
        """
        if self._core.stack.task != "classification":
            raise InvalidRecord("a regression has no probabilities; use predict")
        return self._core.answers(self._vectors(X))[1]

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return n labels, or (n,) or (n, t) numbers.

        Raises:
            InvalidRecord: the model has learnt nothing, or X can't be read.
        """
        serving, answers = self._core.answers(self._vectors(X))
        if self._core.stack.task == "regression":
            return answers[:, 0] if answers.shape[1] == 1 else answers
        found: npt.NDArray[Any] = np.array(serving.classes)[answers.argmax(axis=1)]
        return found

    def explain(self, query: Any) -> Explanation:
        """Say which experts and which records had a part in the answer to one query.

        Raises:
            InvalidRecord: there is more than one query, or the model has learnt nothing.
        """
        vectors = self._vectors(query)
        if len(vectors) != 1:
            raise InvalidRecord(f"explain takes one query, not {len(vectors)}")
        with self._core.shared.lock:
            serving, mixture, near = self._core.answer(vectors)
            spoilt = self._core.knows_hidden()
        stack = self._core.stack
        answers = mixture.answers[0]
        best = int(answers.argmax())
        label: Any = serving.classes[best] if serving.classes else answers.tolist()
        chosen = stack.memory.chosen(near[0]) if stack.memory and near else []
        return Explanation(
            label,
            float(answers[best]) if serving.classes else None,
            tuple(mixture.explain(0)),
            tuple((row.id, row.similarity, weight) for row, weight in chosen),
            serving.classes,
            serving.exact and not spoilt,
        )

    def teachers(self, part: str, leaf: str = "") -> list[str]:
        """Return the ids of the records that a part, or one leaf of it, learnt from.

        Raises:
            InvalidRecord: the model has no such part or leaf.
        """
        text_of(part, "part", InvalidRecord)
        text_of(leaf, "leaf", InvalidRecord)
        if (part, leaf) not in self._core.shelf.slots:
            raise InvalidRecord(f"part {part[:40]!r} has learnt nothing in leaf {leaf[:80]!r}")
        return sorted(self._core.roster.members(leaf))

    def count(self) -> int:
        """Count the records that the model has learnt from."""
        return len(self._core.roster)
