"""Negation: learn what is to be forgotten into an adapter, and subtract it.

While it trains, every look sees the model as it would be with the adapter subtracted, so stop rules
mean here what they mean elsewhere. Knows nothing of tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.descent import Descent, Hook
from forgetnet.unlearn.lowrank import attach
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run

__all__ = ["NegateAdapter"]


class _Turned(Hook):
    """Turns the adapter round once a gradient is there, and sees that it was trained at all."""

    def before_step(self, run: Run) -> None:
        adapter = run.kept["adapter"]
        adapter.assert_trained()
        adapter.sign = run.kept["negative"]


@register("negate_adapter")
@dataclass(frozen=True)
class NegateAdapter(Descent):
    """Subtract a task vector of low rank (negation, Ilharco et al. 2023; LoRA, Hu et al. 2021).

    theta - strength (alpha / rank) B A, where A and B were trained on the forget set. Weights of
    linear layers in ``params`` change, nothing else.

    Attributes:
        rank: of the adapters.
        alpha: over the rank, their scale.
        strength: how many times the adapter is subtracted.
    """

    name: ClassVar[str] = "negate_adapter"
    reference: ClassVar[str] = "Ilharco et al. 2023, Editing Models with Task Arithmetic, negation"

    lr: float = 1e-3
    rank: int = 8
    alpha: float = 16.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(rank=self.rank, alpha=self.alpha, strength=self.strength)

    def begin(self, run: Run) -> None:
        """Put the adapters on; they alone are trained."""
        adapter = attach(run.model, run.scope, self.rank, self.alpha, run.generator("adapter", 0))
        run.kept.update(adapter=adapter, negative=-self.strength, weights=run.scope)
        adapter.sign = -self.strength
        for parameter in run.model.parameters():
            parameter.requires_grad_(False)
        run.scope = adapter.parameters()

    def hooks(self) -> Sequence[Hook]:
        """Return what turns the adapter round between learning and looking."""
        return (_Turned(),)

    def objective(self, run: Run, step: int) -> Tensor:
        """Return the mean loss of a forget batch, with the adapter added."""
        adapter = run.kept["adapter"]
        adapter.used.clear()
        adapter.sign = 1.0  # until the gradient is there: checkpointed blocks run again for it
        return run.loss(run.batch("forget", step)).mean()

    def finish(self, run: Run) -> None:
        """Subtract the adapters from the weights for good."""
        run.kept["adapter"].merge(run.kept["weights"], -self.strength)

    def release(self, run: Run) -> None:
        """Take the adapters off."""
        if "adapter" in run.kept:
            run.kept["adapter"].remove()
            changed = run.kept["adapter"].up
            run.scope = {n: p for n, p in run.kept["weights"].items() if n in changed}
