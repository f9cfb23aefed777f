"""Ideal push: forget pairs of a contrastive embedding without a look at what is to be kept.

For whoever may not, or can't, read the retained records once more. After the loss that DIET (AAAI
2026) describes, a Busemann push towards ideal points, whose code and coefficients we had not; its
own paper reports what is left, and so no push is a proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.config import StopRule
from forgetnet.unlearn.contrastive import busemann
from forgetnet.unlearn.paired import Paired
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run

__all__ = ["IdealPush"]


@register("ideal_push")
@dataclass(frozen=True)
class IdealPush(Paired):
    """Push what is to be forgotten to where a model puts it that never heard of its partner.

    That is near what else it resembles. With b0 the entry of the bank, not its partner, that an
    input is nearest to at the start, and B the Busemann function of the ray through b0 (how far an
    input is from the ray's ideal end), it minimises
    E_f relu(B(x) - s B(b0)) + w E_bank d(b, b0)^2. The bank is constants, nobody's records; nothing
    that is retained is read, and by default nothing of it decides when to stop, either.

    Attributes:
        share: s, how far towards the end of the ray is enough, of where b0 is.
        anchor: w, holds the bank where it was.
    """

    name: ClassVar[str] = "ideal_push"
    reference: ClassVar[str] = "after DIET 2026, the Busemann loss; see the module"
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})

    lr: float = 3e-3
    share: float = 0.5
    anchor: float = 1.0
    stop: StopRule = field(default_factory=lambda: StopRule(None, None))

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.share, self.anchor) < 0.0:
            raise InvalidRecord("share= and anchor= are not below 0")

    def begin(self, run: Run) -> None:
        """Find where the bank is, and which ray each forgotten input is to follow."""
        rays = []
        task: Any = run.task
        with torch.no_grad():
            for first in range(0, run.size("forget"), self.batch_size):
                last = min(first + self.batch_size, run.size("forget"))
                views = self._views(run, "forget", list(range(first, last)))
                away = task.distance(views.here[:, None], views.bank[None])
                rays.append(away.masked_fill(~views.others, torch.inf).argmin(dim=1))
                run.kept["bank"] = views.bank
        run.kept["ray"] = run.kept["bank"][torch.cat(rays)]

    def objective(self, run: Run, step: int) -> Tensor:
        """Return the push and the anchor."""
        positions = run.positions("forget", step)
        views = self._views(run, "forget", positions)
        task: Any = run.task
        ray = run.kept["ray"][positions]
        enough = self.share * busemann(ray, ray, task.geometry)
        left = functional.relu(busemann(ray, views.here, task.geometry) - enough).mean()
        moved = task.distance(views.bank, run.kept["bank"])
        total: Tensor = left + self.anchor * moved.square().mean()
        return total
