"""Private training: clipped by example, noisy, accounted for, and refused where it can't hold."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest
import torch
from torch import nn

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.unlearn.private import train_private


def world(size: int = 200) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    x = torch.randn(size, 4)
    return nn.Linear(4, 2), (x, (x[:, 0] > 0).long())


def accuracy(model: nn.Module, data: Any) -> float:
    with torch.no_grad():
        return float((model(data[0]).argmax(1) == data[1]).float().mean())


def by_hand(sigma: float, rate: float, steps: int, delta: float) -> float:
    """Epsilon of the subsampled Gaussian (Mironov et al. 2019), whole orders, by its sum."""
    best = math.inf
    for order in range(2, 64):
        logs = [
            math.lgamma(order + 1)
            - math.lgamma(k + 1)
            - math.lgamma(order - k + 1)
            + (order - k) * math.log1p(-rate)
            + k * math.log(rate)
            + (k * k - k) / (2 * sigma**2)
            for k in range(order + 1)
        ]
        top = max(logs)
        rdp = steps * (top + math.log(sum(math.exp(v - top) for v in logs))) / (order - 1)
        # from Renyi to (epsilon, delta): Balle et al. 2020, theorem 21
        extra = math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        best = min(best, rdp + extra)
    return best


def test_epsilon_is_that_of_the_subsampled_gaussian() -> None:
    model, data = world()
    found = train_private(model, data, delta=1e-4, noise_multiplier=1.1, batch_size=20, epochs=5)
    assert found.steps == 50
    expected = by_hand(1.1, 0.1, 50, 1e-4)
    assert found.epsilon <= expected * 1.001  # opacus tries fractions of orders, too
    assert found.epsilon == pytest.approx(expected, rel=0.05)
    told = json.loads(json.dumps(found.to_plain()))
    assert told["epsilon"] == found.epsilon
    assert any("k times epsilon" in note for note in told["notes"])


def test_it_learns_within_its_budget_and_leaves_no_trace_of_the_library() -> None:
    model, data = world()
    before = accuracy(model, data)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = train_private(
        model, data, delta=1e-4, epsilon=6.0, batch_size=40, epochs=20, lr=1.0, seed=1
    )
    assert found.epsilon <= 6.0
    assert accuracy(found.model, data) > max(0.85, before)
    assert type(found.model) is nn.Linear
    assert not found.model._forward_hooks
    assert not any(hasattr(p, "grad_sample") for p in found.model.parameters())
    assert all(torch.equal(t, kept[name]) for name, t in model.state_dict().items())


def test_one_example_moves_one_step_by_no_more_than_the_clip() -> None:
    model, (x, y) = world(40)
    wild = x.clone()
    wild[0] *= 1e4  # an example with an enormous gradient
    settings: Any = {"delta": 1e-3, "noise_multiplier": 1.0, "batch_size": 40, "epochs": 1}
    clean, moved = (
        train_private(model, (inputs, y), max_grad_norm=0.5, lr=1.0, seed=3, **settings).model
        for inputs in (x, wild)
    )
    # the seed is the same, so the noise is: what differs is one clipped gradient
    pairs = zip(clean.parameters(), moved.parameters(), strict=True)
    apart = math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in pairs))
    assert 0 < apart <= 2 * 0.5 / 40 + 1e-5


def test_a_seed_repeats_and_none_does_not() -> None:
    model, data = world(60)

    def weights(seed: int | None) -> torch.Tensor:
        settings: Any = {"delta": 1e-3, "noise_multiplier": 1.0, "batch_size": 2, "epochs": 1}
        # two of sixty: some batches are empty, and get their noise all the same
        return train_private(model, data, seed=seed, **settings).model.weight.detach()

    assert torch.equal(weights(4), weights(4))
    assert not torch.equal(weights(None), weights(None))


def test_what_mixes_examples_or_makes_no_sense_is_refused() -> None:
    model, data = world()
    mixing = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(Unsupported, match="BatchNorm"):
        train_private(mixing, data, delta=1e-4, epsilon=1.0)
    with pytest.raises(InvalidRecord, match="one of them"):
        train_private(model, data, delta=1e-4)
    with pytest.raises(InvalidRecord, match="delta="):
        train_private(model, data, delta=0.1, epsilon=1.0)


def test_it_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("opacus", "opacus.validators"):
        monkeypatch.setitem(sys.modules, name, None)
    model, data = world()
    with pytest.raises(Unsupported, match=r"\[private\]"):
        train_private(model, data, delta=1e-4, epsilon=1.0)
