"""Tables in whatever form they come, as columns of plain cells.

Knows no library of tables: a data frame is told by what it can do. Knows nothing of encoding.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forgetnet.errors import InvalidRecord

__all__ = ["Cell", "Columns", "category", "number", "read_table"]

Cell = str | int | float | bool | None
_FORMS = (
    "give mappings from columns to values, a mapping from columns to lists, a data frame, an Arrow "
    "table, or an (n, c) array"
)
_TO_LIST = ("tolist", "to_list", "to_pylist")
_MISSING = {"NAType", "NaTType"}


Columns = dict[str, list[Any]]
"""Columns of equal length, by name."""


def read_table(X: Any) -> Columns:
    """Return the columns of a table.

    Args:
        X: mappings from columns to values, one such mapping, a mapping from columns to n values, a
            data frame, an Arrow table, or an (n, c) array, whose columns are x0, x1, ...

    Raises:
        InvalidRecord: it is none of these, columns differ in length, two have one name, or rows
            have different columns.
    """
    if isinstance(X, Mapping):
        scalars = all(isinstance(v, str) or not _is_many(v) for v in X.values())
        return _checked([(name, [v] if scalars else _listed(v)) for name, v in X.items()])
    if hasattr(X, "column_names"):
        return _checked([(name, X.column(name).to_pylist()) for name in X.column_names])
    if hasattr(X, "columns"):
        names = list(X.columns)
        _refuse_twice([str(name) for name in names])
        return _checked([(name, _listed(X[name])) for name in names])
    if isinstance(X, Sequence) and all(isinstance(row, Mapping) for row in X):
        return _from_rows(X)
    if getattr(X, "ndim", 0) == 2 and hasattr(X, "__array__"):
        array = np.asarray(X)
        return _checked([(f"x{n}", column.tolist()) for n, column in enumerate(array.T)])
    raise InvalidRecord(f"this is no table: {_FORMS}")


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> Columns:
    columns: dict[str, list[Any]] = {str(name): [] for row in rows[:1] for name in row}
    for n, row in enumerate(rows):
        if differing := sorted(set(map(str, row)) ^ set(columns)):
            raise InvalidRecord(
                f"column {differing[0][:80]!r} is in row {n} or in the first row, but not in both; "
                "give None where a value isn't known"
            )
        for name, value in row.items():
            columns[str(name)].append(value)
    return columns


def _checked(pairs: Sequence[tuple[Any, list[Any]]]) -> Columns:
    _refuse_twice([str(name) for name, _ in pairs])
    columns = {str(name): values for name, values in pairs}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        name = next(n for n in lengths if lengths[n] != next(iter(lengths.values())))
        raise InvalidRecord(f"column {name[:80]!r} has another length than the first column")
    return columns


def _refuse_twice(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRecord(f"column {twice[:80]!r} is there twice")


def _is_many(value: Any) -> bool:
    lists = isinstance(value, Sequence) or any(hasattr(value, name) for name in _TO_LIST)
    return lists and getattr(value, "ndim", 1) > 0


def _listed(values: Any) -> list[Any]:
    for name in _TO_LIST:
        if hasattr(values, name):
            found = getattr(values, name)()
            return found if isinstance(found, list) else [found]
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidRecord(f"a column is a single value and another isn't: {_FORMS}")
    return list(values)


def _plain(value: Any) -> Any:
    """Return a cell as Python knows it; None where it is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def number(value: Any, column: str) -> int | float | None:
    """Return a cell of a column of numbers; None where it is missing.

    Raises:
        InvalidRecord: it isn't a finite number.
    """
    plain = _plain(value)
    if plain is None:
        return None
    if isinstance(plain, bool):
        return int(plain)
    if isinstance(plain, int | float) and abs(plain) <= sys.float_info.max:
        return plain
    raise InvalidRecord(
        f"column {column[:80]!r} is of numbers, and a value is no finite one "
        f"({type(plain).__name__}); declare it categorical, or give None where it isn't known"
    )


def category(value: Any, column: str) -> Cell:
    """Return a cell of a column of categories, whole numbers as such; None where it is missing.

    Raises:
        InvalidRecord: it is neither a string, a boolean nor a finite number.
    """
    plain: Cell = _plain(value)
    if isinstance(plain, float) and math.isfinite(plain):
        return int(plain) if plain.is_integer() else plain
    if plain is None or isinstance(plain, str | int):
        return plain
    raise InvalidRecord(
        f"column {column[:80]!r} holds a value that is no category ({type(plain).__name__}); give "
        "strings, booleans or numbers"
    )
