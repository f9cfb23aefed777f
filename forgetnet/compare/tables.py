"""Settings of small classifiers: digits of scikit-learn; Adult and MNIST from a folder.

Knows nothing of methods.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forgetnet.compare.chosen import chosen
from forgetnet.compare.settings import Material, Records, Setting, owners
from forgetnet.compare.sources import read_adult, read_mnist
from forgetnet.errors import InvalidRecord, not_installed
from forgetnet.unlearn import ClassificationTask, Recipe

__all__ = ["REQUESTS", "adult", "digits", "draw_table", "load_digits", "mnist", "records_of"]

REQUESTS = {
    "random": "some people's records",
    "class": "every record of one class",
    "poisoned": "records with wrong labels",
}
"""What can be asked of a classifier, by name."""
_PEOPLE = 30
Pair = tuple[Tensor, Tensor]
Source = Callable[[], tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]]
"""Returns (n, ...) inputs, n labels, and how many classes there are."""


@functools.cache
def load_digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]:
    """Return the 1,797 digits of 8 x 8 pixels that scikit-learn ships, from 0 to 1.

    Raises:
        Unsupported: scikit-learn isn't installed.
    """
    try:
        from sklearn.datasets import load_digits as shipped
    except ImportError as error:
        raise not_installed("scikit-learn", "learn") from error
    inputs, labels = shipped(return_X_y=True)
    return (inputs / 16.0).astype(np.float32), labels.astype(np.int64), 10


def records_of(data: Pair, classes: int, people: list[str]) -> Records:
    """Return a data set of vectors and labels as a memory takes it."""
    inputs, labels = data
    count = len(labels)
    return Records(
        inputs.reshape(count, -1).numpy().astype(np.float32),
        [str(label) for label in labels.tolist()],
        people,
        np.full(count, 1.0 / classes),
        np.ones(count, np.int64),
    )


def draw_table(source: Source, request: str, rows: int, asked: int, seed: int) -> Material:
    """Draw training rows, and of these what is to be forgotten."""
    inputs, labels, classes = source()
    order = np.random.default_rng([seed, 1]).permutation(len(labels))
    x, y = torch.from_numpy(inputs[order]), torch.from_numpy(labels[order])
    owner = owners(rows, _PEOPLE, seed)
    gone = torch.zeros(rows, dtype=torch.bool)
    unseen, test = (x[rows:], y[rows:]), (x[rows:], y[rows:])
    alternatives = None
    if request == "random":
        some = list(dict.fromkeys(owner))[: max(1, round(asked * _PEOPLE / rows))]
        gone = torch.tensor([person in some for person in owner])
    elif request == "class":
        which = seed % classes
        gone = y[:rows] == which
        away = y[rows:] == which
        unseen = (x[rows:][away], y[rows:][away])
        test = (x[rows:][~away], y[rows:][~away])
    elif request == "poisoned":
        gone[:asked] = True
        draw = torch.Generator().manual_seed(seed)
        wrong = (y + torch.randint(1, classes, y.shape, generator=draw)) % classes
        alternatives = (x[:asked], y[:asked])  # the labels that are right
        y = torch.cat([wrong[:asked], y[asked:]])
        half = rows + (len(y) - rows) // 2
        unseen, test = (x[rows:half], wrong[rows:half]), (x[half:], y[half:])
    else:
        raise InvalidRecord(f"request= is one of {', '.join(REQUESTS)}, not {request[:40]!r}")
    sides = {
        "forget": (x[:rows][gone], y[:rows][gone]),
        "retain": (x[:rows][~gone], y[:rows][~gone]),
        "unseen": unseen,
        "test": test,
    }
    names = np.array(owner)
    people = {"forget": names[gone.numpy()].tolist(), "retain": names[~gone.numpy()].tolist()}
    records = {
        side: records_of(data, classes, people.get(side, ["nobody"] * len(data[1])))
        for side, data in sides.items()
    }
    return Material(sides, records, alternatives)


class _Frozen(nn.Module):
    """Random features that nothing is learnt in, and a linear head."""

    def __init__(self, inputs: int, classes: int, features: int = 96) -> None:
        super().__init__()
        self.features = nn.Linear(inputs, features).requires_grad_(False)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) logits."""
        answer: Tensor = self.head(torch.tanh(self.features(x.flatten(1))))
        return answer


def _setting(name: str, request: str, about: str, source: Source, **others: Any) -> Setting:
    inputs, classes = others.pop("inputs"), others.pop("classes")
    rows, asked = others.pop("rows"), others.pop("asked")
    return Setting(
        name=name,
        request=request,
        about=f"{about}; to be forgotten: {REQUESTS.get(request, request)}",
        task=ClassificationTask(),
        draw=functools.partial(draw_table, source, request, rows, asked),
        encoder=f"vectors:{inputs}",
        methods=chosen(name, request),
        linear=functools.partial(_Frozen, inputs, classes),
        **others,
    )


def _perceptron(inputs: int, classes: int) -> nn.Module:
    layers = (nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(64, classes))


def digits(request: str = "random") -> Setting:
    """Return the setting of scikit-learn's digits: 600 of them, learnt by heart by a small network.

    Raises:
        Unsupported: scikit-learn isn't installed.
        InvalidRecord: there is no such request.
    """
    about = "600 digits of 8 x 8 pixels, a network of two hidden layers"
    return _setting(
        "digits", request, about, load_digits,
        inputs=64, classes=10, rows=600, asked=60,
        build=functools.partial(_perceptron, 64, 10),
        recipe=Recipe(lr=3e-3, epochs=60.0, batch_size=32, grad_clip=None),
    )  # fmt: skip


def adult(folder: str | Path, request: str = "random") -> Setting:
    """Return the setting of UCI Adult: 1,500 rows, labels that nobody could know, learnt by heart.

    Args:
        folder: with ``adult.data.gz``.
        request: as of :func:`digits`.

    Raises:
        StoreCorrupt: the folder doesn't hold it.
    """
    source = functools.partial(read_adult, Path(folder))
    width = source()[0].shape[1]
    about = "1,500 rows of UCI Adult, a network of two hidden layers"
    return _setting(
        "adult", request, about, source,
        inputs=width, classes=2, rows=1500, asked=150, cap=256,
        build=functools.partial(_perceptron, width, 2),
        recipe=Recipe(lr=2e-3, epochs=30.0, batch_size=32, grad_clip=None),
    )  # fmt: skip


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 48),
        nn.ReLU(),
        nn.Linear(48, 10),
    )


def mnist(folder: str | Path, request: str = "class") -> Setting:
    """Return the setting of MNIST: 1,500 images of 14 x 14 pixels, a small convolutional network.

    Args:
        folder: with ``mnist.npz``.
        request: as of :func:`digits`.

    Raises:
        StoreCorrupt: the folder doesn't hold it.
    """
    source = functools.partial(read_mnist, Path(folder))
    source()  # complains before anything is trained
    about = "1,500 MNIST digits of 14 x 14 pixels, a small convolutional network"
    return _setting(
        "mnist", request, about, source,
        inputs=196, classes=10, rows=1500, asked=150, cap=256,
        build=_convolutions,
        recipe=Recipe(lr=2e-3, epochs=15.0, batch_size=32, grad_clip=None),
    )  # fmt: skip
