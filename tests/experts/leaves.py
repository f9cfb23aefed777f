"""Small leaves to learn from, and modules that are good and bad pupils."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from forgetnet.exact import quantise
from forgetnet.experts import Stage, State, View, make_view
from forgetnet.experts.torch_expert import TorchExpert
from forgetnet.shards import shard_key

DIM = 12


def leaf(
    n: int = 40,
    *,
    seed: int = 0,
    classes: int = 4,
    subjects: int = 10,
    without: Collection[str] = (),
    order: int | None = None,
) -> View:
    """A leaf whose labels can be learnt; ``without`` some subjects, in an order of arrival."""
    random = np.random.default_rng(seed)
    centres = {f"class {i}": random.normal(size=DIM) for i in range(classes)}
    labels = [f"class {i}" for i in random.integers(0, classes, n)]
    vectors = np.stack([centres[label] + random.normal(size=DIM) * 0.5 for label in labels])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owners = [f"s{i % subjects}" for i in range(n)]
    kept = [i for i in range(n) if owners[i] not in without]
    if order is not None:
        np.random.default_rng(order).shuffle(kept)
    return make_view(
        [f"r{seed}-{i}" for i in kept],
        quantise(vectors[kept]) if kept else np.zeros((0, DIM), np.int16),
        [labels[i] for i in kept],
        [shard_key(b"salt", owners[i]) for i in kept],
    )


def numbers(view: View, width: int = 1, scale: float = 50.0) -> View:
    """The same records, with numbers to learn that their vectors tell."""
    told = view.vectors[:, :width].astype(np.float64) * scale + 1000.0
    return make_view(view.ids, view.codes, told, view.keys)


def wide(dim: int, outputs: int) -> nn.Module:
    """A module of two branches, with dropout and a tensor that isn't trained."""
    return _Wide(dim, outputs)


class _Wide(nn.Module):
    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.left = nn.Linear(dim, 6)
        self.right = nn.Linear(dim, 6)
        self.norm = nn.LayerNorm(6)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(6, outputs)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += len(x)
        y: torch.Tensor = self.head(self.drop(self.norm(self.left(x).relu() * self.right(x))))
        return y


def batch_norm(dim: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, outputs))


def numpy_noise(dim: int, outputs: int) -> nn.Module:
    """Draws from a generator that nobody seeds."""
    layer = nn.Linear(dim, outputs)
    noise = np.random.default_rng().normal(size=(outputs, dim))
    layer.weight.data += torch.from_numpy(noise).float()
    return layer


def transposed(dim: int, outputs: int) -> nn.Module:
    """A head with one column a class, which can't follow them."""
    return _Transposed(dim, outputs)


class _Transposed(nn.Module):
    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.randn(dim, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.columns


def wrong_width(dim: int, outputs: int) -> nn.Module:
    return nn.Linear(dim, outputs + 1)


@dataclass(frozen=True, eq=False)
class DiesOnce(TorchExpert):
    """Kills its own process in the middle of a leaf, the first time that it is asked."""

    mark: str = ""

    def fit(
        self, view: View, seed: int, start: State | None = None, stage: Stage | None = None
    ) -> State:
        stage = stage or Stage()
        if stage.index == 1 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(view, seed, start, stage)


@dataclass(frozen=True, eq=False)
class AlwaysDies(TorchExpert):
    """Kills its own process whenever it is asked."""

    def fit(self, *given: Any, **more: Any) -> State:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(*given, **more)
