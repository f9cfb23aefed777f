"""The attack on shared weights sees what is known better than a holdout, by rank or by level."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from forgetnet.audit.verdict import Verdict
from forgetnet.fallback import Probe


class Says(nn.Module):
    """Answers with logits that are its input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.scale


def sure(probabilities: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Make examples to whose right answer a model gives these probabilities."""
    logits = np.stack([np.log(probabilities), np.log1p(-probabilities)], axis=1)
    return torch.from_numpy(logits), torch.zeros(len(logits), dtype=torch.long)


def probe(forget: np.ndarray, holdout: np.ndarray) -> Probe:
    sets = sure(forget), sure(holdout)
    return Probe(*sets, task=None, original=Says(), never=Says(), margin=0.1)


def test_records_known_well_are_told_from_a_holdout_known_in_part() -> None:
    """Half of the holdout is known better still, so that the ranks are even."""
    draw = np.random.default_rng(0)
    forget = draw.uniform(0.90, 0.92, 400)
    holdout = np.concatenate([draw.uniform(0.97, 0.99, 200), draw.uniform(0.01, 0.1, 200)])
    found = probe(forget, holdout).attack(Says())
    assert abs(found.numbers["auc auc"] - 0.5) < 0.02
    assert found.verdict is Verdict.INCONSISTENT


def test_sets_of_one_kind_are_not_told_apart_and_few_are_not_judged() -> None:
    draw = np.random.default_rng(1)
    ours, theirs = draw.uniform(0.3, 0.7, (2, 600))
    assert probe(ours, theirs).attack(Says()).verdict is Verdict.CONSISTENT
    assert probe(ours[:5], theirs[:5]).attack(Says()).verdict is Verdict.UNDERPOWERED
