"""Public tables that are read from a folder: UCI Adult and MNIST; none of them is shipped.

Both are cut down to a fixed part, so that a comparison takes minutes. Knows nothing of requests.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.encode import TableEncoder
from forgetnet.errors import StoreCorrupt

__all__ = ["read_adult", "read_mnist"]

_NUMERIC = {
    "age": (17, 90),
    "fnlwgt": (0, 500_000),
    "education-num": (1, 16),
    "capital-gain": (0, 20_000),
    "capital-loss": (0, 3_000),
    "hours-per-week": (1, 99),
}
_NAMES = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country",
)  # fmt: skip
_PART = 4000
Table = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]


def _part(count: int) -> npt.NDArray[np.int64]:
    """Return which rows are used: the same of every run."""
    return np.sort(np.random.default_rng(0).permutation(count)[:_PART])


@functools.cache
def read_adult(folder: Path) -> Table:
    """Read 4,000 rows of ``adult.data.gz`` (Becker and Kohavi 1996), as vectors, and the income.

    Columns are encoded by constants, so no row has a part in how another is read.

    Raises:
        StoreCorrupt: the folder doesn't hold the file as it was published.
    """
    path = folder / "adult.data.gz"
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            rows = [line.strip().split(", ") for line in file]
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{path} can't be read; name the folder of UCI Adult") from error
    rows = [row for row in rows if len(row) == len(_NAMES) + 1]
    if len(rows) < _PART:
        raise StoreCorrupt(f"{path} holds {len(rows)} whole rows; it was published with 32,561")
    rows = [rows[place] for place in _part(len(rows))]
    columns: dict[str, list[Any]] = {
        name: [float(row[place]) if name in _NUMERIC else row[place] for row in rows]
        for place, name in enumerate(_NAMES)
    }
    encoder = TableEncoder(_NUMERIC, [name for name in _NAMES if name not in _NUMERIC])
    vectors = encoder.encode(list(encoder.to_texts(columns)))
    labels = np.array([row[-1] == ">50K" for row in rows], np.int64)
    return vectors.astype(np.float32), labels, 2


@functools.cache
def read_mnist(folder: Path) -> Table:
    """Read 4,000 training digits of ``mnist.npz``, as (1, 14, 14) images from 0 to 1.

    Raises:
        StoreCorrupt: the folder doesn't hold the file.
    """
    path = folder / "mnist.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pixels, labels = arrays["x_train"], arrays["y_train"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreCorrupt(f"{path} can't be read; name the folder of MNIST") from error
    if pixels.shape[1:] != (28, 28) or len(pixels) != len(labels) or len(pixels) < _PART:
        raise StoreCorrupt(f"{path} holds {pixels.shape}, not images of 28 x 28 with their labels")
    chosen = _part(len(pixels))
    images = pixels[chosen].reshape(_PART, 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 255.0
    return images.astype(np.float32), labels[chosen].astype(np.int64), 10
