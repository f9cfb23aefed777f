"""An expert of any scikit-learn estimator on a list, trained on one leaf alone.

Its state is the fitted estimator as arrays and JSON, checked when it is made: the copy that is
read back must answer with the same bits. Knows nothing of files.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord, Unsupported, not_installed
from forgetnet.exact import Codes, digest_arrays
from forgetnet.experts.estimators import Arrays, decode, encode
from forgetnet.experts.expert import (
    Label,
    Predictor,
    Probabilities,
    Stage,
    State,
    Task,
    View,
    class_order,
)
from forgetnet.experts.pinned import mix, pinned

__all__ = ["SklearnExpert"]

_WHOLE = Stage()
_ROWS = 16
"""Answers are given for a multiple of rows: one row alone takes another kernel of BLAS."""


@dataclass(frozen=True, eq=False)
class SklearnExpert:
    """A scikit-learn estimator a leaf. Needs the extra ``learn``.

    Every ``random_state`` is set from the seed of the leaf and every ``n_jobs`` to 1. Labels
    become the numbers 0 to C - 1, so that no estimator holds them. Where an estimator has no
    ``predict_proba``, the softmax of its decision function answers, which is not calibrated.

    Attributes:
        estimator: an estimator or a pipeline, not fitted; ``estimators.KNOWN`` lists the classes.
        task: classification or regression.

    Raises:
        Unsupported: the estimator is none of those, or scikit-learn is missing.
    """

    estimator: Any = field(repr=False)
    task: Task = "classification"
    name: str = "sklearn"
    influence: Influence = Influence.ISOLATED

    def __post_init__(self) -> None:
        _version()
        encode(self.estimator, {})

    def config(self) -> Mapping[str, Any]:
        """Return the estimator's class and parameters."""
        arrays: Arrays = {}
        body = encode(self._fresh(0), arrays)
        return {"estimator": body, "arrays": digest_arrays(arrays)}

    def _fresh(self, seed: int, records: int | None = None) -> Any:
        """Return an unfitted copy, seeded, on one thread, and fit for so many records."""
        from sklearn.base import clone

        own = clone(self.estimator)
        for key, value in own.get_params(deep=True).items():
            last = key.rpartition("__")[2]
            if last == "random_state":
                own.set_params(**{key: mix(seed, key) % 2**32})
            elif last == "n_jobs" and value is not None:
                own.set_params(**{key: 1})
            elif last == "algorithm" and value == "auto":
                own.set_params(**{key: "brute"})  # a k-d tree can't be written without pickle
            elif last == "n_neighbors" and records is not None:
                own.set_params(**{key: min(value, records)})
        return own

    def fit(
        self, view: View, seed: int, start: State | None = None, stage: Stage = _WHOLE
    ) -> State:
        """Fit the estimator to a leaf; a leaf of one class is not trained and answers 1 for it.

        Raises:
            InvalidRecord: no records, targets of another task, or the estimator refuses them.
            Unsupported: its state can't be written, or doesn't come back the same.
        """
        if not len(view):
            raise InvalidRecord("there is nothing to learn from: the view has no records")
        wanted: npt.NDArray[Any]
        classes: tuple[Label, ...] = ()
        if self.task == "regression":
            wanted = view.values[:, 0] if view.values.shape[1] == 1 else view.values
        else:
            classes = class_order(view.labels)
            place = {label: n for n, label in enumerate(classes)}
            wanted = np.array([place[label] for label in view.labels])
        meta: dict[str, Any] = {"classes": list(classes), "sklearn": _version()}
        if len(classes) == 1:
            return State({}, meta)
        with pinned(), _one_thread():
            fitted = self._fresh(seed, len(view))
            try:
                fitted.fit(view.vectors, wanted)
            except ValueError as error:
                kind = type(fitted).__name__
                raise InvalidRecord(f"{kind} can't learn from the records of a leaf") from error
            arrays: Arrays = {}
            meta["estimator"] = encode(fitted, arrays)
            state = State(arrays, meta)
            again = self.prepare(State.from_bytes(state.to_bytes()))
            if not np.array_equal(_Predictor(classes, fitted)(view.codes), again(view.codes)):
                kind = type(fitted).__name__
                raise Unsupported(f"the state of a {kind} doesn't come back the same when read")
        return state

    def prepare(self, state: State) -> Predictor:
        """Make the fitted estimator again.

        Raises:
            Unsupported: another version of scikit-learn wrote it, whose insides may differ.
        """
        classes = tuple(state.meta["classes"])
        if "estimator" not in state.meta:
            return _Predictor(classes, None)
        written, here = state.meta["sklearn"], _version()
        if written.split(".")[:2] != here.split(".")[:2]:
            raise Unsupported(
                f"scikit-learn {written} wrote this estimator and this is {here}; install that "
                "version, or train anew"
            )
        return _Predictor(classes, decode(state.meta["estimator"], state.tensors))


def _version() -> str:
    try:
        return importlib.metadata.version("scikit-learn")
    except importlib.metadata.PackageNotFoundError as error:
        raise not_installed("scikit-learn", "learn") from error


@contextmanager
def _one_thread() -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class _Predictor:
    classes: tuple[Label, ...]
    fitted: Any
    exact: bool = True

    def __call__(self, codes: Codes) -> Probabilities:
        if self.fitted is None:
            return np.ones((len(codes), 1))
        if codes.shape[1] != self.fitted.n_features_in_:
            raise InvalidRecord(
                f"the expert takes {self.fitted.n_features_in_} dimensions, not {codes.shape[1]}"
            )
        whole = np.zeros((max(1, -(-len(codes) // _ROWS)) * _ROWS, codes.shape[1]), np.float32)
        whole[: len(codes)] = codes.astype(np.float32) * np.float32(2.0**-12)
        if not self.classes:
            values = np.asarray(self.fitted.predict(whole), np.float64)
            return values.reshape(len(whole), -1)[: len(codes)]
        if hasattr(self.fitted, "predict_proba"):
            # Some answer in float32, whose sum is 1 only nearly.
            return _normal(np.asarray(self.fitted.predict_proba(whole), np.float64)[: len(codes)])
        score = np.asarray(self.fitted.decision_function(whole), np.float64)[: len(codes)]
        if score.ndim == 1:  # of the second of two classes
            score = np.stack([np.zeros(len(score)), score], axis=1)
        return _normal(np.exp(score - score.max(axis=1, keepdims=True)))


def _normal(told: Probabilities) -> Probabilities:
    found: Probabilities = told / told.sum(axis=1, keepdims=True)
    return found
