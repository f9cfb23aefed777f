"""ForgetNet as scikit-learn estimators: fit, predict, cross-validate, and forget.

Knows nothing of how a model learns. Whose data a row is travels beside it as metadata:
``clf.set_fit_request(subjects=True, ids=True)``.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from forgetnet.encode import Encoder, TableEncoder
from forgetnet.encode.rows import GUESSED
from forgetnet.encode.tables import read_table
from forgetnet.errors import InvalidRecord, Unsupported, not_installed
from forgetnet.experts import NeighbourExpert, RidgeTrunk
from forgetnet.experts.expert import Expert, Task
from forgetnet.experts.router import Router
from forgetnet.forget.plan import Plan
from forgetnet.forget.receipt import Receipt
from forgetnet.model.answering import Explanation
from forgetnet.model.portable import PortableNet
from forgetnet.model.stack import CAP

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    raise not_installed("scikit-learn", "learn") from error

__all__ = ["ForgetNetClassifier", "ForgetNetRegressor"]

_FEATURES = 1024
_TAKEN = "the folder at path= holds records already; add to them with partial_fit"
_SECRET_BYTES = 32
_ID_BYTES = 16

Subjects = Sequence[str | None] | npt.NDArray[Any] | None
Ids = Sequence[str] | npt.NDArray[Any] | None


class _Forgets(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """What the classifier and the regressor have in common."""

    _task: ClassVar[Task]
    net_: PortableNet

    def __init__(
        self,
        experts: Sequence[Expert | NeighbourExpert] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        cap: int = CAP,
        router: Router | None = None,
        encoder: str | Encoder | None = None,
        path: str | Path | None = None,
        key: bytes | str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.experts = experts
        self.weights = weights
        self.cap = cap
        self.router = router
        self.encoder = encoder
        self.path = path
        self.key = key
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = self._task == "regression"
        tags.input_tags.allow_nan = self.encoder != "vectors"  # a missing value has its own code
        return tags

    # -- learning

    def fit(self, X: Any, y: Any, *, subjects: Subjects = None, ids: Ids = None) -> Self:
        """Learn n rows, and nothing of what was learnt before.

        Args:
            X: (n, c) numbers, NaN for missing ones; a data frame, also with columns of other
                kinds; vectors, texts or rows, as ``encoder`` says.
            y: n labels; for a regression (n,) or (n, t) numbers.
            subjects: whose data each row is; None for a row that is nobody's.
            ids: names of the rows; random ones by default, kept in ``ids_``.

        Raises:
            InvalidRecord: a row can't be learnt, or the folder at ``path`` holds records already.
            ValueError: X or y isn't fit for learning, as scikit-learn has it.
        """
        rows, y = self._read(X, y, reset=True)
        if hasattr(self, "net_"):
            if self.net_.count() and self._settings["path_or_url"] == self.path:
                raise InvalidRecord(_TAKEN)
            self.net_.close()
        self._make(rows)
        if self.net_.memory.count():
            self.net_.close()
            del self.net_
            raise InvalidRecord(_TAKEN)
        return self._learn(rows, y, subjects, ids)

    def _partial(self, X: Any, y: Any, subjects: Subjects, ids: Ids) -> Self:
        new = not hasattr(self, "net_")
        rows, y = self._read(X, y, reset=new)
        if new:
            self._make(rows)
        return self._learn(rows, y, subjects, ids)

    def _learn(self, rows: Any, y: npt.NDArray[Any], subjects: Subjects, ids: Ids) -> Self:
        names = _names(ids)
        if names is None and self._random is not None:
            names = [self._random.bytes(_ID_BYTES).hex() for _ in range(len(y))]
        self.ids_: list[str] = self.net_.partial_fit(rows, y, subjects=_names(subjects), ids=names)
        return self

    def _make(self, rows: Any) -> None:
        """Open the model with the parameters as they are now."""
        random = None if self.random_state is None else check_random_state(self.random_state)
        key = self.key
        if key is None and self.path is None:
            key = (secrets.token_bytes if random is None else random.bytes)(_SECRET_BYTES)
        self._random = random
        self._settings: dict[str, Any] = {
            "path_or_url": "memory://" if self.path is None else self.path,
            "encoder": self._encoder_of(rows),
            "task": self._task,
            "experts": _experts(self._task) if self.experts is None else self.experts,
            "weights": self.weights,
            "cap": self.cap,
            "router": self.router,
            "key": key,
            "chosen": () if self.encoder is not None or isinstance(rows, dict) else (GUESSED,),
        }
        self._open()

    def _open(self) -> None:
        net = PortableNet.open(**self._settings, progress=False)
        self.net_ = cast("PortableNet", net)  # open makes what it is called on

    # -- reading

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> tuple[Any, Any]:
        """Return what the model reads, and checked targets."""
        told: dict[str, Any] = {} if y is None and not reset else {"y": y}
        if self.encoder == "vectors" or (self.encoder is None and not _is_mixed(X)):
            numeric = self._task == "regression"
            finite: bool | str = True if self.encoder == "vectors" else "allow-nan"
            checks = {"multi_output": True, "y_numeric": True} if numeric and told else {}
            found = validate_data(
                self, X, **told, reset=reset, ensure_all_finite=finite, **checks
            )
            X, y = found if told else (found, None)
            if self.encoder is None:
                names = getattr(self, "feature_names_in_", [f"x{n}" for n in range(X.shape[1])])
                X = {name: X[:, n] for n, name in enumerate(names)}
        else:
            X = _rows(X) if isinstance(X, Mapping) else X
            validate_data(self, X, **told, reset=reset, skip_check_array=True)
            if y is not None:
                check_consistent_length(X, y)
        if y is not None and self._task == "classification":
            y = column_or_1d(y, warn=True)
            check_classification_targets(y)
            self._kind = y.dtype if y.dtype.kind in "biufO" else None
            y = y.astype(np.int64) if y.dtype.kind == "b" else y  # experts know numbers and strings
        return X, None if y is None else np.asarray(y)

    def _encoder_of(self, rows: Any) -> str | Encoder:
        if self.encoder == "vectors":
            return f"vectors:{self.n_features_in_}"
        if self.encoder is not None:
            return self.encoder
        if isinstance(rows, dict):
            return TableEncoder(list(rows))
        numeric = [str(name) for name in rows.columns if _is_number(rows[name])]
        return TableEncoder(numeric, [str(n) for n in rows.columns if str(n) not in numeric])

    def _asked(self, X: Any) -> Any:
        check_is_fitted(self, "net_")
        return self._read(X, reset=False)[0]

    # -- forgetting

    def forget(
        self,
        *,
        subject: object = None,
        ids: Ids | str = None,
        reason: str | None = None,
        verify: Literal["auto", "touched", "full"] = "auto",
    ) -> Receipt:
        """Forget rows of a subject or by id, and return a signed receipt.

        Afterwards the estimator is bit for bit the one that was never given them, if the columns
        were declared (``encoder=TableEncoder(...)``) or are all of numbers; which columns of a
        frame hold numbers is otherwise read off the first rows, and stays, as the receipt says.
        See :meth:`forgetnet.ForgetNet.forget`, also for what is raised.
        """
        check_is_fitted(self, "net_")
        receipt = self.net_.forget(
            subject=_name(subject), ids=_names(ids), reason=reason, verify=verify
        )
        self.ids_ = [name for name in self.ids_ if self.net_.memory.get(name) is not None]
        return receipt

    def plan(self, *, subject: object = None, ids: Ids | str = None) -> Plan:
        """Return what a forget would take, from which part, and at what cost; change nothing."""
        check_is_fitted(self, "net_")
        return self.net_.plan(subject=_name(subject), ids=_names(ids))

    def explain(self, X: Any) -> Explanation:
        """Say which experts and which rows had a part in the answer to a single row."""
        return self.net_.explain(self._asked(X))

    def digest(self) -> str:
        """Hash everything that answers: equal to the twin's that never saw the rest."""
        check_is_fitted(self, "net_")
        return self.net_.digest()

    # -- copies

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        net = state.pop("net_", None)
        if net is None:
            return state
        if self._settings["path_or_url"] != "memory://":
            raise Unsupported(
                "this model lives in a folder, which has one owner; copy it with net_.save(folder)"
            )
        return {**state, "_packed": net.to_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        packed = state.pop("_packed", None)
        super().__setstate__(state)
        if packed is not None:
            self._open()
            self.net_.take_up(packed)


class ForgetNetClassifier(ClassifierMixin, _Forgets):  # type: ignore[misc] # scikit-learn has no types
    """A classifier that forgets exactly, as scikit-learn knows classifiers.

    By default a ridge trunk of 1,024 random features, and the memory of the rows: quick to fit and
    to forget. A column of numbers needs no scaling; nothing is learnt from how they are spread.
    A fitted one can be copied and pickled, as bytes of safetensors and JSON; the copy holds the
    rows and the key, and a forget doesn't reach it. One with a ``path`` can't.

    Args:
        experts: as in :meth:`forgetnet.ForgetNet.open`; add a ``TorchExpert`` for more accuracy.
        weights: of the parts by name.
        cap: most records of several subjects in a leaf.
        router: sends records to leaves; by subject by default.
        encoder: None for tables; ``vectors`` for embeddings; else as in ``ForgetNet.open``.
        path: a folder to keep the model in; by default it is in memory.
        key: as in ``ForgetNet.open``; random by default.
        random_state: makes key and ids repeatable; then the key is no secret.

    Attributes:
        net_: the model itself.
        classes_: the labels of live rows, in order; one that is forgotten entirely is gone.
        ids_: the ids of the rows that were learnt last, in their order, less what was forgotten.
        n_features_in_, feature_names_in_: of X.
    """

    _task: ClassVar[Task] = "classification"

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        *,
        subjects: Subjects = None,
        ids: Ids = None,
    ) -> Self:
        """Learn n more rows; the order of rows and calls makes no difference.

        Args:
            X: as in :meth:`fit`.
            y: as in :meth:`fit`.
            classes: labels that may come; one is answered once a live row has it.
            subjects: as in :meth:`fit`.
            ids: as in :meth:`fit`.

        Raises:
            InvalidRecord: as in :meth:`fit`, or a label is none of the classes.
        """
        if classes is not None and not np.isin(y, classes).all():
            raise InvalidRecord("y holds a label that is none of classes=")
        return self._partial(X, y, subjects, ids)

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The labels of live rows, in order."""
        return np.array(self.net_.classes_.tolist(), dtype=self._kind)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return (n, classes) probabilities, columns in the order of ``classes_``.

        Raises:
            InvalidRecord: everything was forgotten, or X can't be read.
        """
        rows = self._asked(X)
        return self.net_.predict_proba(rows)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return n labels.

        Raises:
            InvalidRecord: everything was forgotten, or X can't be read.
        """
        answers = self.predict_proba(X)
        found: npt.NDArray[Any] = self.classes_[answers.argmax(axis=1)]
        return found


class ForgetNetRegressor(RegressorMixin, _Forgets):  # type: ignore[misc] # scikit-learn has no types
    """A regressor that forgets exactly, as scikit-learn knows regressors.

    Arguments, attributes and copies are those of :class:`ForgetNetClassifier`, without classes.
    Targets are kept in steps of 2^-20, and must be smaller than 2^40.
    """

    _task: ClassVar[Task] = "regression"

    def partial_fit(
        self, X: Any, y: Any, *, subjects: Subjects = None, ids: Ids = None
    ) -> Self:
        """Learn n more rows; the order of rows and calls makes no difference.

        The arguments and what is raised are those of :meth:`fit`.
        """
        return self._partial(X, y, subjects, ids)

    def predict(self, X: Any) -> npt.NDArray[np.float64]:
        """Return (n,) or (n, t) numbers.

        Raises:
            InvalidRecord: everything was forgotten, or X can't be read.
        """
        rows = self._asked(X)
        return self.net_.predict(rows)


def _experts(task: Task) -> list[Expert | NeighbourExpert]:
    return [RidgeTrunk(features=_FEATURES, task=task), NeighbourExpert(task=task)]


def _is_number(column: Any) -> bool:
    dtype = getattr(column, "dtype", None)
    return getattr(dtype, "kind", "O") in "iuf" or bool(getattr(dtype, "is_numeric", bool)())


def _is_mixed(X: Any) -> bool:
    """Tell whether this is a data frame with columns that aren't numbers."""
    if hasattr(X, "column_names"):  # an Arrow table; scikit-learn reads it as an array
        return False
    return hasattr(X, "columns") and not all(_is_number(X[name]) for name in X.columns)


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return columns as rows, which scikit-learn can count."""
    table = read_table(columns)
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _name(given: object) -> str | None:
    """Return a subject or an id as a string, also where it is a number."""
    return None if given is None else str(given)


def _names(given: Any) -> list[Any] | None:
    """Return subjects or ids as strings; one that is missing stays None."""
    if given is None:
        return None
    return [given] if isinstance(given, str) else [_name(name) for name in given]
