"""Pruning of the channels that tell a class from the others, by TF-IDF.

A channel is a word, a class a document, and the mean activation how often the word is there. Knows
nothing of residual connections: a channel that is added to another's is pruned in its own layer
only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.changing import Course, Ending, Hook, harm, look
from forgetnet.unlearn.config import Cost, StopRule
from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.task import ClassificationTask, Task
from forgetnet.unlearn.unlearner import unfit

__all__ = ["ClassPruning", "tf_idf"]

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def tf_idf(activity: Tensor) -> Tensor:
    """Return (channels, classes) scores of mean activity, at least 0, of the same shape.

    tf = a_ck / sum_c a_ck; idf = ln((1 + K) / (1 + n_c)), n_c the classes in which the channel is
    at least as active as on average: the smoothed idf, which is never below 0.
    """
    classes = activity.shape[1]
    often = activity / activity.sum(dim=0, keepdim=True).clamp(min=1e-30)
    common = (activity >= activity.mean(dim=1, keepdim=True)).sum(dim=1, keepdim=True)
    return often * ((1 + classes) / (1 + common)).log()


class _Shut(Hook):
    """Keeps the channels that were pruned at 0 while what is left is trained."""

    def __init__(self, pruned: dict[str, Tensor]) -> None:
        self._pruned = pruned

    def after_step(self, run: Run) -> None:
        """Write zeros again."""
        _shut(run, self._pruned)


def _shut(run: Run, pruned: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, channels in pruned.items():
            run.scope[name][channels] = 0.0


@register("class_pruning")
@dataclass(frozen=True)
class ClassPruning(Descent):
    """Prune the channels of whole classes, then train what is left on the retain set.

    The classes are those of the forget set's labels, and no example of the retain set has one. In
    each convolution or linear layer in scope, but for the one that gives the answers, the channels
    of highest TF-IDF for such a class are set to 0, with their bias.

    Attributes:
        sparsity: share of a layer's channels that is pruned for each class.
        fine_tune: whether to train afterwards, by the settings of a descent; pruning alone hurts.
    """

    name: ClassVar[str] = "class_pruning"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    reference: ClassVar[str] = "Wang et al. 2022, Federated Unlearning via Class Pruning, TF-IDF"
    paced_by: ClassVar[Side] = "retain"

    sparsity: float = 0.1
    fine_tune: bool = True
    lr: float = 1e-3
    epochs: float = 2.0
    stop: StopRule = field(default_factory=lambda: StopRule(None, None))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.sparsity < 1.0:
            raise InvalidRecord("sparsity= is a share of channels between 0 and 1")

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return one pass each."""
        return 1.0, 1.0

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict one forward pass over both sets, and the training."""
        chosen = self.check(forget, retain, task)
        sizes = [chosen.size(forget), chosen.size(retain)]
        seen = sum(sizes)
        if self.fine_tune:
            return super().estimate(model, forget, retain, task=task) + Cost(forwards=seen)
        looks = 2 * sum(min(self.stop.probe, size) for size in sizes)
        return Cost(forwards=seen + looks, tokens=seen + looks)

    def objective(self, run: Run, step: int) -> Tensor:
        """Return the mean loss of a retain batch."""
        return run.loss(run.batch("retain", step)).mean()

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Prune, then train."""
        if not isinstance(run.task, ClassificationTask):
            raise unfit(self.name, "it is for classifications")
        layers = self._layers(run)
        if not layers:
            raise unfit(self.name, "no hidden convolution or linear layer is in scope")
        start = run.weights()
        if not self.fine_tune:
            look(run, course, 0)
        pruned = self._prune(run, layers)
        if self.fine_tune:
            hooks = (*course.hooks, _Shut(pruned))
            course = Course(course.checkpoint, course.callbacks, course.resume, hooks)
            ending = super().carry_out(run, course)
            untrained = ending.stopped == "budget" and len(run.history) < 2
            if ending.stopped == "not_finite" or untrained:
                run.put_back(start)
            return ending
        stopping = look(run, course, 1)
        if wrong := harm(run):
            run.put_back(start)
            return Ending(wrong)
        return Ending("callback" if stopping else "done")

    def _layers(self, run: Run) -> dict[str, nn.Module]:
        """Return layers with their weight in scope, but for the last that is run."""
        called: list[str] = []
        handles = [
            module.register_forward_hook(lambda *_, name=name: called.append(name))
            for name, module in run.model.named_modules()
            if isinstance(module, _LAYERS)
        ]
        try:
            with run.looking():
                run.logits(run.take("forget", [0]))
        finally:
            for handle in handles:
                handle.remove()
        kept = dict.fromkeys(name for name in called if name != called[-1])
        return {n: run.model.get_submodule(n) for n in kept if f"{n}.weight" in run.scope}

    def _prune(self, run: Run, layers: dict[str, nn.Module]) -> dict[str, Tensor]:
        """Set channels to 0, and return which, by the name of the tensor."""
        activity, wanted = self._activity(run, layers)
        pruned = {}
        for layer, means in activity.items():
            scores = tf_idf(means)
            count = max(1, round(self.sparsity * len(scores)))
            columns = [scores[:, k].argsort(descending=True, stable=True)[:count] for k in wanted]
            channels = torch.tensor(sorted({int(c) for column in columns for c in column}))
            for name in (f"{layer}.weight", f"{layer}.bias"):
                if name in run.scope:
                    pruned[name] = channels
        _shut(run, pruned)
        return pruned

    def _activity(
        self, run: Run, layers: dict[str, nn.Module]
    ) -> tuple[dict[str, Tensor], list[int]]:
        """Return mean |activations| after ReLU, (channels, classes) a layer, and the classes."""
        seen: dict[str, Tensor] = {}
        answers = run.outputs  # asked before anything is watched

        def watch(layer: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                last = isinstance(layers[layer], nn.Linear)
                channels = output.relu() if last else output.relu().movedim(1, -1)
                inner = list(range(1, channels.ndim - 1))
                seen[layer] = (channels.mean(dim=inner) if inner else channels).double()

            return hook

        handles = [module.register_forward_hook(watch(name)) for name, module in layers.items()]
        sums: dict[str, Tensor] = {}
        counts: Tensor | None = None
        labels: dict[str, set[int]] = {"forget": set(), "retain": set()}
        try:
            with run.looking():
                for side, found in labels.items():
                    for first in range(0, run.size(side), run.batch_size):
                        last = min(first + run.batch_size, run.size(side))
                        batch = run.take(side, list(range(first, last)))
                        run.loss(batch)  # refuses labels that are none
                        one_hot = torch.eye(answers, dtype=torch.float64)[batch["targets"].cpu()]
                        one_hot = one_hot.to(run.device)
                        counts = one_hot.sum(0) + (0 if counts is None else counts)
                        for name, values in seen.items():
                            sums[name] = values.T @ one_hot + sums.get(name, 0)
                        found |= {int(label) for label in batch["targets"]}
        finally:
            for handle in handles:
                handle.remove()
        if both := labels["forget"] & labels["retain"]:
            raise InvalidRecord(f"classes {sorted(both)} are in the retain set, too")
        known = torch.ones(1) if counts is None else counts.clamp(min=1.0)
        return {name: total / known for name, total in sums.items()}, sorted(labels["forget"])
