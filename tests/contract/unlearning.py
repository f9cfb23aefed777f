"""The toy that unlearners are tried on, and the list of those that are tried.

A toy where the answer is known: seven digits of one class have been learnt under a wrong label, and
nothing else teaches that label there, so a model that forgot them likes it less than before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.unlearn import (
    DPO,
    NPO,
    RMU,
    SCRUB,
    SSD,
    WHP,
    Amnesiac,
    BadTeacher,
    ClassPruning,
    DeltaGrad,
    FineTune,
    Fisher,
    GradientAscent,
    GradientDifference,
    IdkFineTune,
    NegateAdapter,
    NewtonRemoval,
    RandomLabel,
    Recipe,
    Retrain,
    SaliencyMask,
    ShardRetrain,
    SimNPO,
    StopRule,
    UpdateTrace,
    record_training,
)

CLASSES = 4
Data = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Toy:
    """A model, what it learnt, and what it is to forget.

    Attributes:
        unlearner: the method, with what it needs.
        model: that learnt forget and retain.
        forget, retain, holdout: as the task takes them.
    """

    unlearner: Any
    model: nn.Module
    forget: Data
    retain: Data
    holdout: Data


@dataclass(frozen=True)
class Case:
    """One method to try.

    Attributes:
        name: of the test.
        make: makes a toy; its argument is a folder.
        narrow: pattern of parameters that are a part of the model; None where it must be all, or
            where the toy's own scope is narrow already.
        looks: looks there are to cut a run at; 0 where a run has none.
        lowers: whether it lowers the forget set's likelihood by itself on this toy.
        factor: by which the estimate may be wrong.
    """

    name: str
    make: Callable[[Path], Toy]
    narrow: str | None = r"3\..*"
    looks: int = 2
    lowers: bool = True
    factor: float = 1.6


def build() -> nn.Module:
    """A net with a buffer that training would move."""
    hidden = nn.Linear(64, 48)
    return nn.Sequential(hidden, nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, CLASSES))


def small() -> nn.Module:
    """A net without one, for methods that train in small batches."""
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def digits() -> tuple[Data, Data, Data]:
    """Forget, retain and holdout, in torch's default type: forget's labels are wrong."""
    return _digits(torch.get_default_dtype())


@functools.cache
def _digits(dtype: torch.dtype) -> tuple[Data, Data, Data]:
    inputs, labels = load_digits(return_X_y=True)
    chosen = labels < CLASSES
    x = torch.tensor(inputs[chosen] / 16.0, dtype=dtype)
    y = torch.tensor(labels[chosen], dtype=torch.long)
    first = (y == 0).nonzero().reshape(-1)[:16]
    rest = torch.ones(len(y), dtype=torch.bool)
    rest[first] = False
    x_rest, y_rest = x[rest], y[rest]
    forget = (x[first], torch.full((len(first),), 3))
    retain = (x_rest[:240], y_rest[:240])
    return forget, retain, (x_rest[240:300], y_rest[240:300])


def joined(first: Data, second: Data) -> Data:
    """Both, one after the other."""
    return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])


def taught(model: nn.Module, data: Data, epochs: int = 60, lr: float = 1e-2) -> nn.Module:
    """Train a model on all of some data, in place."""
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(data[1])).split(64):
            optimiser.zero_grad()
            functional.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
            optimiser.step()
    model.zero_grad(set_to_none=True)
    return model.eval()


def _learnt(make: Callable[[], nn.Module]) -> nn.Module:
    return _learnt_in(make, torch.get_default_dtype())


@functools.cache
def _learnt_in(make: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        forget, retain, _ = digits()
        return taught(make(), joined(forget, retain))


def toy(unlearner: Any, model: nn.Module | None = None) -> Toy:
    """The usual toy, for a method."""
    forget, retain, holdout = digits()
    return Toy(unlearner, _learnt(build) if model is None else model, forget, retain, holdout)


def _shards(folder: Path) -> Toy:
    recipe = Recipe(lr=1e-2, epochs=6.0)
    kind = ShardRetrain(
        build=small, folder=str(folder / "shards"), shards=2, slices=2, recipe=recipe
    )
    forget, retain, _ = digits()
    return toy(kind, kind.fit(joined(forget, retain)))


def _ridge(folder: Path) -> Toy:
    kind = NewtonRemoval(params=(r"3\..*",), loss="ridge")
    forget, retain, _ = digits()
    return toy(kind, kind.fit(_learnt(build), joined(forget, retain)))


def _logistic(folder: Path) -> Toy:
    kind = NewtonRemoval(
        params=(r"3\..*",),
        loss="logistic",
        ridge=1.0,
        noise=5.0,
        ledger=str(folder / "ledger.json"),
    )
    (inputs, labels), retain, holdout = digits()
    forget = inputs[:2], labels[:2]  # more would use the certificate up
    model = kind.fit(_learnt(build), joined(forget, retain))
    return Toy(kind, model, forget, retain, holdout)


def _replay(folder: Path) -> Toy:
    forget, retain, _ = digits()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        start = nn.Sequential(nn.Linear(64, CLASSES))
    model, trace = record_training(start, joined(forget, retain), lr=0.2, steps=80, decay=1e-2)
    return toy(DeltaGrad(trace=trace), model)


def _amnesiac(folder: Path) -> Toy:
    forget, retain, _ = digits()
    data = joined(retain, forget)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = small()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    size, first = len(data[1]), len(retain[1])
    with UpdateTrace(model, optimiser, data, sensitive=range(first, size)) as trace:
        for _ in range(30):
            for rows in torch.arange(size).split(24):
                trace.batch(rows.tolist())
                optimiser.zero_grad()
                functional.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
                optimiser.step()
    model.zero_grad(set_to_none=True)
    return toy(Amnesiac(trace=trace), model)


def _class(folder: Path) -> Toy:
    """A whole class, as pruning wants it."""
    inputs, labels = joined(*digits()[1:])
    gone = labels == 2
    made = toy(ClassPruning(sparsity=0.3, epochs=1.0, lr=3e-3))
    return replace(
        made,
        forget=(inputs[gone][:40], labels[gone][:40]),
        retain=(inputs[~gone][:160], labels[~gone][:160]),
    )


def _otherwise() -> Data:
    """The forget set with the labels that are right, as alternatives."""
    inputs, labels = digits()[0]
    return inputs, torch.zeros_like(labels)


ELSEWHERE = {"alignment_calibration", "ideal_push"}
"""Methods that need pairs, and are tried in tests/unlearn."""
FREE = StopRule(retain_increase=None, forget_loss=None, every=4)
EARLY = StopRule(every=2)
CASES = [
    Case("gradient_ascent", lambda _: toy(GradientAscent(lr=1e-3, epochs=6.0))),
    Case("gradient_difference", lambda _: toy(GradientDifference(lr=1e-3, epochs=6.0))),
    Case("gradient_difference-kl", lambda _: toy(GradientDifference(lr=1e-3, retain="kl"))),
    Case("npo", lambda _: toy(NPO(lr=1e-3, epochs=6.0))),
    Case("simnpo", lambda _: toy(SimNPO(lr=1e-3, epochs=6.0, forget_weight=1.0))),
    Case("random_label", lambda _: toy(RandomLabel(lr=1e-3, epochs=8.0))),
    Case("fine_tune", lambda _: toy(FineTune(lr=1e-3, epochs=2.0)), lowers=False),
    Case(
        "retrain",
        lambda _: toy(Retrain(build=build, lr=1e-2, epochs=2.0, stop=replace(FREE, every=8))),
    ),
    Case("shard_retrain", _shards, narrow=None),
    Case("newton_removal-ridge", _ridge, narrow=None, looks=0),
    Case("newton_removal-logistic", _logistic, narrow=None, looks=0),
    Case("delta_grad", _replay, narrow=None, looks=0),
    Case("ssd", lambda _: toy(SSD(stop=StopRule(None, 0.2))), looks=0, factor=2.5),
    Case("fisher", lambda _: toy(Fisher()), looks=0, lowers=False),
    Case("scrub", lambda _: toy(SCRUB(lr=2e-3, epochs=3.0)), factor=1.6),
    Case(
        "scrub-rewind",
        lambda _: toy(SCRUB(lr=2e-3, epochs=3.0, rewind=True)),
        factor=1.6,
    ),
    Case("bad_teacher", lambda _: toy(BadTeacher(lr=1e-3, epochs=8.0))),
    Case(
        "saliency_mask",
        lambda _: toy(SaliencyMask(inner=RandomLabel(lr=2e-3, weight_decay=0.1, stop=FREE))),
    ),
    Case("idk", lambda _: toy(IdkFineTune(lr=1e-3, epochs=8.0, alternatives=_otherwise()))),
    Case("dpo", lambda _: toy(DPO(lr=1e-3, epochs=8.0, alternatives=_otherwise()))),
    Case("rmu", lambda _: toy(RMU(module="2", lr=1e-3, epochs=8.0)), narrow=r"0\..*"),
    Case("whp", lambda _: toy(WHP(lr=3e-3, epochs=8.0, reinforce_lr=1e-3, stop=EARLY))),
    Case("negate_adapter", lambda _: toy(NegateAdapter(lr=3e-3, epochs=12.0))),
    Case("amnesiac", _amnesiac, narrow=None, looks=0),
    Case("class_pruning", _class, narrow=r"0\..*"),
]
