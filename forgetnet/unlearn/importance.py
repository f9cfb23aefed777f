"""How much each weight matters to some data: mean squares of gradients, by example or by batch.

The diagonal of the empirical Fisher information where gradients are of single examples. Knows
nothing of what is done with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from forgetnet.unlearn.identity import digests, joint_digest
from forgetnet.unlearn.result import state_digest
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.task import Batch, ClassificationTask, Task
from forgetnet.unlearn.whole import read_whole, write_whole

__all__ = ["By", "Scores", "importance", "load_scores", "save_scores", "scores_key"]

By = Literal["example", "loop", "batch"]
"""``example`` takes all gradients of a batch at once (vmap), ``loop`` one by one, to the same
numbers up to rounding; ``batch`` the gradient of a batch's mean loss, as most published code does,
so that the numbers depend on the size of batches."""
Scores = dict[str, Tensor]


class _Pull(nn.Module):
    """What is differentiated, as a module, so that its parameters can be given as arguments."""

    def __init__(self, task: Task, model: nn.Module, *, label_free: bool) -> None:
        super().__init__()
        self.model = model
        self._task = task
        self._label_free = label_free

    def forward(self, batch: Batch) -> Tensor:
        """Return the mean loss, or the mean squared norm of the outputs."""
        if self._label_free:
            return self._task.logits(self.model, batch).float().square().sum(dim=-1).mean()
        if isinstance(self._task, ClassificationTask):  # without a look at labels, for vmap
            logits = self._task.logits(self.model, batch)
            return functional.cross_entropy(logits.float(), batch["targets"])
        return self._task.loss(self.model, batch).mean()


def importance(run: Run, side: Side, by: By, *, label_free: bool = False) -> Scores:
    """Return for each weight in scope the mean over a set of squared gradients of the loss.

    Args:
        run: its model is asked as it is now.
        side: the set.
        by: see :data:`By`.
        label_free: gradients are of the squared norm of the outputs, and their absolute values are
            taken in place of squares (Foster et al. 2024b, Loss-Free SSD).
    """
    pull = _Pull(run.task, run.model, label_free=label_free)
    totals = {name: torch.zeros_like(p) for name, p in run.scope.items()}
    size, each = run.size(side), 1 if by == "loop" else run.batch_size
    with torch.enable_grad():
        for first in range(0, size, each):
            batch = run.take(side, list(range(first, min(first + each, size))))
            if side == "forget" and not first and not label_free:
                run.loss(batch)  # refuses labels that are none
            run.count(batch)
            found = _by_example(pull, run, batch) if by == "example" else _of_mean(pull, run, batch)
            for name, gradient in found.items():
                weight = 1 if by == "example" else min(each, size - first)
                size_of = gradient.abs() if label_free else gradient.square()
                whole = size_of.sum(dim=0) if by == "example" else size_of
                totals[name] += weight * whole
    return {name: total / size for name, total in totals.items()}


def _of_mean(pull: _Pull, run: Run, batch: Batch) -> Scores:
    gradients = torch.autograd.grad(pull(batch), list(run.scope.values()), allow_unused=True)
    names: list[tuple[str, Tensor]] = list(run.scope.items())
    given: list[Tensor | None] = list(gradients)
    return {
        name: torch.zeros_like(p) if g is None else g.detach()
        for (name, p), g in zip(names, given, strict=True)
    }


def _by_example(pull: _Pull, run: Run, batch: Batch) -> Scores:
    """Return gradients with the examples as their first dimension."""
    free = {f"model.{name}": p.detach() for name, p in run.scope.items()}

    def loss(weights: Mapping[str, Tensor], one: Batch) -> Tensor:
        alone = {name: tensor.unsqueeze(0) for name, tensor in one.items()}
        value: Tensor = functional_call(pull, dict(weights), (alone,))
        return value

    found: Scores = vmap(grad(loss), in_dims=(None, 0))(free, dict(batch))
    return {name.removeprefix("model."): gradient for name, gradient in found.items()}


def scores_key(run: Run, sides: tuple[Side, ...], **settings: Any) -> str:
    """Name scores after all that they depend on: the model's bits, the set of examples, settings.

    Which of the sets an example is in makes no difference.
    """
    names = sorted(d for side in sides for d in digests(run.task, run.data[side]))
    told = [f"{name}={value}" for name, value in sorted(settings.items())]
    scope = ",".join(sorted(run.scope))
    return joint_digest(state_digest(run.model), run.task.name, scope, *told, *names)


def save_scores(folder: str | Path, key: str, scores: Scores) -> None:
    """Write scores durably under their key.

    Raises:
        StoreError: they can't be written.
    """
    write_whole(Path(folder) / f"{key}.safetensors", scores)


def load_scores(folder: str | Path, key: str, device: torch.device) -> Scores | None:
    """Return the scores under a key; None where there are none.

    Raises:
        StoreCorrupt: they can't be read.
    """
    path = Path(folder) / f"{key}.safetensors"
    if not path.exists():
        return None
    return {name: tensor.to(device) for name, tensor in read_whole(path)[0].items()}
