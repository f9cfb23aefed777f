"""Channels are pruned that tell the class, by counts made by hand, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from forgetnet.errors import Unsupported
from forgetnet.unlearn import ClassificationTask, ClassPruning, StopRule
from forgetnet.unlearn.changing import Hook
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.result import state_digest
from forgetnet.unlearn.run import Run
from tests.unlearn.toys import fit

CLASSES, EACH = 3, 14  # of each class, so that batches of 16 mix them and the last one is short
HIDDEN = ("1", "4")


def build() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Unflatten(1, (1, 4, 4)),
            nn.Conv2d(1, 8, 3),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(8 * 4, 10),
            nn.ReLU(),
            nn.Linear(10, CLASSES),
        )


def drawn() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    labels = torch.arange(CLASSES).repeat(EACH)
    centres = 2.0 * torch.randn(CLASSES, 16, generator=g)
    return centres[labels] + torch.randn(len(labels), 16, generator=g), labels


INPUTS, LABELS = drawn()
GONE = LABELS == 1
FORGET, RETAIN = (INPUTS[GONE], LABELS[GONE]), (INPUTS[~GONE][:25], LABELS[~GONE][:25])
ALONE = ClassPruning(sparsity=0.3, fine_tune=False)


def told_by_hand(model: nn.Sequential, layer: str, count: int) -> list[int]:
    """The channels of a layer that score highest for class 1, from sums in plain numpy."""
    inputs = torch.cat([FORGET[0], RETAIN[0]])
    labels = torch.cat([FORGET[1], RETAIN[1]]).numpy()
    with torch.no_grad():
        out = nn.Sequential(*list(model)[: int(layer) + 1])(inputs)
    out = out.clamp(min=0.0).double().numpy()
    active = out.reshape(*out.shape[:2], -1).mean(axis=2)  # (examples, channels)
    means = np.stack([active[labels == k].mean(axis=0) for k in range(CLASSES)], axis=1)
    scores = []
    for channel, row in enumerate(means):
        often = row[1] / means[:, 1].sum()
        classes = sum(value >= row.mean() for value in row)
        scores.append((often * np.log((1 + CLASSES) / (1 + classes)), channel))
    return sorted(channel for _, channel in sorted(scores, reverse=True)[:count])


def shut(model: nn.Module, layer: str) -> list[int]:
    module: Any = model.get_submodule(layer)
    flat = torch.cat([module.weight.reshape(len(module.weight), -1), module.bias[:, None]], dim=1)
    return [int(c) for c in (flat == 0).all(dim=1).nonzero()[:, 0]]


@pytest.mark.parametrize("batch_size", [5, 16, 64])
@pytest.mark.parametrize("sparsity", [0.01, 0.3, 0.5])
def test_channels_of_highest_score_for_the_class_are_shut_with_their_bias(
    batch_size: int, sparsity: float
) -> None:
    model = build()
    kind = ALONE.set_params(batch_size=batch_size, sparsity=sparsity)
    pruned = kind.unlearn(model, FORGET, RETAIN).model
    for layer in HIDDEN:
        size = len(model.get_submodule(layer).weight)  # a tensor
        count = max(1, round(sparsity * size))
        wanted = told_by_hand(model, layer, count)
        assert shut(pruned, layer) == wanted and len(wanted) == count
        left = [channel for channel in range(size) if channel not in wanted]
        for part in ("weight", "bias"):
            name = f"{layer}.{part}"
            before, after = model.state_dict()[name], pruned.state_dict()[name]
            assert torch.equal(after[left], before[left])
    assert torch.equal(pruned.state_dict()["6.weight"], model.state_dict()["6.weight"])


def test_only_layers_in_scope_are_pruned_and_one_must_be() -> None:
    model = build()
    pruned = ALONE.set_params(params=(r"4\..*",)).unlearn(model, FORGET, RETAIN).model
    assert shut(pruned, "1") == [] and len(shut(pruned, "4")) == 3
    with pytest.raises(Unsupported, match="no hidden"):
        ALONE.set_params(params=(r"6\..*",)).unlearn(model, FORGET, RETAIN)


def test_what_harms_too_much_is_put_back_to_the_bit() -> None:
    model = build()
    fit(model, ClassificationTask(), (INPUTS, LABELS))
    before = state_digest(model)
    runs: list[tuple[str, ClassPruning, Budget | None]] = [
        ("retain_loss", ALONE.set_params(sparsity=0.9, stop=StopRule(None, 0.01)), None),
        ("not_finite", ClassPruning(optimizer="sgd", lr=1e30, grad_clip=None), None),
        ("budget", ClassPruning(), Budget(steps=0)),
    ]
    for stopped, kind, budget in runs:
        result = kind.unlearn(model, FORGET, RETAIN, budget=budget)
        assert (result.stopped, result.after) == (stopped, before)


class Counting(Hook):
    """Counts the steps that it takes part in, and how many channels are shut then."""

    def __init__(self) -> None:
        self.shut: list[int] = []

    def after_step(self, run: Run) -> None:
        self.shut.append(len(shut(run.model, "1")))


def test_others_take_part_in_each_step_and_pruned_channels_stay_shut() -> None:
    hook = Counting()
    kind = ClassPruning(sparsity=0.3, epochs=2, batch_size=8, weight_decay=0.1)
    result = kind.unlearn(build(), FORGET, RETAIN, hooks=(hook,))
    assert len(hook.shut) == 8
    assert len(shut(result.model, "1")) == round(0.3 * 8)
