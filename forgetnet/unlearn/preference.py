"""Unlearning as preference: make what is to be forgotten less likely than the start model had it.

Unlike ascent, these losses level off once an example is forgotten. They work through log p(y|x)
alone, so they fit classifiers as well as language models. Know nothing of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from forgetnet.unlearn.config import Cost, check_positive
from forgetnet.unlearn.gradient import Retaining
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.task import Task

__all__ = ["NPO", "SimNPO", "npo", "remember_start", "started"]


def npo(excess: Tensor, beta: float) -> Tensor:
    """Return -(2/beta) mean log sigmoid(beta excess) of (n,) amounts by which a NLL has grown.

    It tends to ascent, up to a constant, as beta tends to 0 (Zhang et al. 2024).
    """
    return -2.0 / beta * functional.logsigmoid(beta * excess).mean()


def remember_start(run: Run, *sides: Side) -> None:
    """Compute the start model's NLL of whole sets, once and before the first step."""
    for side in sides:
        run.kept[f"start/{side}"] = run.start_nll(side)


def started(run: Run, side: Side, positions: list[int]) -> Tensor:
    """Return (n,) of what :func:`remember_start` computed."""
    kept: Tensor = run.kept[f"start/{side}"]
    return kept[positions].to(run.device)


@register("npo")
@dataclass(frozen=True)
class NPO(Retaining):
    """Negative preference optimisation (Zhang et al. 2024), with a retain term.

    The start model's likelihoods are computed once and kept, one number an example; no copy of the
    model is, but for ``retain="kl"``.

    Attributes:
        beta: how soon an example that is forgotten stops counting, per nat.
        length_normalise: take means over labelled tokens in place of sums, which on long texts
            leave the sigmoid flat after few steps; not in the paper.
    """

    name: ClassVar[str] = "npo"
    reference: ClassVar[str] = "Zhang et al. 2024, Negative Preference Optimization, the loss L_NPO"

    beta: float = 0.1
    length_normalise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(beta=self.beta)

    def begin(self, run: Run) -> None:
        """Compute the start model's likelihoods."""
        super().begin(run)
        remember_start(run, "forget")

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict the cost, with the start model's passes."""
        found = super().estimate(model, forget, retain, task=task)
        return found + Cost(forwards=self.check(forget, retain, task).size(forget))

    def objective(self, run: Run, step: int) -> Tensor:
        """Return -(2/b) w_f mean log sigmoid(b (NLL - NLL_start)) + w_r R(retain)."""
        positions = run.positions("forget", step)
        nll, count = run.nll(run.take("forget", positions))
        excess = nll - started(run, "forget", positions)
        if self.length_normalise:
            excess = excess / count
        lost = npo(excess, self.beta)
        return self.forget_weight * lost + self.retain_weight * self.retained(run, step)


@register("simnpo")
@dataclass(frozen=True)
class SimNPO(Retaining):
    """NPO without a reference: likelihoods by token stand for it (Fan et al. 2024).

    Attributes:
        beta: steepness, per nat a token.
        margin: gamma of the paper, subtracted inside of the sigmoid and outside of beta. Some code
            has it inside of beta: that delta is ``margin / beta``.
    """

    name: ClassVar[str] = "simnpo"
    reference: ClassVar[str] = "Fan et al. 2024, Simplicity Prevails, the loss of SimNPO"

    forget_weight: float = 0.125
    beta: float = 4.5
    margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(beta=self.beta)

    def objective(self, run: Run, step: int) -> Tensor:
        """Return -(2/b) w_f mean log sigmoid(b NLL / tokens - margin) + w_r R(retain)."""
        nll, count = run.nll(run.batch("forget", step))
        lost = npo(nll / count - self.margin / self.beta, self.beta)
        return self.forget_weight * lost + self.retain_weight * self.retained(run, step)
