"""Tasks: all that unlearners need to know of data and labels, so that they need know nothing.

A task turns data into batches, and a model's answers to a batch into losses. Masking of prompts
and padding, the end of a sequence, what guessing would cost: all of it is decided here and nowhere
else. Knows nothing of unlearning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord

__all__ = [
    "Answers",
    "Batch",
    "ClassificationTask",
    "PairedData",
    "RegressionTask",
    "Task",
    "guess_task",
    "precise",
    "size_of",
    "task_of",
]

Batch = Mapping[str, Tensor]
"""Tensors by name, the first dimension that of the examples."""
Answers = Literal["classes", "tokens", "numbers"]
"""What the answer to an example is: one of some classes, a row of tokens, or no choice at all."""


@runtime_checkable
class Task(Protocol):
    """One kind of task."""

    @property
    def name(self) -> str:
        """A short constant name."""
        ...

    @property
    def answers(self) -> Answers:
        """What an example's answer is; all but ``numbers`` have likelihoods of choices."""
        ...

    def size(self, data: Any) -> int:
        """Count the examples of a data set.

        Raises:
            InvalidRecord: it is no data set of this task.
        """
        ...

    def batch(self, data: Any, positions: Sequence[int], device: torch.device) -> Batch:
        """Return some examples as tensors on a device."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return (n,) losses in nats, for sequences the mean over labelled tokens."""
        ...

    def nll(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (n,) negative log-likelihoods, for sequences summed, and (n,) numbers of tokens.

        Raises:
            InvalidRecord: the task has no likelihood.
        """
        ...

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return (m, c) logits where there is something to predict: no prompt and no padding."""
        ...

    def targets(self, batch: Batch) -> Tensor:
        """Return (m,) right answers, row by row of :meth:`logits`.

        Raises:
            InvalidRecord: the answers are no choices.
        """
        ...

    def relabel(self, batch: Batch, generator: torch.Generator, outputs: int) -> Batch:
        """Return the batch with wrong labels drawn at random: never the true ones.

        Raises:
            InvalidRecord: the task has no labels to draw.
        """
        ...

    def chance(self, model: nn.Module, batch: Batch) -> float:
        """Return the mean loss of guessing, in nats."""
        ...

    def tokens(self, batch: Batch) -> int:
        """Count what is predicted: labelled tokens, or examples."""
        ...

    def counts(self, batch: Batch) -> Tensor:
        """Return (n,) how many rows of :meth:`logits` each example has, in the batch's order."""
        ...


def _as_tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        return torch.from_numpy(np.ascontiguousarray(values))
    except (TypeError, ValueError):  # of which the message may hold some of it
        raise InvalidRecord("inputs and targets are tensors, or arrays of numbers") from None


def precise(logits: Tensor) -> Tensor:
    """Return float32 of what is less, since sums of log-probabilities need it; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def size_of(batch: Batch) -> int:
    """Count the examples of a batch."""
    return int(next(iter(batch.values())).shape[0])


class PairedData:
    """Data of inputs and targets: a pair of arrays, or a sequence of pairs such as a Dataset."""

    def counts(self, batch: Batch) -> Tensor:
        """Return (n,) ones."""
        return torch.ones(size_of(batch), dtype=torch.long)

    def size(self, data: Any) -> int:
        """Count the examples.

        Raises:
            InvalidRecord: inputs and targets are of different lengths, or there are none.
        """
        if isinstance(data, tuple) and len(data) == 2:
            if len(data[0]) != len(data[1]):
                raise InvalidRecord(f"{len(data[0])} inputs came with {len(data[1])} targets")
            return len(data[0])
        rows = hasattr(data, "__len__") and hasattr(data, "__getitem__")
        if rows and not isinstance(data, Mapping | str):
            return len(data)
        raise InvalidRecord("data is a pair (inputs, targets), or a sequence of such pairs")

    def _take(self, data: Any, positions: Sequence[int], device: torch.device) -> dict[str, Tensor]:
        if isinstance(data, tuple) and len(data) == 2:
            where = torch.as_tensor(list(positions), dtype=torch.long)
            inputs, targets = (_as_tensor(part)[where] for part in data)
        else:
            rows = [data[i] for i in positions]
            inputs = torch.stack([_as_tensor(row[0]) for row in rows])
            targets = torch.stack([torch.as_tensor(row[1]) for row in rows])
        return {"inputs": inputs.to(device), "targets": targets.to(device)}


@dataclass(frozen=True)
class ClassificationTask(PairedData):
    """Inputs and whole-number labels; the model returns (n, classes) logits."""

    answers: ClassVar[Answers] = "classes"
    name: str = "classification"

    def batch(self, data: Any, positions: Sequence[int], device: torch.device) -> Batch:
        """Return ``inputs`` and ``targets``."""
        found = self._take(data, positions, device)
        if found["targets"].is_floating_point():
            raise InvalidRecord("labels of a classification are whole numbers from 0")
        found["targets"] = found["targets"].long().reshape(-1)
        return found

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return (n, classes)."""
        answer: Any = model(batch["inputs"])
        logits: Tensor = getattr(answer, "logits", answer)
        if logits.ndim != 2:
            raise InvalidRecord(f"the model returns {tuple(logits.shape)}, not (n, classes) logits")
        return logits

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross entropy of each example."""
        logits = self.logits(model, batch)
        if int(batch["targets"].max()) >= logits.shape[1] or int(batch["targets"].min()) < 0:
            raise InvalidRecord(f"a label is none of the model's {logits.shape[1]} classes")
        return functional.cross_entropy(precise(logits), batch["targets"], reduction="none")

    def nll(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the same, one token an example."""
        loss = self.loss(model, batch)
        return loss, torch.ones_like(loss)

    def targets(self, batch: Batch) -> Tensor:
        """Return the labels."""
        return batch["targets"]

    def relabel(self, batch: Batch, generator: torch.Generator, outputs: int) -> Batch:
        """Draw another class for each example, all others alike."""
        if outputs < 2:
            raise InvalidRecord("a wrong label needs a second class")
        true = batch["targets"]
        steps = torch.randint(1, outputs, true.shape, generator=generator).to(true.device)
        return {**batch, "targets": (true + steps) % outputs}

    def chance(self, model: nn.Module, batch: Batch) -> float:
        """Return log(classes)."""
        with torch.no_grad():
            return math.log(max(2, self.logits(model, batch).shape[1]))

    def tokens(self, batch: Batch) -> int:
        """Count the examples."""
        return size_of(batch)


@dataclass(frozen=True)
class RegressionTask(PairedData):
    """Inputs and numbers; the model returns (n, t) numbers, and a loss is half a squared error."""

    answers: ClassVar[Answers] = "numbers"
    name: str = "regression"

    def batch(self, data: Any, positions: Sequence[int], device: torch.device) -> Batch:
        """Return ``inputs`` and ``targets`` (n, t)."""
        found = self._take(data, positions, device)
        found["targets"] = found["targets"].float().reshape(len(positions), -1)
        return found

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the (n, t) answers.

        Raises:
            InvalidRecord: they are more or fewer numbers an example than the targets.
        """
        answer: Tensor = model(batch["inputs"])
        answers, wanted = answer.reshape(len(answer), -1), batch["targets"].shape[1]
        if answers.shape[1] != wanted:
            raise InvalidRecord(
                f"the model gives {answers.shape[1]} numbers an example, the targets of this "
                f"regression are {wanted}; labels of a classification are whole numbers, such as "
                "labels.long()"
            )
        return answers

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return half the squared error, the Gaussian negative log-likelihood up to a constant."""
        return 0.5 * (self.logits(model, batch).float() - batch["targets"]).square().sum(dim=1)

    def nll(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the same, of a Gaussian of variance 1."""
        loss = self.loss(model, batch)
        return loss, torch.ones_like(loss)

    def targets(self, batch: Batch) -> Tensor:
        """Refuse: numbers are no choices."""
        raise InvalidRecord("a regression has no right and wrong answers to count")

    def relabel(self, batch: Batch, generator: torch.Generator, outputs: int) -> Batch:
        """Give each example another one's target.

        Raises:
            InvalidRecord: there is no other.
        """
        count = size_of(batch)
        if count < 2:
            raise InvalidRecord("another target needs a second example in the batch")
        shift = int(torch.randint(1, count, (1,), generator=generator))
        return {**batch, "targets": batch["targets"].roll(shift, 0)}

    def chance(self, model: nn.Module, batch: Batch) -> float:
        """Return the loss of answering the mean."""
        wanted = batch["targets"]
        return float(0.5 * (wanted - wanted.mean(dim=0)).square().sum(dim=1).mean())

    def tokens(self, batch: Batch) -> int:
        """Count the examples."""
        return size_of(batch)


def task_of(data: Any, task: Task | None) -> Task:
    """Return the task that was given, or else the one that a data set looks like.

    Raises:
        InvalidRecord: what was given is no task, or the data looks like none.
    """
    if task is None:
        return guess_task(data)
    check_kind("task", task, Task, "ClassificationTask()")
    return task


def guess_task(data: Any) -> Task:
    """Return the task that a data set looks like.

    Raises:
        InvalidRecord: it is empty, or looks like none or like two; give ``task=``.
    """
    if isinstance(data, tuple) and len(data) == 2:
        return _task_by(_as_tensor(data[1]))
    rows = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    first = data[0] if rows and not isinstance(data, Mapping) and len(data) else None
    if isinstance(first, Mapping) and "input_ids" in first:
        from forgetnet.unlearn.causal import CausalLMTask

        return CausalLMTask()
    if isinstance(first, tuple) and len(first) == 2:
        return _task_by(_as_tensor(first[1])[None])
    if first is None and hasattr(data, "__len__") and not len(data):
        raise InvalidRecord("the data set is empty; there is nothing to tell a task from")
    raise InvalidRecord("can't tell what kind of data this is; give task=")


def _task_by(targets: Tensor) -> Task:
    """Tell a task by its (n, ...) targets."""
    if not targets.is_floating_point():
        return ClassificationTask()
    shares = targets.ndim == 2 and targets.shape[1] > 1 and bool((targets >= 0.0).all())
    if shares and len(targets) and bool(((targets.sum(dim=1) - 1.0).abs() < 1e-4).all()):
        raise InvalidRecord(
            "these targets look like probabilities of classes: give labels as whole numbers, such "
            "as targets.argmax(1), or task=RegressionTask() if they are numbers to be met"
        )
    return RegressionTask()
