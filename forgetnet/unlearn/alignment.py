"""Alignment calibration: take pairs apart that a contrastive embedding is to forget.

A reconstruction for one embedding from the parts that two papers describe, whose coefficients we
had not: Wang et al. 2024 (alignment calibration) and Vidal et al. 2025 (hyperbolic, with
entailment and norms). Compare with retraining, not with zero: pairs that lie further apart than a
model that never saw them would have it tell that something was forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.contrastive import exterior_angle
from forgetnet.unlearn.paired import Paired
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run

__all__ = ["AlignmentCalibration"]


@register("alignment_calibration")
@dataclass(frozen=True)
class AlignmentCalibration(Paired):
    """Keep retained pairs together and push forgotten ones apart, each term with its weight.

    With d the distance, a the partner of x, a' the bank's other entries, Xi the exterior angle at
    the partner and r the norm, it minimises
    L_con(retain) + w_e E_r relu(Xi(a, x) - mu)
    + w_p E_f relu(m - d(a, x)) + w_n E_f,a' d(a', x) + w_c E_f relu(mu - Xi(a, x))
    + w_r E_f (r(x) - r0)^2, where r0 is the median norm of retained inputs at the start.

    Attributes:
        retain_entailment: w_e, keeps retained inputs in the cones of their partners.
        positive: w_p, pushes forgotten pairs apart.
        negative: w_n, pulls forgotten inputs among the others.
        entailment: w_c, pushes forgotten inputs out of the cones of their partners.
        norm: w_r, keeps norms from telling what was forgotten.
        margin: m, the distance at which a pair is apart.
        aperture: mu, half the opening of a cone, in radians; one for all, where MERU's shrinks
            with the norm of the apex.
    """

    name: ClassVar[str] = "alignment_calibration"
    reference: ClassVar[str] = "after Wang et al. 2024 and Vidal et al. 2025; see the module"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})

    lr: float = 1e-3
    retain_entailment: float = 0.5
    positive: float = 1.0
    negative: float = 0.1
    entailment: float = 1.0
    norm: float = 0.1
    margin: float = 3.0
    aperture: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = (self.retain_entailment, self.positive, self.negative, self.entailment, self.norm)
        if min(*weights, self.margin, self.aperture) < 0.0:
            raise InvalidRecord("weights, margin= and aperture= are not below 0")

    def begin(self, run: Run) -> None:
        """Find the median norm of the retained inputs."""
        norms = []
        with torch.no_grad():
            for first in range(0, run.size("retain"), self.batch_size):
                last = min(first + self.batch_size, run.size("retain"))
                views = self._views(run, "retain", list(range(first, last)))
                norms.append(torch.linalg.vector_norm(views.here, dim=-1))
        run.kept["norm"] = torch.cat(norms).median()

    def objective(self, run: Run, step: int) -> Tensor:
        """Return the weighted sum of the six terms."""
        lost = self._views(run, "forget", run.positions("forget", step))
        kept = self._views(run, "retain", run.positions("retain", step))
        task: Any = run.task
        scores = task.scores(kept)
        right = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        inside = exterior_angle(kept.there, kept.here, task.geometry)
        outside = exterior_angle(lost.there, lost.here, task.geometry)
        across = task.distance(lost.here[:, None], lost.bank[None])
        radius = torch.linalg.vector_norm(lost.here, dim=-1)
        apart = functional.relu(self.margin - task.distance(lost.here, lost.there)).mean()
        near = across[lost.others].sum() / lost.others.sum().clamp_min(1)
        total: Tensor = (
            functional.cross_entropy(scores, right)
            + self.retain_entailment * functional.relu(inside - self.aperture).mean()
            + self.positive * apart
            + self.negative * near
            + self.entailment * functional.relu(self.aperture - outside).mean()
            + self.norm * (radius - run.kept["norm"]).square().mean()
        )
        return total
