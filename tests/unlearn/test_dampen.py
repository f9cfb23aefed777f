"""Importance by its definition, and dampening that never makes a weight larger."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from forgetnet.unlearn import SSD, ClassificationTask, StopRule
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.importance import importance
from forgetnet.unlearn.run import Run
from tests.contract.unlearning import FREE, digits, small

FORGET, RETAIN, _ = digits()


def run_of(model: nn.Module, size: int) -> Run:
    data = {"forget": FORGET, "retain": RETAIN}
    scope, cpu = dict(model.named_parameters()), torch.device("cpu")
    return Run(model, ClassificationTask(), data, scope, 0, size, cpu, FREE, Budget())


def fixed() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return small()


def squares(model: nn.Module, rows: list[int], *, label_free: bool) -> list[Tensor]:
    """Gradients of the mean of some rows."""
    inputs, labels = FORGET[0][rows], FORGET[1][rows]
    out = model(inputs)
    if label_free:
        value = out.square().sum(dim=1).mean()
    else:
        value = nn.functional.cross_entropy(out, labels)
    return list(torch.autograd.grad(value, list(model.parameters())))


@pytest.mark.parametrize("label_free", [False, True])
@pytest.mark.parametrize("by", ["example", "loop", "batch"])
def test_importance_is_its_definition(by: str, label_free: bool) -> None:
    """Squares of gradients, or of squared answers their absolute values; a batch by its size."""
    model, size, each = fixed(), len(FORGET[1]), 7  # 16 examples: the last batch has two
    found = importance(run_of(model, each), "forget", by, label_free=label_free)
    width = each if by == "batch" else 1
    parts = [list(range(first, min(first + width, size))) for first in range(0, size, width)]
    wanted = [torch.zeros_like(p) for p in model.parameters()]
    for rows in parts:
        for total, g in zip(wanted, squares(model, rows, label_free=label_free), strict=True):
            total += len(rows) / size * (g.abs() if label_free else g.square())
    for name, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-7)


def test_dampening_never_makes_a_weight_larger() -> None:
    model = fixed()
    kind = SSD(alpha=2.0, dampening=6.0, stop=StopRule(None, None))
    run = run_of(model, 16)
    parts = [importance(run, side, "example") for side in ("forget", "retain")]
    a, b = len(FORGET[1]), len(RETAIN[1])
    result = kind.unlearn(model, FORGET, RETAIN)
    after = dict(result.model.named_parameters())
    held = damped = 0
    for name, weight in model.named_parameters():
        whole = (a * parts[0][name] + b * parts[1][name]) / (a + b)
        ratio = whole / parts[0][name]
        chosen = parts[0][name] > 2.0 * whole
        assert bool((after[name].abs() <= weight.abs()).all())
        held += int((chosen & (6.0 * ratio > 1.0)).sum())  # where lambda would have made it larger
        damped += int((chosen & (6.0 * ratio < 1.0)).sum())
    assert held > 0 and damped > 0 and result.after != result.before
