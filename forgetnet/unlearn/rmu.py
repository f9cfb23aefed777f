"""Misdirecting representations: what is to be forgotten meets a random direction inside the model.

The activations of one module are steered on the forget set and kept on the retain set, so only
that module and what runs before it changes. Knows nothing of labels but which tokens are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.causal import token_mask
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.task import Batch, Task, precise
from forgetnet.unlearn.unlearner import unfit

__all__ = ["RMU", "activations", "apart"]


def activations(model: nn.Module, name: str, task: Task, batch: Batch) -> Tensor:
    """Return what a module put out while the model answered a batch: (n, t, d).

    Of an output without positions t is 1; of feature maps (n, d, ...) the places are positions.

    Raises:
        Unsupported: the module didn't run, or put out no tensor of two dimensions or more.
    """
    caught: list[Any] = []
    module = model.get_submodule(name)
    handle = module.register_forward_hook(lambda _module, _args, out: caught.append(out))
    try:
        task.logits(model, batch)
    finally:
        handle.remove()
    found = caught[-1] if caught else None
    found = found[0] if isinstance(found, tuple) else found
    if not isinstance(found, Tensor) or found.ndim < 2:
        raise unfit("rmu", f"{name} puts out no activations when the model answers")
    if "input_ids" in batch:
        return found
    return found.reshape(*found.shape[:2], -1).transpose(1, 2)


def apart(here: Tensor, there: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over sequences of the mean over their tokens of a squared difference.

    A sequence counts as much as any other, however long it is.

    Args:
        here: (n, t, d) activations.
        there: what they are to be, of the same shape or (d,).
        mask: (n, t), true of the tokens that count; None for all.
    """
    each = (here - there).square().mean(dim=-1)
    if mask is None:
        return each.mean()
    weight = mask.to(each.dtype)
    return ((each * weight).sum(dim=1) / weight.sum(dim=1)).mean()


def _length(found: Tensor, mask: Tensor | None) -> float:
    """Return the mean length of activations, over tokens that count."""
    each = precise(found).norm(dim=-1)
    return float(each.mean() if mask is None else each[mask].mean())


@register("rmu")
@dataclass(frozen=True)
class RMU(Descent):
    """Representation misdirection for unlearning (Li et al. 2024, WMDP).

    Squared differences are means over d, as in the authors' settings, where the paper has norms.
    With the default ``params`` everything changes that the module's activations depend on; the
    authors change one matrix in each of three layers, which ``params`` can name. Their c and alpha
    are tuned to a model (6.5 and 1200 for Zephyr-7B); the defaults here go by the activations.

    Nothing is asked of the answers, so whether they are lost depends on the module. Steer what the
    next layer reads: a block of a language model, an activation function of a classifier. A layer
    ahead of a normalisation or a ReLU undoes much of it, and one that forget and retain set share
    in full can't part them. What is steered far beyond its length, c, takes the retain set along.

    Attributes:
        module: the name of the module whose output is steered, as ``model.named_modules`` has it.
        coefficient: c, the length of the control vector; None for the mean length of the
            activations on a batch of the forget set.
        retain_weight: alpha, of what keeps activations on the retain set.
        tokens: whose activations count: all that are no padding, or those with a label.
    """

    name: ClassVar[str] = "rmu"
    reference: ClassVar[str] = "Li et al. 2024, The WMDP Benchmark, RMU: forget and retain loss"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})

    module: str = ""
    lr: float = 5e-5
    coefficient: float | None = None
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    tokens: Literal["unpadded", "labelled"] = "unpadded"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(coefficient=1.0 if self.coefficient is None else self.coefficient)

    def begin(self, run: Run) -> None:
        """Draw the control vector, copy the start model, and find what the module depends on."""
        if self.module not in dict(run.model.named_modules()) or not self.module:
            raise InvalidRecord(f"module= names no module of the model: {self.module[:80]!r}")
        with torch.enable_grad():
            batch = run.take("forget", list(range(min(self.batch_size, run.size("forget")))))
            run.count(batch)
            found = activations(run.model, self.module, run.task, batch)
            wanted = list(run.scope.items())
            if not found.requires_grad:
                raise unfit(self.name, f"nothing in params= runs before {self.module}")
            gradients: Any = torch.autograd.grad(
                found.square().sum(), [p for _, p in wanted], allow_unused=True
            )
        pairs = zip(wanted, gradients, strict=True)
        run.scope = {name: p for (name, p), gradient in pairs if gradient is not None}
        for name, parameter in run.model.named_parameters():
            parameter.requires_grad_(name in run.scope)
        drawn = torch.rand(found.shape[-1], generator=run.generator("control", 0))
        length = self.coefficient
        if length is None:
            length = _length(found.detach(), token_mask(batch, self.tokens))
        run.kept["control"] = (length * drawn / drawn.norm()).to(found)
        run.start  # noqa: B018 # a property that is made now, before the first step

    def objective(self, run: Run, step: int) -> Tensor:
        """Return w_f |h(forget) - c u|^2 + w_r |h(retain) - h_start(retain)|^2."""
        lost, kept = run.batch("forget", step), run.batch("retain", step)
        run.count(lost)
        steered = activations(run.model, self.module, run.task, lost)
        away = apart(steered, run.kept["control"], token_mask(lost, self.tokens))
        run.count(kept)
        now = activations(run.model, self.module, run.task, kept)
        with torch.no_grad():
            run.count(kept)
            then = activations(run.start, self.module, run.task, kept)
        near = apart(now, then, token_mask(kept, self.tokens))
        return self.forget_weight * away + self.retain_weight * near

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return three forward passes, one of them of the start model, and two backward ones."""
        return 3.0, 2.0
