"""How well models that forget learn tables, beside scikit-learn's that don't.

    python benchmarks/experts_tables.py [ADULT] [--leaves] [--markdown docs/benchmarks.md]

ADULT is a folder with ``adult.data.gz`` and ``adult.test.gz`` of the UCI set; without it there are
only the small sets of scikit-learn, in five folds. ``--leaves`` adds the full stack of
``ForgetNet.open``, a network for each leaf. Prints a Markdown table; seconds are of the processor.
Exit code 1 if the default falls short of logistic regression on Adult by half a point.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from page import put, table
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from timing import machine, tell

from forgetnet import ForgetNetClassifier, ForgetNetRegressor, TableEncoder
from forgetnet.experts import NeighbourExpert, RidgeTrunk, TorchExpert

RANGES = {"age": (17, 90), "education-num": (1, 16), "hours-per-week": (1, 99)}
FREE = ["capital-gain", "capital-loss", "fnlwgt"]
NAMES = [
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country",
]  # fmt: skip
NUMERIC = [*RANGES, *FREE]
OTHERS = [name for name in NAMES if name not in NUMERIC]
HEAD = ["data", "model", "score", "seconds to fit", "seconds to ask"]
_LEAST = 0.5
_COLUMNS = slice(0, len(NAMES))

Data = tuple[Any, npt.NDArray[Any]]


@dataclass(frozen=True)
class Split:
    """What to learn, and what to be asked."""

    name: str
    train: Data
    test: Data


def adult(folder: Path) -> Split:
    """UCI Adult (Becker and Kohavi 1996), as it was split; a missing value is a category."""

    def read(name: str) -> Data:
        with gzip.open(folder / name, "rt", encoding="ascii") as file:
            rows = [line.strip().rstrip(".").split(", ") for line in file]
        rows = [row for row in rows if len(row) == len(NAMES) + 1]
        columns: dict[str, list[Any]] = dict(
            zip(NAMES, map(list, zip(*[row[_COLUMNS] for row in rows], strict=True)), strict=True)
        )
        for number in NUMERIC:
            columns[number] = [float(value) for value in columns[number]]
        return columns, np.array([row[-1] for row in rows])

    train, test = read("adult.data.gz"), read("adult.test.gz")
    return Split(f"Adult, {len(train[1]):,} and {len(test[1]):,} rows", train, test)


def array(columns: dict[str, list[Any]]) -> npt.NDArray[Any]:
    """Return columns as scikit-learn takes them where it has no data frame."""
    return np.array([columns[name] for name in NAMES], object).T


def peers() -> dict[str, Any]:
    """Return scikit-learn's models of Adult, each with what it needs before it."""
    numbers = [NAMES.index(name) for name in NUMERIC]
    kinds = [NAMES.index(name) for name in OTHERS]

    def spread() -> Any:
        ones = OneHotEncoder(handle_unknown="ignore")
        return make_column_transformer((StandardScaler(), numbers), (ones, kinds))

    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    ordered = make_column_transformer(("passthrough", numbers), (codes, kinds))
    mask = [False] * len(numbers) + [True] * len(kinds)
    boosted = HistGradientBoostingClassifier(categorical_features=mask, random_state=0)
    return {
        "LogisticRegression": make_pipeline(spread(), LogisticRegression(max_iter=2000)),
        "KNeighbors, 16": make_pipeline(spread(), KNeighborsClassifier(16)),
        "HistGradientBoosting": make_pipeline(ordered, boosted),
    }


def ours(*, leaves: bool) -> dict[str, Any]:
    """Return our models of Adult."""
    plain = TableEncoder(NUMERIC, OTHERS)
    told = TableEncoder({**RANGES, **dict.fromkeys(FREE)}, OTHERS)
    found = {
        "ForgetNetClassifier": ForgetNetClassifier(encoder=plain, random_state=0),
        "ForgetNetClassifier, ranges": ForgetNetClassifier(encoder=told, random_state=0),
        "ridge trunk alone": ForgetNetClassifier([RidgeTrunk()], encoder=plain, random_state=0),
    }
    if leaves:
        stack = [RidgeTrunk(), TorchExpert(), NeighbourExpert()]
        found["stack of ForgetNet.open"] = ForgetNetClassifier(
            stack, encoder=plain, random_state=0
        )
    return found


def tried(model: Any, train: Data, test: Data) -> tuple[float, float, float]:
    """Return score in percent, and seconds of the processor to fit and to ask."""
    start = time.process_time()
    model.fit(*train)
    between = time.process_time()
    score = 100.0 * model.score(*test)
    return score, between - start, time.process_time() - between


def small() -> Iterator[list[str]]:
    """Try the small sets of scikit-learn: accuracy, or R squared of a regression."""
    loads = [load_digits, load_breast_cancer, load_wine, load_diabetes]
    for load in loads:
        X, y = load(return_X_y=True)
        number = load is load_diabetes
        folds = (KFold if number else StratifiedKFold)(5, shuffle=True, random_state=0)
        linear: Any = Ridge() if number else LogisticRegression(max_iter=2000)
        near: Any = KNeighborsRegressor(16) if number else KNeighborsClassifier(16)
        boosted: Callable[..., Any] = (
            HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
        )
        models = {
            "ForgetNet": (ForgetNetRegressor if number else ForgetNetClassifier)(random_state=0),
            "Ridge" if number else "LogisticRegression": make_pipeline(StandardScaler(), linear),
            "KNeighbors, 16": make_pipeline(StandardScaler(), near),
            "HistGradientBoosting": boosted(random_state=0),
        }
        for name, model in models.items():
            found = [
                tried(model, (X[train], y[train]), (X[test], y[test]))
                for train, test in folds.split(X, y)
            ]
            score, fit, ask = np.mean(found, axis=0)
            title = f"{load.__name__.removeprefix('load_')}, {len(X):,} rows"
            yield [title, name, f"{score:.1f}", f"{fit:.2f}", f"{ask:.2f}"]


def large(split: Split, *, leaves: bool) -> Iterator[list[str]]:
    """Try Adult."""
    scores = {}
    listed = [(array(X), y) for X, y in (split.train, split.test)]
    for name, model in {**peers(), **ours(leaves=leaves)}.items():
        train, test = listed if name in peers() else (split.train, split.test)
        scores[name], fit, ask = tried(model, train, test)
        tell(f"{name}: {scores[name]:.2f}")
        yield [split.name, name, f"{scores[name]:.2f}", f"{fit:.1f}", f"{ask:.1f}"]
    short = scores["LogisticRegression"] - scores["ForgetNetClassifier"]
    if short > _LEAST:
        raise SystemExit(f"{short:.2f} points below logistic regression")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("adult", type=Path, nargs="?")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--leaves", action="store_true", help="add the stack with networks")
    asked = parser.parse_args()
    rows = list(small())
    if asked.adult is not None:
        rows += large(adult(asked.adult), leaves=asked.leaves)
    text = f"{table(HEAD, rows)}\n\n{machine(('numpy', 'scikit-learn', 'torch'))}"
    print(text)
    if asked.markdown is not None:
        put(asked.markdown, "experts_tables.py", text)


if __name__ == "__main__":
    main()
