"""Certified removal from a linear head on features that never change.

What is claimed is claimed of the head alone: if the features were learnt from what is forgotten,
they still know it. Knows nothing of how features come about.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.experts.pinned import pinned
from forgetnet.unlearn.changing import Changing, Course, Ending, look
from forgetnet.unlearn.config import Budget, Cost, Guarantee, StopRule, check_positive
from forgetnet.unlearn.identity import digests, joint_digest
from forgetnet.unlearn.linear import (
    Floats,
    curvature,
    logistic_gradient,
    newton_step,
    removal_charge,
    solve_logistic,
    solve_ridge,
)
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.removal_ledger import Entry, RemovalLedger, allowance
from forgetnet.unlearn.run import Run, Side, device_of
from forgetnet.unlearn.task import ClassificationTask, RegressionTask, Task, task_of
from forgetnet.unlearn.unlearner import scope_of, unfit

__all__ = ["NewtonRemoval"]

_SCOPE = "this holds of the head; features that were learnt from the data still know it"


@register("newton_removal")
@dataclass(frozen=True)
class NewtonRemoval(Changing):
    """One Newton step away from what is forgotten, for the last linear layer.

    ``ridge`` (squared errors) is exact: the step of a quadratic ends at its solution, so that is
    solved for directly, from the retain set in canonical order, and has the bits of never having
    seen the rest. ``logistic`` (one class against all others) is certified (epsilon, delta): the
    head was solved for with a random linear term, which hides what a step leaves behind as long as
    that sums up to less than sigma epsilon / sqrt(2 ln(1.5 / delta)). After that it refuses, and
    :meth:`fit` on the retain set is the way on. Whoever knows the random term sees through it, so
    it is kept nowhere.

    Attributes:
        params: must match the weight, and bias, of one ``Linear``, whose answers are the model's.
        loss: ``ridge`` or ``logistic``.
        ridge: lambda; the objective has lambda n / 2 |w|^2, bias included.
        noise: sigma of the random term; more of it allows more removals, and costs accuracy.
        epsilon, delta: of the certificate.
        ledger: file of what was spent; needed by ``logistic``.
    """

    name: ClassVar[str] = "newton_removal"
    guarantee: ClassVar[Guarantee] = "certified"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    reference: ClassVar[str] = "Guo et al. 2020, Certified Data Removal, the Newton update, th. 3"

    loss: Literal["ridge", "logistic"] = "ridge"
    ridge: float = 1e-3
    noise: float = 1.0
    epsilon: float = 1.0
    delta: float = 1e-5
    ledger: str | None = None
    stop: StopRule = field(default_factory=lambda: StopRule(None, None))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(ridge=self.ridge, noise=self.noise, epsilon=self.epsilon, delta=self.delta)
        if not self.delta < 1.0:
            raise InvalidRecord("delta= is below 1")
        if self.loss == "logistic" and self.ledger is None:
            raise InvalidRecord("loss='logistic' needs ledger=, a file of what is spent")

    def to_plain(self) -> dict[str, Any]:
        """Return the settings, but for where the ledger is."""
        return {**super().to_plain(), "ledger": self.ledger is not None}

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict a forward pass over both sets, over retain alone for ridge, and two looks."""
        chosen = self.check(forget, retain, task)
        sizes = [chosen.size(forget), chosen.size(retain)]
        looks = 2 * sum(min(self.stop.probe, size) for size in sizes)
        seen = sizes[1] + (sizes[0] if self.loss == "logistic" else 0)
        width = sum(p.numel() for p in scope_of(model, self.params).values())
        return Cost(0, seen + looks, 0, seen + looks, 8 * width)

    # -- training

    def fit(self, model: nn.Module, data: Any, *, task: Task | None = None) -> nn.Module:
        """Return a copy of a model whose head is solved for, and begin the ledger.

        Raises:
            InvalidRecord: the head can't be solved for.
            Unsupported: scope is no linear head.
        """
        check_kind("model", model, nn.Module)
        chosen = task_of(data, task)
        found = copy.deepcopy(model)
        flags = {name: module.training for name, module in found.named_modules()}
        device = device_of(found, self.device)
        scope = scope_of(found, self.params)
        run = Run(
            found.to(device).eval(),
            chosen,
            {"retain": data},
            scope,
            self.seed,
            self.batch_size,
            device,
            self.stop,
            Budget(),
        )
        with pinned(), torch.no_grad():
            head = self._head(run)
            rows, targets, names = self._rows(run, head, "retain")
            if self.loss == "ridge":
                _write(head, solve_ridge(rows, targets, self.ridge))
            else:
                shape = (rows.shape[1], targets.shape[1])
                noise: Floats = np.random.default_rng().normal(0.0, self.noise, shape)
                _write(head, solve_logistic(rows, targets, self.ridge, noise))
                left = logistic_gradient(_read(head), rows, targets, self.ridge, noise)
                first = Entry(_mark(head), _set_of(names), float(np.linalg.norm(left)), 0)
                self._book.open_new(self.noise, self.ridge, first)
        for name, module in found.named_modules():
            module.training = flags[name]
        return found

    # -- forgetting

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Solve anew, or step and charge."""
        with pinned(), torch.no_grad():
            look(run, course, 0)
            head = self._head(run)
            rows, targets, names = self._rows(run, head, "retain")
            if self.loss == "ridge":
                _write(head, solve_ridge(rows, targets, self.ridge))
                certificate: dict[str, Any] = {"solved": "from the retain set alone"}
                guarantee: Guarantee = "exact"
            else:
                certificate, guarantee = self._step(run, head, rows, targets, names), "certified"
            finite = all(bool(t.isfinite().all()) for t in run.scope.values())
            if not finite:
                raise InvalidRecord("features or labels hold numbers that are not finite")
            stopping = look(run, course, 1)
        return Ending("callback" if stopping else "done", guarantee, certificate, (_SCOPE,))

    def _step(
        self, run: Run, head: nn.Linear, rows: Floats, targets: Floats, names: Sequence[str]
    ) -> dict[str, Any]:
        noise, ridge = self._book.settings()
        gone, said, others = self._rows(run, head, "forget")
        before = self._book.find(_mark(head), _set_of([*names, *others]))
        weights = _read(head)
        # At the old optimum the gradient on what is left is minus that of what has gone.
        pull = logistic_gradient(weights, gone, said, ridge)
        step = newton_step(curvature(weights, rows, ridge), pull)
        _write(head, weights + step)
        widest = float(np.linalg.norm(rows, 2))
        rounded = float(np.linalg.norm(_read(head) - weights - step))
        rounding = (0.25 * widest**2 + ridge * len(rows)) * rounded
        charge = before.charge + removal_charge(rows, step) + rounding
        most = allowance(noise, self.epsilon, self.delta)
        if not charge <= most:
            raise Unsupported(
                f"the certificate is used up: {charge:.3g} would be spent of {most:.3g}; retrain: "
                "fit() on the retain set"
            )
        entry = Entry(_mark(head), _set_of(names), charge, before.removed + len(gone))
        self._book.append(entry)
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "charge": charge,
            "budget_left": most - charge,
            "removed": entry.removed,
            "noise": noise,
            "ridge": ridge,
        }

    @property
    def _book(self) -> RemovalLedger:
        return RemovalLedger("" if self.ledger is None else self.ledger)

    def _head(self, run: Run) -> nn.Linear:
        owners = {name.rpartition(".")[0] for name in run.scope}
        module = run.model.get_submodule(owners.pop()) if len(owners) == 1 else None
        if not isinstance(module, nn.Linear) or len(run.scope) != len(list(module.parameters())):
            raise unfit(self.name, "params= must match weight and bias of one Linear, and no more")
        if not isinstance(run.task, ClassificationTask | RegressionTask):
            raise unfit(self.name, "the task is neither a classification nor a regression")
        if self.loss == "logistic" and not isinstance(run.task, ClassificationTask):
            raise unfit(self.name, "loss='logistic' is for classifications")
        return module

    def _rows(
        self, run: Run, head: nn.Linear, side: Side
    ) -> tuple[Floats, Floats, list[str]]:
        """Return features (n, d), targets (n, k) and digests, in order of the digests."""
        names = digests(run.task, run.data[side])
        order = sorted(range(len(names)), key=names.__getitem__)
        seen: list[Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        told = []
        try:
            for first in range(0, len(order), run.batch_size):
                batch = run.take(side, order[first : first + run.batch_size])
                answers = run.logits(batch)
                if seen[-1].ndim != 2 or not torch.equal(answers, head(seen.pop())):
                    raise unfit(self.name, "the head's answers are not the model's")
                told.append(batch["targets"])
        finally:
            handle.remove()
        features = torch.cat(seen).double().cpu().numpy()
        if head.bias is not None:
            features = np.hstack([features, np.ones((len(features), 1))])
        wanted = torch.cat(told).cpu().numpy()
        if isinstance(run.task, ClassificationTask):
            if wanted.min() < 0 or wanted.max() >= head.out_features:
                raise InvalidRecord(f"a label is none of the model's {head.out_features} classes")
            wanted = np.eye(head.out_features)[wanted]
        elif wanted.shape[1] != head.out_features:
            raise InvalidRecord(f"give {head.out_features} numbers an example, as the head does")
        return features, wanted.astype(np.float64), [names[place] for place in order]


def _read(head: nn.Linear) -> Floats:
    """Return the weights (d, k), those of the bias last."""
    parts = [head.weight.detach().double().cpu().numpy().T]
    if head.bias is not None:
        parts.append(head.bias.detach().double().cpu().numpy()[None])
    return np.vstack(parts)


def _write(head: nn.Linear, weights: Floats) -> None:
    width = head.in_features
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights[:width].T.copy()))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(weights[width].copy()))


def _mark(head: nn.Linear) -> str:
    return joint_digest(_read(head).tobytes().hex())


def _set_of(names: Sequence[str]) -> str:
    return joint_digest(*sorted(names))
