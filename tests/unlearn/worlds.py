"""A small world to forget in: what some models saw, what none saw, and models that saw less."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from forgetnet.unlearn import ClassificationTask, Relearn
from tests.unlearn.toys import fit

SOON = Relearn(lr=1e-3)
CLASSES = ClassificationTask()


def draw(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs, and labels of which three in ten are drawn, to be learnt by heart."""
    g = torch.Generator().manual_seed(seed)
    inputs, wrong = torch.randn(n, 20, generator=g), torch.rand(n, generator=g) < 0.3
    return inputs, torch.where(
        wrong, torch.randint(0, 4, (n,), generator=g), inputs[:, :4].argmax(1)
    )


FORGET, RETAIN, HOLDOUT = draw(500, 0), draw(600, 1), draw(500, 2)
SETS: dict[str, Any] = {"forget": FORGET, "retain": RETAIN, "holdout": HOLDOUT}


@functools.cache
def trained(seed: int, *, whole: bool = False) -> nn.Module:
    """A small classifier, trained on what is retained, or on that and what is forgotten."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
    both = tuple(torch.cat(parts) for parts in zip(FORGET, RETAIN, strict=True))
    fit(model, CLASSES, both if whole else RETAIN, steps=110)
    model.zero_grad()
    return model


def worlds(count: int) -> list[nn.Module]:
    return [trained(seed) for seed in range(200, 200 + count)]


def original() -> nn.Module:
    return trained(1, whole=True)
