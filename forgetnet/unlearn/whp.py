"""Generic targets: what a model would have said that never dwelt on what is to be forgotten.

A copy is trained further on the forget set. Where it raises a word, the knowledge is; the target
is what is likeliest when that rise is subtracted. Knows nothing of names or languages: whoever
calls says what is generic, if anything is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.config import Cost, check_positive
from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.reach import backward
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.task import Task

__all__ = ["WHP", "generic"]


def generic(base: Tensor, reinforced: Tensor, alpha: float) -> Tensor:
    """Return z_base - alpha relu(z_reinforced - z_base) of (m, v) logits (the paper's eq. 1)."""
    return base - alpha * functional.relu(reinforced - base)


@register("whp")
@dataclass(frozen=True)
class WHP(Descent):
    """Learn generic targets (Eldan and Russinovich 2023, Who's Harry Potter).

    The targets are computed once, one token for each labelled one; neither copy of the model
    outlives that.

    Attributes:
        alpha: how much of the rise is subtracted.
        reinforce_lr: learning rate of the copy that is trained further.
        reinforce_epochs: its passes over the forget set.
        anchors: the forget set once more, with generic names in place of its own; the start model
            reads this. Example by example it has as many labelled tokens as the forget set.
    """

    name: ClassVar[str] = "whp"
    reference: ClassVar[str] = "Eldan and Russinovich 2023, Who's Harry Potter, eq. 1"

    alpha: float = 5.0
    reinforce_lr: float = 1e-4
    reinforce_epochs: float = 3.0
    anchors: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = {"alpha": self.alpha, "reinforce_lr": self.reinforce_lr}
        check_positive(**settings, reinforce_epochs=self.reinforce_epochs)

    def extra(self) -> Mapping[str, Any]:
        """Return the anchored texts, where there are any."""
        return {} if self.anchors is None else {"alternatives": self.anchors}

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as JSON values, without the anchored texts."""
        return {**super().to_plain(), "anchors": type(self.anchors).__name__}

    def check(self, forget: Any, retain: Any, task: Task | None, **others: Any) -> Task:
        """Return the task, if the anchored texts fit the forget set.

        Raises:
            InvalidRecord: they don't, or something is missing.
        """
        chosen = super().check(forget, retain, task, **others)
        if self.anchors is None:
            return chosen
        if chosen.size(self.anchors) != chosen.size(forget):
            raise InvalidRecord("give one anchored text for each example to forget")
        cpu = torch.device("cpu")
        for i in range(chosen.size(forget)):
            sizes = {chosen.tokens(chosen.batch(d, [i], cpu)) for d in (forget, self.anchors)}
            if len(sizes) > 1:
                raise InvalidRecord(f"the anchored text at {i} has another number of tokens")
        return chosen

    def begin(self, run: Run) -> None:
        """Train the copy further, and compute the targets."""
        reinforced = self._reinforce(run)
        side = "forget" if self.anchors is None else "alternatives"
        run.kept["targets"] = []
        for first in range(0, run.size("forget"), self.batch_size):
            where = list(range(first, min(first + self.batch_size, run.size("forget"))))
            batch, plain = run.take("forget", where), run.take(side, where)
            with torch.no_grad():
                run.count(plain)
                base = run.task.logits(run.model, plain)
                run.count(batch)
                target = generic(base, run.task.logits(reinforced, batch), self.alpha).argmax(-1)
            counts = [run.task.tokens(run.take("forget", [i])) for i in where]
            run.kept["targets"] += torch.split(target.cpu(), counts)

    def _reinforce(self, run: Run) -> nn.Module:
        copied = copy.deepcopy(run.model)
        weights = [p for name, p in copied.named_parameters() if name in run.scope]
        run.cost += Cost(bytes=sum(p.numel() * p.element_size() for p in copied.parameters()))
        optimiser = torch.optim.AdamW(weights, self.reinforce_lr, weight_decay=0.0)
        for step in range(self._reinforcing(run.size("forget"))):
            optimiser.zero_grad(set_to_none=True)
            batch = run.batch("forget", step)
            run.count(batch)
            loss = run.task.loss(copied, batch).mean()
            backward(loss)
            optimiser.step()
        return copied

    def _reinforcing(self, size: int) -> int:
        return math.ceil(self.reinforce_epochs * -(-size // self.batch_size))

    def objective(self, run: Run, step: int) -> Tensor:
        """Return the cross entropy with the generic targets."""
        positions = run.positions("forget", step)
        target = torch.cat([run.kept["targets"][i] for i in positions]).to(run.device)
        return functional.cross_entropy(run.logits(run.take("forget", positions)), target)

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict the cost, with that of the copy and the targets."""
        found = super().estimate(model, forget, retain, task=task)
        size = self.check(forget, retain, task, **self.extra()).size(forget)
        trained = int(self.reinforce_epochs * size)
        return found + Cost(forwards=trained + 2 * size, backwards=trained)
