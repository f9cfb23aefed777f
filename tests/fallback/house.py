"""A memory whose records taught a small network, and its twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from forgetnet import Memory, Record
from forgetnet.fallback import Entangled, Ladder, Rows
from forgetnet.unlearn import GradientDifference, Retrain

DIM, CLASSES, EACH = 16, 4, 30
KEY = bytes(range(32))
PEOPLE = ("ann", "bo", "cy", "di", "ed")
_CENTRES = np.random.default_rng(1).normal(size=(CLASSES, DIM))


def points(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw (n, d) unit vectors and labels of which a third are wrong: they must be remembered."""
    random = np.random.default_rng(seed)
    true = random.integers(0, CLASSES, count)
    vectors = _CENTRES[true] + 1.2 * random.normal(size=(count, DIM))
    told = np.where(random.random(count) < 0.35, random.integers(0, CLASSES, count), true)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), told


def records(people: tuple[str, ...] = PEOPLE) -> list[Record]:
    """Return the records of some people: the same, whoever else there is."""
    found = []
    for person in people:
        vectors, labels = points(PEOPLE.index(person) + 10, EACH)
        found += [
            Record(id=f"{person}-{n}", subject=person, vector=v, metadata={"label": int(label)})
            for n, (v, label) in enumerate(zip(vectors, labels, strict=True))
        ]
    return found


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(DIM, 96), nn.ReLU(), nn.Linear(96, CLASSES))


def train(module: nn.Module, data: Any, seed: int) -> None:
    inputs, labels = data
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        functional.cross_entropy(module(inputs), labels).backward()
        optimiser.step()


def examples(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    labels = [record.metadata["label"] for record in rows.records]
    return torch.from_numpy(rows.vectors.copy()), torch.tensor(labels, dtype=torch.long)


def holdout(count: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    vectors, labels = points(99, count)
    return torch.from_numpy(vectors), torch.from_numpy(labels)


RETRAIN = Retrain()
LIGHT = GradientDifference(lr=1e-4, epochs=1)


def part(folder: Path | None, *rungs: Any, **more: Any) -> Entangled:
    """Make the model; without rungs it retrains."""
    told: dict[str, Any] = {"holdout": holdout(), "name": "head"} | more
    told.setdefault("ladder", Ladder(rungs or (RETRAIN,)))
    name = told.pop("name")
    return Entangled(name, folder, build=build, train=train, examples=examples, **told)


def opened(path: Path | str, *models: Any) -> Memory:
    return Memory.open(path, encoder=f"vectors:{DIM}", key=KEY, models=models)
