"""What a model is given, as records: texts, vectors, records, rows of a table.

Knows nothing of experts. Everything is checked before anything is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.encode import Encoder
from forgetnet.errors import InvalidRecord
from forgetnet.model.roster import LABEL
from forgetnet.record import Record

__all__ = ["Inputs", "check_labelled", "to_items", "to_records"]

Inputs = (
    str | Record | Sequence[str] | Sequence[Record] | Sequence[Mapping[str, Any]] | npt.ArrayLike
)
"""Texts, records, rows as mappings, a data frame, or an (n, d) array of vectors."""


def to_items(X: Any, encoder: Encoder) -> list[str | Record] | npt.NDArray[np.float32]:
    """Return texts or records as a list, rows as their texts, vectors as an (n, d) array.

    Raises:
        InvalidRecord: it is none of these.
    """
    if isinstance(X, str | Record):
        return [X]
    rows = getattr(encoder, "to_texts", None)  # an encoder of rows reads them from their text
    if rows is not None and not _holds(X, str | Record):
        texts: list[str | Record] = list(rows(X))
        return texts
    if isinstance(X, Mapping):
        raise InvalidRecord("a single row or a table needs a table encoder: encoder=TableEncoder()")
    if isinstance(X, Iterable) and (not hasattr(X, "__array__") or _is_column_of_texts(X)):
        X = [str(item) if isinstance(item, np.str_) else item for item in X]
        if all(isinstance(item, str | Record) for item in X):
            found: list[str | Record] = X
            return found
    try:
        array = np.asarray(X, np.float32)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0, np.float32)
    if array.ndim == 1 and array.shape == (encoder.dim,):
        array = array[None, :]
    if array.ndim != 2:
        raise InvalidRecord(
            f"give texts, records, or vectors of shape (n, {encoder.dim}); for rows of a table "
            "open the model with encoder=TableEncoder(...)"
        )
    return array


def _is_column_of_texts(X: Any) -> bool:
    """Tell whether this is an array or a column of a data frame that holds no numbers."""
    kind = getattr(getattr(X, "dtype", None), "kind", "O")
    return getattr(X, "ndim", 0) == 1 and kind not in "biufc"


def _holds(X: Any, kinds: Any) -> bool:
    return isinstance(X, list | tuple) and bool(X) and all(isinstance(x, kinds) for x in X)


def check_labelled(X: Any, y: Any) -> None:
    """Refuse a first set of records of which none has a label.

    Raises:
        InvalidRecord: with where labels go.
    """
    many = hasattr(y, "__len__") and not isinstance(y, str)
    given = any(target is not None for target in y) if many else y is not None
    own = hasattr(X, "__next__")  # what can be read but once is not read here
    own = own or (_holds(X, Record) and any(LABEL in record.metadata for record in X))
    own = own or (isinstance(X, Record) and LABEL in X.metadata)
    if not given and not own:
        raise InvalidRecord(
            "no record has a label: give y=, or records with metadata['label']; partial_fit also "
            "takes records to be stored and searched only"
        )


def to_records(
    X: Any,
    y: Sequence[Any] | npt.NDArray[Any] | None,
    encoder: Encoder,
    *,
    subjects: Sequence[str | None] | str | None,
    ids: Sequence[str] | None,
    topics: Sequence[str | None] | str | None,
) -> list[Record]:
    """Return what is to be learnt as records, the targets in their metadata.

    Raises:
        InvalidRecord: the lengths differ, or the items are of no known kind.
    """
    items = to_items(X, encoder)
    count = len(items)
    records = [
        item
        if isinstance(item, Record)
        else Record(text=item)
        if isinstance(item, str)
        else Record(vector=item)
        for item in items
    ]
    for name, given in {"y": y, "subjects": subjects, "ids": ids, "topics": topics}.items():
        if given is None or isinstance(given, str):
            continue
        if not hasattr(given, "__len__") or getattr(given, "ndim", 1) == 0:
            raise InvalidRecord(f"{name}= is a list, or one string for all")
        if len(given) != count:
            raise InvalidRecord(f"{count} items came with {len(given)} {name}")
    if y is not None:
        all_of: Any = [y] * count if isinstance(y, str) else y
        if hasattr(all_of, "to_numpy"):  # a data frame is a sequence of its columns' names
            all_of = all_of.to_numpy()
        plain = all_of.tolist() if isinstance(all_of, np.ndarray) else all_of
        records = [
            record
            if target is None  # stored and searched, not learnt
            else replace(record, metadata={**record.metadata, LABEL: _plain(target)})
            for record, target in zip(records, plain, strict=True)
        ]
    for name, given in {"subject": subjects, "id": ids, "topic": topics}.items():
        if given is not None:
            all_of = [given] * count if isinstance(given, str) else given
            fill: Any = [{name: value} for value in all_of]
            records = [replace(record, **more) for record, more in zip(records, fill, strict=True)]
    return records


def _plain(target: Any) -> Any:
    """Return a target as JSON holds it."""
    if isinstance(target, np.generic | np.ndarray):
        return target.tolist()
    return list(target) if isinstance(target, tuple) else target
