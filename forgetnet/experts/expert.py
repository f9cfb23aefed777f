"""The contract of an expert: how it learns from records, answers, and lets go of them.

An expert is a *kind*: settings and pure functions, no data. What it learnt is a ``State``, plain
arrays and plain JSON, a function of its settings, a seed and the set of records in a ``View``:
never of the order in which they came. So the twin that never saw a record can always be made, and
its state must have the same bytes. Dropping a state and destroying its files belongs to the model,
for an expert can't certify its own absence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.exact import Codes, digest_arrays
from forgetnet.record import canonical_json, id_hash

__all__ = [
    "AdditiveExpert",
    "Expert",
    "Label",
    "Predictor",
    "Probabilities",
    "Stage",
    "State",
    "Target",
    "Task",
    "View",
    "class_order",
    "config_digest",
    "make_view",
]

Task = Literal["classification", "regression"]
Label = str | int | float
"""A class: a string or a finite number; all labels of a model are of one kind."""
Target = Label | tuple[float, ...]
"""What a record teaches: a label, or one or several numbers."""
Probabilities = npt.NDArray[np.float64]


def class_order(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Return the distinct labels in canonical order: numbers by size, then strings."""
    return tuple(sorted(set(labels), key=lambda label: (isinstance(label, str), label)))


@dataclass(frozen=True, slots=True)
class View:
    """Records to learn from, in the order of the hash of their ids; :func:`make_view` makes one.

    Attributes:
        ids: n ids.
        codes: (n, d) int16 unit vectors in steps of 2^-12.
        targets: n labels, or an (n, t) float64 array for regression.
        keys: n subject keys, 64 characters 0 or 1 each (see ``forgetnet.shards``).
        hashes: n hashes of the ids, in ascending order.
    """

    ids: tuple[str, ...] = field(repr=False)
    codes: Codes = field(repr=False)
    targets: tuple[Label, ...] | npt.NDArray[np.float64] = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)
    hashes: tuple[bytes, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The n labels of a classification.

        Raises:
            InvalidRecord: the targets are numbers of a regression.
        """
        if isinstance(self.targets, np.ndarray):
            raise InvalidRecord("this expert classifies, and the targets are numbers")
        return self.targets

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The (n, t) numbers of a regression.

        Raises:
            InvalidRecord: the targets are labels.
        """
        if not isinstance(self.targets, np.ndarray):
            raise InvalidRecord("this expert does regression, and the targets are labels")
        return self.targets

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """The (n, d) vectors that the codes stand for, in float32, exactly."""
        return self.codes.astype(np.float32) * np.float32(2.0**-12)

    def take(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> View:
        """Return the records at ascending positions."""
        where = np.asarray(positions, np.int64)
        some = where.tolist()
        chosen = self.targets
        return View(
            tuple(self.ids[i] for i in some),
            self.codes[where],
            chosen[where] if isinstance(chosen, np.ndarray) else tuple(chosen[i] for i in some),
            tuple(self.keys[i] for i in some),
            tuple(self.hashes[i] for i in some),
        )

    def digest(self) -> str:
        """Hash what a state is a function of: ids, codes and targets, in canonical order."""
        total = hashlib.sha256(b"view\0")
        total.update(len(self).to_bytes(8, "little"))
        for known in self.hashes:
            total.update(known)
        total.update(digest_arrays({"codes": self.codes}).encode())
        if isinstance(self.targets, np.ndarray):
            total.update(digest_arrays({"targets": self.targets}).encode())
        else:
            total.update(canonical_json(list(self.targets)).encode())
        return total.hexdigest()


def make_view(
    ids: Sequence[str],
    codes: Codes,
    targets: Sequence[Label] | npt.NDArray[np.float64],
    keys: Sequence[str],
) -> View:
    """Put records into canonical order, whatever order they come in."""
    hashes = [id_hash(i) for i in ids]
    order = sorted(range(len(ids)), key=hashes.__getitem__)
    whole = View(
        tuple(ids),
        np.asarray(codes, np.int16),
        np.asarray(targets, np.float64) if isinstance(targets, np.ndarray) else tuple(targets),
        tuple(keys),
        tuple(hashes),
    )
    return whole.take(order)


@dataclass(frozen=True, slots=True)
class State:
    """What an expert learnt: named arrays, and plain JSON beside them.

    Attributes:
        tensors: arrays by name; whatever holds a record's influence is in here or in ``meta``.
        meta: JSON values: classes, counts, settings that answering needs.
    """

    tensors: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def digest(self) -> str:
        """Hash all of it: equal for equal states."""
        body = hashlib.sha256(canonical_json(dict(self.meta)).encode()).hexdigest()
        return hashlib.sha256(f"{body}{digest_arrays(self.tensors)}".encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """Serialise as safetensors, the JSON in its header."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}
        meta = canonical_json(dict(self.meta))
        return bytes(safetensors.numpy.save(arrays, metadata={"meta": meta}))

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            StoreCorrupt: these aren't the bytes of a state.
        """
        try:
            length = int.from_bytes(data[:8], "little")
            head = json.loads(data[8 : 8 + length])
            meta = json.loads(head["__metadata__"]["meta"])
            return cls(safetensors.numpy.load(data), meta)
        except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise StoreCorrupt("these bytes are no state of an expert; restore the file") from error


@dataclass(frozen=True, slots=True)
class Stage:
    """Which slice of a leaf's training this is: ``index`` of ``count``, from 0."""

    index: int = 0
    count: int = 1


class Predictor(Protocol):
    """A state made ready to answer."""

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels that it knows, in canonical order; empty for regression."""
        ...

    @property
    def exact(self) -> bool:
        """Whether the answers are those of the state, or of an update that awaits its solve."""
        ...

    def __call__(self, codes: Codes) -> Probabilities:
        """Map (n, d) codes to (n, classes) probabilities, or to (n, t) numbers."""
        ...


@runtime_checkable
class Expert(Protocol):
    """One kind of expert; immutable, cheap to copy, and picklable for work in other processes."""

    @property
    def name(self) -> str:
        """A short constant name, such as ``ridge``: part of file names and receipts."""
        ...

    @property
    def influence(self) -> Influence:
        """``ADDITIVE``, ``ISOLATED`` or ``LOCAL``: the contract suite holds it to this."""
        ...

    @property
    def task(self) -> Task:
        """Classification or regression."""
        ...

    def config(self) -> Mapping[str, Any]:
        """Return the settings that the state depends on, as JSON values."""
        ...

    def fit(
        self, view: View, seed: int, start: State | None = None, stage: Stage = Stage()
    ) -> State:
        """Learn from the records of a view, at least one.

        Equal settings, seed, start and stage and an equal view give equal bytes, in any process.

        Args:
            view: the records; of an ISOLATED expert in slices, those of all slices up to this.
            seed: of this leaf alone, 63 bits.
            start: the state after the slice before, with all that resuming needs.
            stage: which slice this is; an expert that can't resume leaves it alone.

        Raises:
            InvalidRecord: there is nothing to learn from, or the targets are of another task.
        """
        ...

    def prepare(self, state: State) -> Predictor:
        """Make a state ready to answer."""
        ...


@runtime_checkable
class AdditiveExpert(Expert, Protocol):
    """An expert whose state is a sum over records, in exact integers."""

    def empty(self) -> State:
        """Return the state of no records, which is also what is left when all were expelled."""
        ...

    def absorb(self, state: State, view: View) -> State:
        """Add records; the state that was given is used up."""
        ...

    def expel(self, state: State, view: View) -> State:
        """Subtract records that were absorbed; the state that was given is used up.

        Raises:
            InvalidRecord: they can't have been absorbed: a count would fall below zero.
        """
        ...

    def bridge(self, before: Predictor, view: View) -> Predictor | None:
        """Return a predictor without the records of the view at once, before ``prepare`` is done.

        It answers as the state without them up to rounding, and says ``exact=False``; None where
        there is no quicker way than ``prepare``.
        """
        ...


def config_digest(expert: Expert) -> str:
    """Hash the kind, task and settings of an expert."""
    body = {"name": expert.name, "task": expert.task, "config": dict(expert.config())}
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()

