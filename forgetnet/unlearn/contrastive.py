"""Contrastive embeddings: pairs that belong together, told from a bank of what they don't go with.

InfoNCE over a batch makes every example's loss depend on its neighbours, so that nothing could be
said of one example alone. Here the negatives are a bank that is given once: an example's loss is a
function of the model, the pair and the bank. Knows nothing of unlearning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import lorentz
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.task import Answers, Batch, PairedData, precise, size_of

__all__ = ["ContrastiveTask", "Geometry", "Views", "busemann", "exterior_angle"]

Geometry = Literal["euclidean", "lorentz"]
"""Of embeddings; ``lorentz`` takes them for tangents at the origin, curvature -1."""


class Views(NamedTuple):
    """What a model made of a batch.

    Attributes:
        here: (n, d) embeddings of the inputs.
        there: (n, d) embeddings of what they belong to.
        bank: (m, d) embeddings of the bank.
        others: (n, m), true of the bank's entries that an input doesn't belong to.
    """

    here: Tensor
    there: Tensor
    bank: Tensor
    others: Tensor


def exterior_angle(apex: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """Return the angle (...) at ``apex`` between the ray away from the origin and that to ``x``.

    Both are (..., d), tangents at the origin where the geometry is ``lorentz``. Flat, with radii
    a, r and the angle t between the directions, it is atan2(r sin t, r cos t - a).
    """
    if geometry == "lorentz":
        return lorentz.exterior_angle(apex, x, k=1.0)
    far = torch.linalg.vector_norm(apex, dim=-1)
    axis = apex / far.clamp_min(1e-12)[..., None]
    along = (x * axis).sum(-1)
    aside = torch.linalg.vector_norm(x - along[..., None] * axis, dim=-1)
    return torch.atan2(aside, along - far)


def busemann(direction: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """Return how far (...) ``x`` is from the end of a ray at infinity, less how far the origin is.

    Both are (..., d); flat, with u the unit direction, it is -<u, x>, and hyperbolic that of
    ``lorentz.busemann``.
    """
    if geometry == "lorentz":
        return lorentz.busemann(direction, x, k=1.0)
    return -(functional.normalize(direction, dim=-1) * x).sum(-1)


@dataclass(frozen=True, eq=False)
class ContrastiveTask(PairedData):
    """Pairs of inputs of one kind, such as a text and its concept; the model embeds each (n, d).

    Attributes:
        bank: (m, ...) inputs, such as all concepts. An entry equal to an example's own partner is
            no negative of it. The bank passes through the model with every batch; costs count the
            pairs alone.
        geometry: of the embeddings; ``lorentz`` takes them for tangents at the origin, curvature
            -1, and pulls them smoothly inside of the largest radius.
        temperature: what distances are divided by.
    """

    answers: ClassVar[Answers] = "numbers"
    bank: Tensor = field(repr=False)
    geometry: Geometry = "euclidean"
    temperature: float = 1.0
    name: str = "contrastive"

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        if self.geometry not in {"euclidean", "lorentz"} or not len(self.bank):
            raise InvalidRecord("geometry= is 'euclidean' or 'lorentz', and a bank has entries")

    def batch(self, data: Any, positions: Sequence[int], device: torch.device) -> Batch:
        """Return ``inputs`` and ``targets``, the partners; (n, ...) each."""
        found = self._take(data, positions, device)
        if found["targets"].shape[1:] != self.bank.shape[1:]:
            raise InvalidRecord("partners and entries of the bank are of one shape")
        return found

    def views(self, model: nn.Module, batch: Batch) -> Views:
        """Return the embeddings of a batch and of the bank, in one pass."""
        bank = self.bank.to(batch["targets"])
        n, m = size_of(batch), len(bank)
        out: Tensor = model(torch.cat([batch["inputs"].to(bank.dtype), batch["targets"], bank]))
        if out.ndim != 2:
            raise InvalidRecord(f"the model returns {tuple(out.shape)}, not (n, d) embeddings")
        out = precise(out)
        if self.geometry == "lorentz":
            out = lorentz.clip_radius(out, k=1.0)
        here, there, kept = torch.split(out, [n, n, m])
        same = (batch["targets"].reshape(n, 1, -1) == bank.reshape(1, m, -1)).all(dim=-1)
        return Views(here, there, kept, ~same)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (...) between embeddings (..., d)."""
        if self.geometry == "lorentz":
            return lorentz.polar_dist(a, b, k=1.0)
        flat: Tensor = torch.linalg.vector_norm(a - b, dim=-1)
        return flat

    def scores(self, views: Views) -> Tensor:
        """Return (n, 1 + m) logits -d / temperature, the partner's first."""
        right = self.distance(views.here, views.there)[:, None]
        wrong = self.distance(views.here[:, None], views.bank[None])
        lowest = torch.finfo(wrong.dtype).min / 4  # finite, since infinities make NaN of a KL
        wrong = (-wrong / self.temperature).masked_fill(~views.others, lowest)
        return torch.cat([-right / self.temperature, wrong], dim=1)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return (n, 1 + m) scores, the partner's first."""
        return self.scores(self.views(model, batch))

    def targets(self, batch: Batch) -> Tensor:
        """Return zeros: the first is right."""
        return torch.zeros(size_of(batch), dtype=torch.long, device=batch["targets"].device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return (n,) InfoNCE losses against the bank (van den Oord et al. 2018, eq. 4)."""
        scores = self.logits(model, batch)
        return functional.cross_entropy(scores, self.targets(batch), reduction="none")

    def nll(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the same, one token an example."""
        loss = self.loss(model, batch)
        return loss, torch.ones_like(loss)

    def relabel(self, batch: Batch, generator: torch.Generator, outputs: int) -> Batch:
        """Give each input an entry of the bank that isn't its partner, all others alike.

        Raises:
            InvalidRecord: the bank has no other for some input.
        """
        bank = self.bank.to(batch["targets"])
        n, m = size_of(batch), len(bank)
        same = (batch["targets"].reshape(n, 1, -1) == bank.reshape(1, m, -1)).all(dim=-1)
        if bool(same.all(dim=1).any()):
            raise InvalidRecord("another partner needs a second entry in the bank")
        chosen = torch.multinomial((~same).float().cpu(), 1, generator=generator)[:, 0]
        return {**batch, "targets": bank[chosen.to(bank.device)]}

    def chance(self, model: nn.Module, batch: Batch) -> float:
        """Return log(1 + m), the loss of scores that are all alike."""
        return math.log(1 + len(self.bank))

    def tokens(self, batch: Batch) -> int:
        """Count the pairs."""
        return size_of(batch)
