"""Training again without it: what every other method is measured against.

Exact where everything that the new model is made of can be shown never to have seen what is
forgotten; else it says so. Knows nothing of shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.experts.pinned import drawn, mix, pinned
from forgetnet.unlearn.changing import Course, Ending, write_state
from forgetnet.unlearn.config import Budget, Guarantee, StopRule
from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.result import state_digest
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.unlearner import snapshot_of

__all__ = ["Build", "Retrain", "Train", "fresh_model", "named"]

Build = Callable[[], nn.Module]
"""Makes the model as it was before any of the data; may draw from torch's global generator."""
Train = Callable[[nn.Module, Any, int], object]
"""Trains a model in place on a data set, from a seed."""


def named(value: Any) -> str | None:
    """Return the full name of a function, by which settings and checkpoints know it."""
    if value is None:
        return None
    return f"{value.__module__}:{getattr(value, '__qualname__', type(value).__qualname__)}"


def fresh_model(build: Build, seed: int, device: torch.device) -> nn.Module:
    """Build a model, with the global generator started from a seed and put back.

    Raises:
        InvalidRecord: what ``build`` makes is no module.
    """
    with drawn(mix(seed, "build")):
        made = build()
    check_kind("build()", made, nn.Module)
    return made.to(device)


@register("retrain")
@dataclass(frozen=True)
class Retrain(Descent):
    """Train a fresh model on the retain set alone.

    ``exact`` is claimed of a run that went through, on a CPU, if all outside of scope has the bits
    it has in a fresh model: then no tensor of the result has seen the forget set. It means the bits
    that the same code, seed, machine and order of the retain set give to a model that never saw it.

    Attributes:
        build: makes the model as it was before any of the data.
        train: a recipe of your own, called with model, retain set and seed; None for ours.
        repeat: train twice, and claim ``exact`` of a recipe of your own if the bits are equal.
    """

    name: ClassVar[str] = "retrain"
    guarantee: ClassVar[Guarantee] = "exact"
    needs: ClassVar[frozenset[str]] = frozenset({"retain", "build"})
    reference: ClassVar[str] = "Cao and Yang 2015, Towards Making Systems Forget, retraining"
    paced_by: ClassVar[Side] = "retain"

    lr: float = 1e-3
    epochs: float = 10.0
    stop: StopRule = field(default_factory=lambda: StopRule(None, None, every=64))
    mode: Literal["eval", "train"] = "train"
    build: Build | None = None
    train: Train | None = None
    repeat: bool = False

    def means(self) -> dict[str, Any]:
        """Return the factory."""
        return {"build": self.build}

    def to_plain(self) -> dict[str, Any]:
        """Return the settings, functions by their full names."""
        return {**super().to_plain(), "build": named(self.build), "train": named(self.train)}

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return one pass each."""
        return 1.0, 1.0

    def objective(self, run: Run, step: int) -> Tensor:
        """Return the mean loss of a retain batch."""
        return run.loss(run.batch("retain", step)).mean()

    def begin(self, run: Run) -> None:
        """Start from what a fresh model holds."""
        write_state(run.model, run.kept["fresh"])

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Train, and say what the result is."""
        if self.build is None:
            raise InvalidRecord("retrain needs build=, which makes a fresh model")
        start = snapshot_of(run.model)
        with pinned():
            fresh = fresh_model(self.build, self.seed, run.device)
            run.kept["fresh"], pure = self._start(run, fresh)
            if self.train is None:
                ending, equal = super().carry_out(run, course), True
            else:
                ending, equal = self._by_recipe(run, self.train)
        if ending.stopped != "done":  # a model half trained is of no use
            write_state(run.model, start)
            return Ending(ending.stopped, "approximate", notes=("stopped early: nothing changed",))
        reasons = []
        if not pure:
            reasons.append("what is outside of scope isn't as in a fresh model, and may have seen")
        if run.device.type != "cpu":
            reasons.append("equal bits of two runs are only known of a CPU")
        if not equal:
            reasons.append("two runs of the recipe weren't compared, or gave different bits")
        if reasons:
            return Ending("done", "approximate", notes=tuple(reasons))
        held = {"compared": "all that is outside of scope has the bits of a fresh model"}
        return Ending("done", "exact", {**held, "weights": state_digest(run.model)}, ())

    def _start(self, run: Run, fresh: nn.Module) -> tuple[dict[str, Tensor], bool]:
        """Return what to start from, and whether none of it can have seen anything."""
        new, old = fresh.state_dict(), run.model.state_dict()
        if {n: t.shape for n, t in new.items()} != {n: t.shape for n, t in old.items()}:
            raise Unsupported("retrain: build= makes a model of other parameters or shapes")
        others = [name for name, _ in run.model.named_parameters() if name not in run.scope]
        pure = all(torch.equal(new[name], old[name]) for name in others)
        chosen = new if pure else {name: new[name] for name in run.scope}
        return {name: tensor.detach().clone() for name, tensor in chosen.items()}, pure

    def _by_recipe(self, run: Run, train: Train) -> tuple[Ending, bool]:
        if run.budget != Budget():
            raise Unsupported("retrain: a recipe of your own can't be held to a budget")
        found = []
        for _ in range(1 + self.repeat):
            write_state(run.model, run.kept["fresh"])
            run.train()
            outside = {n: p for n, p in run.model.named_parameters() if n not in run.scope}
            before = {name: p.detach().clone() for name, p in outside.items()}
            with drawn(mix(self.seed, "train")):
                train(run.model, run.data["retain"], self.seed)
            write_state(run.model, before)
            found.append(state_digest(run.model))
        finite = all(bool(t.isfinite().all()) for t in run.scope.values())
        return Ending("done" if finite else "not_finite"), len(found) > 1 and len(set(found)) == 1
