"""Differentially private training: a bound, beforehand, on what any one example can have changed.

Prevention, not unlearning: a model trained so may keep an example's traces, but only within
(epsilon, delta). Opacus computes gradients by example, clips them, adds the noise and keeps the
account (extra ``private``). Knows nothing of requests to forget.
"""

from __future__ import annotations

import copy
import math
import secrets
import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor, nn

from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, Unsupported, not_installed
from forgetnet.experts.pinned import drawn, mix
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.task import Task, task_of

__all__ = ["PrivateTraining", "for_several", "train_private"]

_NOTES = (
    "neighbouring data sets differ by one example; k examples have k times epsilon or more",
    "epsilon is of these steps alone; a choice of settings that saw the data adds to it",
    "the noise is not cryptographic: whoever knows the seed can subtract it",
)


@dataclass(frozen=True)
class PrivateTraining:
    """A model that was trained privately, and the account of it.

    Attributes:
        model: a trained copy.
        epsilon, delta: what the accountant grants for all steps together.
        noise_multiplier: standard deviation of the noise over ``max_grad_norm``.
        max_grad_norm: what each example's gradient was clipped to.
        sample_rate: the chance of each example to be in a step's batch.
        steps: of the optimiser.
        accountant: ``rdp`` or ``prv``.
        library: whose account it is.
        notes: sentences on what it doesn't say.
    """

    model: nn.Module = field(repr=False)
    epsilon: float
    delta: float
    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    steps: int
    accountant: str
    library: str
    notes: tuple[str, ...] = _NOTES

    def to_plain(self) -> dict[str, Any]:
        """Return the account as plain JSON, without the model, for a plan to carry."""
        told = {n: getattr(self, n) for n in self.__dataclass_fields__ if n != "model"}
        return {"mechanism": "DP-SGD", "unit": "example", **told, "notes": list(self.notes)}


def for_several(epsilon: float, delta: float, count: int) -> tuple[float, float]:
    """Return what (epsilon, delta) for one example comes to for k of them.

    Group privacy: k epsilon, and k e^((k-1) epsilon) delta, at most 1 (Vadhan 2017, The Complexity
    of Differential Privacy, on groups).
    """
    if count < 1:
        return 0.0, 0.0
    grown = (count - 1) * epsilon + math.log(count) + (math.log(delta) if delta else -math.inf)
    return count * epsilon, math.exp(min(grown, 0.0))


@dataclass(frozen=True)
class _Settings:
    rate: float
    steps: int
    delta: float
    kind: str

    def noise_for(self, epsilon: float) -> float:
        from opacus.accountants.utils import get_noise_multiplier

        found: float = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=self.delta,
            sample_rate=self.rate,
            steps=self.steps,
            accountant=self.kind,
        )
        return found


def train_private(
    model: nn.Module,
    data: Any,
    *,
    delta: float,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    max_grad_norm: float = 1.0,
    lr: float = 0.1,
    epochs: float = 10.0,
    batch_size: int = 64,
    accountant: Literal["rdp", "prv"] = "rdp",
    seed: int | None = None,
    task: Task | None = None,
) -> PrivateTraining:
    """Train a copy of a model by DP-SGD (Abadi et al. 2016, algorithm 1), with Poisson batches.

    Args:
        model: every parameter that wants gradients is trained; its start must not come from the
            same data.
        data: as the task takes it.
        delta: below 1 over the number of examples.
        epsilon: what may be spent; the noise is chosen for it. Give this or the noise.
        noise_multiplier: the noise; epsilon is what comes of it.
        max_grad_norm: bound on each example's gradient.
        lr: learning rate of plain gradient descent.
        epochs: expected passes over the data.
        batch_size: expected examples of a step.
        accountant: ``rdp`` bounds from above; ``prv`` is tighter, by a numerical method.
        seed: a secret: noise that can be repeated can be subtracted. None draws one and forgets it.
        task: what kind of data it is; told from the data by default.

    Raises:
        Unsupported: opacus isn't installed, or the model mixes examples, as batch norm does.
        InvalidRecord: a setting makes no sense.
    """
    check_kind("model", model, nn.Module)
    chosen = task_of(data, task)
    size = chosen.size(data)
    check_positive(max_grad_norm=max_grad_norm, lr=lr, epochs=epochs, batch_size=batch_size)
    if (epsilon is None) == (noise_multiplier is None):
        raise InvalidRecord("give epsilon= or noise_multiplier=, one of them")
    check_positive(budget=epsilon or noise_multiplier or 0.0)
    if not size or batch_size > size or not 0.0 < delta < 1.0 / size:
        raise InvalidRecord(f"delta= is between 0 and 1/{size}, and batch_size= at most {size}")
    trained = copy.deepcopy(model)
    _fit_for_it(trained)
    rate = batch_size / size
    plan = _Settings(rate, math.ceil(epochs / rate), delta, accountant)
    noise = plan.noise_for(epsilon) if epsilon is not None else noise_multiplier
    drawn_seed = secrets.randbits(62) if seed is None else seed
    spent = _descend(
        trained, data, chosen, plan, bound=max_grad_norm, lr=lr, noise=noise, seed=drawn_seed
    )
    trained.train(model.training)
    return PrivateTraining(
        trained,
        spent,
        delta,
        float(noise or 0.0),
        max_grad_norm,
        rate,
        plan.steps,
        accountant,
        f"opacus {version('opacus')}",
    )


def _fit_for_it(model: nn.Module) -> None:
    try:
        from opacus.validators import ModuleValidator
    except ImportError as error:
        raise not_installed("opacus", "private") from error
    model.train()
    if reasons := ModuleValidator.validate(model, strict=False):
        raise Unsupported(f"the model can't be trained privately: {reasons[0]}")


def _descend(
    model: nn.Module,
    data: Any,
    task: Task,
    plan: _Settings,
    *,
    bound: float,
    lr: float,
    noise: float | None,
    seed: int,
) -> float:
    """Train in place; return the epsilon that the accountant grants."""
    from opacus import GradSampleModule
    from opacus.accountants import create_accountant
    from opacus.optimizers import DPOptimizer

    size = task.size(data)
    weights = [p for p in model.parameters() if p.requires_grad]
    draw = torch.Generator().manual_seed(mix(seed, "poisson"))
    added = torch.Generator(weights[0].device).manual_seed(mix(seed, "noise"))
    account = create_accountant(plan.kind)
    wrapped = GradSampleModule(model)
    optimiser = DPOptimizer(
        torch.optim.SGD(weights, lr),
        noise_multiplier=noise,
        max_grad_norm=bound,
        expected_batch_size=max(1, round(plan.rate * size)),
        generator=added,
    )
    try:
        with warnings.catch_warnings():
            # inputs are data and want no gradients: that is how it is meant
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            for step in range(plan.steps):
                chosen = (torch.rand(size, generator=draw) < plan.rate).nonzero()[:, 0].tolist()
                optimiser.zero_grad(set_to_none=True)
                with drawn(mix(seed, "step", step)):
                    _gradients(wrapped, task, data, chosen)
                optimiser.step()
                account.step(noise_multiplier=noise, sample_rate=plan.rate)
    finally:
        wrapped.to_standard_module()
    for weight in weights:
        weight.grad = None
    return float(account.get_epsilon(plan.delta))


def _gradients(wrapped: nn.Module, task: Task, data: Any, chosen: list[int]) -> None:
    """Leave each weight's gradients by example with it; noise goes to an empty batch, too."""
    weights = [p for p in wrapped.parameters() if p.requires_grad]
    if not chosen:
        for weight in weights:
            empty: Any = weight
            empty.grad_sample = weight.new_zeros((0, *weight.shape))
        return
    loss: Tensor = task.loss(wrapped, task.batch(data, chosen, weights[0].device)).mean()
    loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without annotations
