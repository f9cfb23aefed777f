"""Methods of teachers: every term by hand, in another library's arithmetic."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from forgetnet.unlearn import SCRUB, BadTeacher, ClassificationTask
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.run import Run
from tests.contract.unlearning import FREE, digits, small

FORGET, RETAIN, _ = digits()
SIZE = 16


def moved() -> tuple[Run, nn.Module]:
    """A run whose model has gone some way from its start, and that start."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = small().double()
    start = copy.deepcopy(model)
    data = {"forget": (FORGET[0].double(), FORGET[1]), "retain": (RETAIN[0].double(), RETAIN[1])}
    scope, cpu = dict(model.named_parameters()), torch.device("cpu")
    return Run(model, ClassificationTask(), data, scope, 0, SIZE, cpu, FREE, Budget()), start


def shake(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.sin(torch.arange(parameter.numel())).reshape_as(parameter))


def logits(model: nn.Module, run: Run, side: str, step: int) -> tuple[Any, Any]:
    inputs, labels = run.data[side]
    rows = run.positions(side, step)
    with torch.no_grad():
        return model(inputs[rows]).numpy(), labels[rows].numpy()


def divergence(teacher: Any, student: Any, temperature: float) -> float:
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    return float(rel_entr(p, q).sum(axis=1).mean())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_scrub_is_its_formula(temperature: float) -> None:
    run, start = moved()
    kind = SCRUB(epochs=2.0, max_epochs=1, alpha=0.7, gamma=0.4, temperature=temperature)
    kind.begin(run)
    shake(run.model)
    first = -(-len(FORGET[1]) // SIZE)
    for side, step, batch in (("forget", 0, 0), ("retain", first, 0), ("retain", first + 3, 3)):
        student, labels = logits(run.model, run, side, batch)
        teacher, _ = logits(start, run, side, batch)
        d = temperature**2 * divergence(teacher, student, temperature)
        entropy = -log_softmax(student, axis=1)[np.arange(len(labels)), labels].mean()
        expected = -d if side == "forget" else 0.7 * d + 0.4 * entropy
        assert float(kind.objective(run, step).detach()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_bad_teacher_is_its_formula(temperature: float) -> None:
    run, start = moved()
    kind = BadTeacher(forget_weight=0.6, retain_weight=1.7, temperature=temperature)
    kind.begin(run)
    bad = run.kept["bad"]
    assert all(
        not torch.equal(p, q) for p, q in zip(bad.parameters(), start.parameters(), strict=True)
    )
    shake(run.model)
    expected = 0.0
    for side, teacher, weight in (("forget", bad, 0.6), ("retain", start, 1.7)):
        student, _ = logits(run.model, run, side, 1)
        told, _ = logits(teacher, run, side, 1)
        expected += weight * divergence(told, student, temperature)
    assert float(kind.objective(run, 1).detach()) == pytest.approx(expected, rel=1e-9)
