"""DeltaGrad: go through a recorded training again without some examples, mostly without gradients.

For models trained by plain gradient steps whose every step was kept; theory needs strong convexity.
Knows nothing of adaptive optimisers.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord
from forgetnet.experts.pinned import drawn, mix, pinned
from forgetnet.unlearn.changing import Changing, Course, Ending, look
from forgetnet.unlearn.config import Cost, StopRule, check_positive
from forgetnet.unlearn.identity import digests
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.task import Batch, Task, task_of
from forgetnet.unlearn.unlearner import scope_of, unfit

__all__ = ["DeltaGrad", "StepTrace", "quasi_hessian", "record_training"]

_STRAIN = 0.05
_DRIFTED = (
    "the replay drifted (strain {:.2g}), so it may not have come ten times nearer to retraining; a "
    "shorter period= costs more and drifts less"
)


@dataclass
class StepTrace:
    """A training by w <- w - lr (mean gradient + decay w), step by step.

    Attributes:
        names: of the parameters, in the order in which they are laid flat.
        examples: digests of the data, by position.
        batches: positions of each step.
        weights: (T + 1, p), before each step and after the last.
        gradients: (T, p), each with its decay.
        lr: learning rate.
        decay: factor of the squared norm of the weights, halved.
    """

    names: tuple[str, ...]
    examples: tuple[str, ...] = field(repr=False)
    batches: list[list[int]] = field(repr=False)
    weights: Tensor = field(repr=False)
    gradients: Tensor = field(repr=False)
    lr: float
    decay: float

    @property
    def bytes(self) -> int:
        """What it takes to keep."""
        both = (self.weights, self.gradients)
        return sum(tensor.numel() * tensor.element_size() for tensor in both)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _write_flat(parameters: Sequence[Tensor], flat: Tensor) -> None:
    at = 0
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(flat[at : at + parameter.numel()].reshape(parameter.shape))
            at += parameter.numel()


def _gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    given: list[Tensor | None] = list(found)
    return _flat(
        [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, given, strict=True)]
    )


def record_training(
    model: nn.Module,
    data: Any,
    *,
    lr: float,
    steps: int,
    decay: float = 0.0,
    batch_size: int | None = None,
    seed: int = 0,
    params: tuple[str, ...] = (".*",),
    task: Task | None = None,
) -> tuple[nn.Module, StepTrace]:
    """Train a copy of a model by gradient steps, in evaluation mode, and keep every step.

    Args:
        model: where to start.
        data: what to learn.
        lr: learning rate.
        steps: T.
        decay: factor of half the squared norm of the weights.
        batch_size: examples of a step; None for all of them.
        seed: of the order of examples.
        params: which parameters are trained.
        task: what kind of data it is.

    Returns:
        The model, and a trace of 2 T p numbers.
    """
    check_kind("model", model, nn.Module)
    chosen = task_of(data, task)
    trained = copy.deepcopy(model)
    modes = [(module, module.training) for module in trained.modules()]
    trained.eval()
    scope = scope_of(trained, params)
    device = next(iter(scope.values())).device
    size, weights, gradients, batches = chosen.size(data), [], [], []
    each = -(-size // (batch_size or size))
    with pinned():
        for step in range(steps):
            epoch, slot = divmod(step, each)
            draw = torch.Generator().manual_seed(mix(seed, "order", epoch))
            order = torch.randperm(size, generator=draw).tolist()
            here = sorted(order[slot * (batch_size or size) : (slot + 1) * (batch_size or size)])
            now = _flat(list(scope.values()))
            with drawn(mix(seed, "step", step)):
                loss = chosen.loss(trained, chosen.batch(data, here, device)).mean()
                gradient = _gradient(loss, list(scope.values())) + decay * now
            weights.append(now)
            gradients.append(gradient)
            batches.append(here)
            _write_flat(list(scope.values()), now - lr * gradient)
    weights.append(_flat(list(scope.values())))
    for module, mode in modes:
        module.training = mode
    examples = tuple(digests(chosen, data))
    both = (torch.stack(weights), torch.stack(gradients))
    return trained, StepTrace(tuple(scope), examples, batches, *both, lr, decay)


def quasi_hessian(moves: list[Tensor], turns: list[Tensor], vector: Tensor) -> Tensor:
    """Return B v, with B the limited-memory BFGS matrix of pairs (dw, dg), in compact form.

    sigma v - [sigma S, Y] [[sigma S'S, L], [L', -D]]^-1 [sigma S'v; Y'v] (Byrd et al. 1994);
    sigma = y's / s's of the newest pair.
    """
    s, y = torch.stack(moves, dim=1).double(), torch.stack(turns, dim=1).double()
    v = vector.double()
    sigma = (y[:, -1] @ s[:, -1]) / (s[:, -1] @ s[:, -1])
    cross = s.T @ y
    lower, diagonal = cross.tril(-1), torch.diag(cross.diag())
    top = torch.cat([sigma * s.T @ s, lower], dim=1)
    bottom = torch.cat([lower.T, -diagonal], dim=1)
    right = torch.cat([sigma * (s.T @ v), y.T @ v])
    solved = torch.linalg.solve(torch.cat([top, bottom]), right)
    found: Tensor = sigma * v - torch.cat([sigma * s, y], dim=1) @ solved
    return found.to(vector)


@register("delta_grad")
@dataclass(frozen=True)
class DeltaGrad(Changing):
    """Replay a training without the forget set; a quasi-Newton matrix stands for most gradients.

    In ``burn_in`` steps and in every ``period``-th after these, gradients are true and give a pair
    (w' - w_t, g' - g_t). Else g_t + B (w' - w_t) stands for the gradient of the whole batch at w',
    from which the true gradients of the forget set are taken out.

    Between two true steps the replay drifts in directions that B hasn't seen, the steepest first.
    How far is told at no cost by the true steps, where B can be compared: the strain is the mean of
    (T_0 - 1) lr |B (w' - w_t) - (g' - g_t)| / |w' - w_t|. With one up to 0.05, replays of logistic
    regressions came out ten times nearer to retraining than the model was, or more; above it, many
    didn't, and a note says so. A shorter period lowers it, as a smaller ``lr`` would have.

    Attributes:
        trace: of the training, by :func:`record_training`; the model must be what came out of it.
        period: T_0.
        burn_in: j_0.
        memory: m, pairs kept.
    """

    name: ClassVar[str] = "delta_grad"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain", "trace"})
    reference: ClassVar[str] = "Wu et al. 2020, DeltaGrad, algorithm 1"

    trace: StepTrace | None = field(default=None, repr=False)
    period: int = 5
    burn_in: int = 10
    memory: int = 2
    batch_size: int = 1024
    stop: StopRule = field(default_factory=lambda: StopRule(None, None))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(period=self.period, burn_in=self.burn_in, memory=self.memory)

    def means(self) -> dict[str, Any]:
        """Return the trace."""
        return {"trace": self.trace}

    def _true_steps(self, total: int) -> list[int]:
        first, period = self.burn_in, self.period
        return [t for t in range(total) if t < first or not (t - first) % period]

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict the gradients of true steps, and those of the forget set in the others."""
        chosen = self.check(forget, retain, task, **self.means())
        sizes = {"forget": chosen.size(forget), "retain": chosen.size(retain)}
        if self.trace is None:
            return Cost()
        true = set(self._true_steps(len(self.trace.batches)))
        share = sizes["forget"] / max(1, sum(sizes.values()))
        passes = sum(
            len(batch) if step in true else math.ceil(share * len(batch))
            for step, batch in enumerate(self.trace.batches)
        )
        looks = 2 * sum(min(self.stop.probe, size) for size in sizes.values())
        total = passes + looks
        return Cost(len(self.trace.batches), total, passes, total, self.trace.bytes)

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Replay."""
        trace = self.trace
        weights = list(run.scope.values())
        if trace is None or trace.names != tuple(run.scope):
            raise unfit(self.name, "the trace is of other parameters than those in scope")
        if not torch.equal(trace.weights[-1].to(run.device), _flat(weights)):
            raise InvalidRecord("the model isn't what came out of the training of this trace")
        places = _places(trace, run)
        look(run, course, 0)
        with pinned():
            now, strain = self._replay(run, trace, places, weights)
        if not bool(now.isfinite().all()):
            _write_flat(weights, trace.weights[-1].to(run.device))
            return Ending("not_finite")
        stopping = look(run, course, len(trace.batches))
        notes = self.notes()
        if strain > _STRAIN:
            notes += (_DRIFTED.format(strain),)
        return Ending("callback" if stopping else "done", notes=notes)

    def _replay(
        self,
        run: Run,
        trace: StepTrace,
        places: list[tuple[Side, int]],
        weights: list[nn.Parameter],
    ) -> tuple[Tensor, float]:
        """Return the weights at the end, and the strain."""
        missed: list[float] = []
        moves: list[Tensor] = []
        turns: list[Tensor] = []
        true = set(self._true_steps(len(trace.batches)))
        now = trace.weights[0].to(run.device)
        for step, batch in enumerate(trace.batches):
            run.spend(Cost(steps=1))
            _write_flat(weights, now)
            gone = [places[p][1] for p in batch if places[p][0] == "forget"]
            kept = [places[p][1] for p in batch if places[p][0] == "retain"]
            old, pull = trace.weights[step].to(run.device), trace.gradients[step].to(run.device)
            taken = self._sum(run, "forget", gone, weights)
            if step in true or not moves:
                left = self._sum(run, "retain", kept, weights)
                whole = (left + taken) / len(batch) + trace.decay * now
                move, turn = now - old, whole - pull
                if float(move @ turn) > 0.0:
                    if step > self.burn_in and moves:
                        wrong = (quasi_hessian(moves, turns, move) - turn).norm() / move.norm()
                        missed.append(trace.lr * float(wrong))
                    moves, turns = [*moves, move][-self.memory :], [*turns, turn][-self.memory :]
            else:
                whole = pull + quasi_hessian(moves, turns, now - old)
                left = len(batch) * (whole - trace.decay * now) - taken
            if kept:
                now = now - trace.lr * (left / len(kept) + trace.decay * now)
        _write_flat(weights, now)
        return now, (self.period - 1) * sum(missed) / max(1, len(missed))

    def _sum(self, run: Run, side: Side, places: list[int], weights: list[nn.Parameter]) -> Tensor:
        """Return the sum of the gradients of some examples."""
        total = torch.zeros_like(_flat(weights))
        with torch.enable_grad():
            for first in range(0, len(places), run.batch_size):
                batch: Batch = run.take(side, places[first : first + run.batch_size])
                total += _gradient(run.loss(batch).sum(), weights)
        return total


def _places(trace: StepTrace, run: Run) -> list[tuple[Side, int]]:
    """Return in which set, and where there, each example of the trace is."""
    found: dict[str, list[tuple[Side, int]]] = {}
    sides: tuple[Side, ...] = ("retain", "forget")  # equal ones: those of forget go first
    for side in sides:
        for place, digest in enumerate(digests(run.task, run.data[side])):
            found.setdefault(digest, []).append((side, place))
    given = {digest: len(places) for digest, places in found.items()}
    if given != dict(Counter(trace.examples)):
        raise InvalidRecord("forget and retain together aren't the examples of the trace")
    return [found[digest].pop() for digest in trace.examples]
