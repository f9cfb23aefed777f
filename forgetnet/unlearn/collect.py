"""The collector: runs a model once over a data set and returns plain arrays, a number an example.

What the statistics of ``forgetnet.audit`` take in comes from here. Knows nothing of what they make
of it, nor of who was a member.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.generate import generate
from forgetnet.unlearn.looking import looking
from forgetnet.unlearn.run import device_of
from forgetnet.unlearn.task import Batch, Task, precise, size_of, task_of

__all__ = ["Collected", "collect", "generate"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_ROWS = 1024  # tokens whose whole vocabulary is looked at in one go
_HELD = 2**26  # numbers that gradients of several examples may take at once: 256 MiB
_LEAST_VARIANCE = 1e-6  # as in ``audit.scores``


@dataclass(frozen=True, eq=False)
class Collected:
    """One run of one model over one data set, in the data's order.

    A loss that is no number stays NaN; the statistics refuse it or leave it out and say so.

    Attributes:
        nll: (n,) mean of -log p over the labelled tokens; the loss where there are no choices.
        tokens: (n,) labelled tokens; 1 where there are no choices.
        correct: (n,) whether every label is the likeliest; None where there are no choices.
        confidence: (n,) exp(-nll), of a classifier the p of the right class.
        logprobs: for each example (T,) log p of its labels; a class is one token. Empty where
            there are no choices.
        matches: for each example (T,) whether the label is the likeliest.
        z: for each example (T,) (log p - mean) / sd over the vocabulary, variances from 1e-6.
        probabilities: (n, c) of a classifier, else None.
        gradient: (n,) 2-norms of the gradient of each example's loss by all weights; None if it
            wasn't asked for.
    """

    nll: Floats
    tokens: npt.NDArray[np.int64]
    correct: Flags | None
    confidence: Floats
    logprobs: tuple[Floats, ...]
    matches: tuple[Flags, ...]
    z: tuple[Floats, ...]
    probabilities: Floats | None
    gradient: Floats | None

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.nll)


@dataclass
class _Parts:
    """What batches left, one list entry an example or a batch."""

    nll: list[Floats]
    logprobs: list[Floats]
    matches: list[Flags]
    z: list[Floats]
    probabilities: list[Floats]
    gradient: list[Floats]


def collect(
    model: nn.Module,
    data: Any,
    task: Task | None = None,
    *,
    gradients: bool = False,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Collected:
    """Run a model once over a data set, in evaluation mode; the model is left as it was.

    Args:
        model: as the task takes it.
        data: n examples, one at least.
        task: what kind of data it is; told from the data by default.
        gradients: norms of each example's gradient, too: a forward and a backward pass more.
        batch_size: most examples of a pass.
        device: where to compute; where the model is by default.
        progress: show a bar on stderr, where that is a terminal.

    Raises:
        InvalidRecord: there is no example, or a label is none of the model's classes.
    """
    chosen = task_of(data, task)
    check_positive(batch_size=batch_size)
    n = chosen.size(data)
    if not n:
        raise InvalidRecord("there is no example to run the model on")
    found = _Parts([], [], [], [], [], [])
    with looking(model, device) as seen:
        where = device_of(seen, None)
        for first in _firsts(n, batch_size, progress=progress):
            batch = chosen.batch(data, range(first, min(first + batch_size, n)), where)
            if chosen.answers == "numbers":
                found.nll.append(_floats(chosen.loss(seen, batch)))
            else:
                _choices(seen, chosen, batch, found)
            if gradients:
                found.gradient.append(_gradient_norms(seen, chosen, batch))
    return _joined(chosen, found)


def _firsts(n: int, step: int, *, progress: bool) -> Iterator[int]:
    places = range(0, n, step)
    if not progress:
        return iter(places)
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not console.is_terminal
    return iter(track(places, "collecting", console=console, transient=True, disable=hidden))


def _floats(values: Tensor) -> Floats:
    return values.detach().to("cpu", torch.float64).numpy()


def _choices(model: nn.Module, task: Task, batch: Batch, found: _Parts) -> None:
    """Add what a batch of classes or tokens says; the whole vocabulary is never kept."""
    logits, targets = task.logits(model, batch), task.targets(batch)
    if int(targets.max()) >= logits.shape[1] or int(targets.min()) < 0:
        raise InvalidRecord(f"a label is none of the model's {logits.shape[1]} choices")
    told: list[tuple[Floats, Flags, Floats]] = []
    for first in range(0, len(targets), _ROWS):
        logs = functional.log_softmax(precise(logits[first : first + _ROWS]), dim=-1)
        right = targets[first : first + _ROWS, None]
        own = logs.gather(1, right)[:, 0]
        # of NaN, the first is the largest: it must not count as a match
        match = (logs.argmax(dim=1) == right[:, 0]) & own.isfinite()
        told.append((_floats(own), match.cpu().numpy(), _floats(_scaled(own, logs))))
        if task.answers == "classes":
            found.probabilities.append(_floats(logs.exp()))
    counts = task.counts(batch).cpu().numpy()
    cuts = np.cumsum(counts)[:-1]
    logprobs, matches, z = zip(*told, strict=True)
    rows = np.split(np.concatenate(logprobs), cuts)
    found.logprobs.extend(rows)
    found.matches.extend(np.split(np.concatenate(matches), cuts))
    found.z.extend(np.split(np.concatenate(z), cuts))
    found.nll.append(np.array([-row.mean() for row in rows], np.float64))


def _scaled(own: Tensor, logs: Tensor) -> Tensor:
    """Return (m,) (log p - mean) / sd over (m, v), under p itself; p = 0 weighs nothing.

    As ``audit.scores.vocabulary_moments`` in its strict form: E[(log p - mean)²] doesn't cancel.
    """
    p = logs.exp()
    logs = torch.where(p > 0, logs, torch.zeros_like(logs))
    mean = (p * logs).sum(dim=1)
    variance = (p * (logs - mean[:, None]).square()).sum(dim=1)
    return (own - mean) / variance.clamp_min(_LEAST_VARIANCE).sqrt()


class _Lossy(nn.Module):
    """The mean loss of a batch as the output of a module, so that torch.func can take it."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Batch) -> Tensor:
        if self.task.answers == "classes":  # the task's loss looks at labels' values
            logits = precise(self.task.logits(self.model, batch))
            return functional.cross_entropy(logits, self.task.targets(batch))
        return self.task.loss(self.model, batch).mean()


def _gradient_norms(model: nn.Module, task: Task, batch: Batch) -> Floats:
    """Return (n,) norms; ``.grad`` and the wish for gradients of the weights are not touched."""
    lossy = _Lossy(model, task)
    weights = {name: p.detach() for name, p in lossy.named_parameters() if p.is_floating_point()}

    def loss(given: dict[str, Tensor], example: Batch) -> Tensor:
        single = {name: part[None] for name, part in example.items()}
        answer: Tensor = torch.func.functional_call(lossy, given, (single,))
        return answer

    def norm(given: dict[str, Tensor], example: Batch) -> Tensor:
        return _norm(torch.func.grad(loss)(given, example).values())

    n, size = size_of(batch), sum(p.numel() for p in weights.values())
    at_once = min(n, _HELD // max(1, size))
    if at_once > 1:
        try:
            several = torch.func.vmap(norm, (None, 0), chunk_size=at_once, randomness="different")
            return _floats(several(weights, dict(batch)))
        except RuntimeError:  # an operation that can't be vectorised: one by one, then
            pass
    wanted = {name: p.requires_grad_() for name, p in weights.items()}
    rows = []
    for i in range(n):
        with torch.enable_grad():
            answer = loss(wanted, {name: part[i] for name, part in batch.items()})
            each = torch.autograd.grad(answer, list(wanted.values()), materialize_grads=True)
        rows.append(_norm(each))
    return _floats(torch.stack(rows))


def _norm(parts: Iterable[Tensor]) -> Tensor:
    lengths = [torch.linalg.vector_norm(precise(part)) for part in parts]
    found: Tensor = torch.linalg.vector_norm(torch.stack(lengths))
    return found


def _joined(task: Task, found: _Parts) -> Collected:
    nll = np.concatenate(found.nll)
    choices = task.answers != "numbers"
    rows = found.logprobs
    return Collected(
        nll=nll,
        tokens=np.array([len(row) for row in rows] if choices else np.ones(len(nll)), np.int64),
        correct=np.array([row.all() for row in found.matches]) if choices else None,
        confidence=np.exp(-nll),
        logprobs=tuple(rows),
        matches=tuple(found.matches),
        z=tuple(found.z),
        probabilities=np.concatenate(found.probabilities) if found.probabilities else None,
        gradient=np.concatenate(found.gradient) if found.gradient else None,
    )
