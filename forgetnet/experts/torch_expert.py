"""An expert of any torch module, trained on one leaf alone, in slices where it is asked to.

Its state is a function of the settings, the seed, the leaf's records and a public head, if one is
given: nothing that another leaf or torch's global generator holds reaches it. Every random draw
comes from a seed and a counter of epochs or steps, so a checkpoint holds that counter, the weights
and the moments of the optimiser, and going on from it gives the bits of going through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord
from forgetnet.exact import Codes
from forgetnet.experts.checkpoint import Carried, load, saved
from forgetnet.experts.expert import (
    Label,
    Predictor,
    Probabilities,
    Stage,
    State,
    Task,
    View,
    class_order,
    make_view,
)
from forgetnet.experts.lesson import ClassWeight, Lesson, step_on
from forgetnet.experts.modules import (
    Factory,
    build,
    factory_name,
    factory_source,
    mlp,
    resolve,
)
from forgetnet.experts.pinned import drawn, mix, pinned
from forgetnet.experts.public import PublicCorpus

__all__ = ["TorchExpert"]

_WHOLE = Stage()
_ROWS = 32
"""Rows answered at once: always as many, so that an answer doesn't depend on its company."""


@dataclass(frozen=True, eq=False)
class TorchExpert:
    """A torch module a leaf; AdamW, a learning rate that falls linearly to 0, equal batches.

    Attributes:
        task: classification or regression.
        module: ``(dim, outputs) -> nn.Module``, or its import name ``package.module:function``;
            None is a head of one hidden layer with LayerNorm.
        hidden: width of that head.
        dropout: of that head.
        epochs: passes over a leaf; with R slices each stage makes 2 / (R + 1) of them over what
            it has, which is the same work in all (Bourtoule et al. 2021, section IV).
        min_steps: fewest steps of a leaf: a small one gets more passes.
        lr: learning rate at the start.
        batch: most records of a step.
        weight_decay: of AdamW.
        class_weight: ``balanced`` by the leaf's own counts, weights by label, or None.
        slices: R; each costs a checkpoint of three times the weights.
        warm: state of a public head to start from; :meth:`warmed` makes it.
        warm_source: where the public data of that head came from.
    """

    task: Task = "classification"
    module: Factory | str | None = None
    hidden: int = 128
    dropout: float = 0.0
    epochs: int = 20
    min_steps: int = 200
    lr: float = 2e-3
    batch: int = 32
    weight_decay: float = 0.01
    class_weight: ClassWeight = None
    slices: int = 1
    warm: State | None = field(default=None, repr=False)
    warm_source: str = ""
    name: str = "torch"
    influence: Influence = Influence.ISOLATED

    def __post_init__(self) -> None:
        if min(self.hidden, self.epochs, self.batch, self.slices) < 1 or self.min_steps < 0:
            raise InvalidRecord("hidden, epochs, batch and slices are at least 1, min_steps 0")
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise InvalidRecord("lr must be above 0, weight_decay at least 0, both finite")
        if not 0 <= self.dropout < 1:
            raise InvalidRecord("dropout is a share from 0 to below 1")
        if self.task == "regression" and self.class_weight is not None:
            raise InvalidRecord("a regression has no classes to weigh")
        if self.class_weight is not None and self.class_weight != "balanced":
            told = dict(self.class_weight)
            pairs = tuple((label, float(told[label])) for label in class_order(tuple(told)))
            if not all(0 < weight < math.inf for _, weight in pairs):
                raise InvalidRecord("the weight of a class is above 0 and finite")
            object.__setattr__(self, "class_weight", pairs)

    def config(self) -> Mapping[str, Any]:
        """Return the settings; a module by its name and the hash of its factory's source."""
        weight, own = self.class_weight, self.module
        return {
            "module": None if own is None else [factory_name(own), factory_source(own)],
            "hidden": self.hidden if own is None else None,
            "dropout": self.dropout if own is None else None,
            "epochs": self.epochs,
            "min_steps": self.min_steps,
            "lr": self.lr,
            "batch": self.batch,
            "weight_decay": self.weight_decay,
            "class_weight": list(map(list, weight)) if isinstance(weight, tuple) else weight,
            "slices": self.slices,
            "warm": None if self.warm is None else [self.warm.digest(), self.warm_source],
        }

    @property
    def factory(self) -> Factory:
        """The function that makes the module."""
        if self.module is None:
            return partial(mlp, hidden=self.hidden, dropout=self.dropout)
        return resolve(self.module)

    def warmed(self, public: PublicCorpus, seed: int = 0) -> TorchExpert:
        """Return this expert with a head to start from, trained on public data and nothing else.

        Raises:
            InvalidRecord: the corpus has no targets, or those of another task.
        """
        if public.targets is None:
            raise InvalidRecord(f"{public.source} has no targets to learn from")
        ids = [str(i) for i in range(len(public.vectors))]
        targets: Any = public.targets
        if self.task == "regression":
            targets = np.asarray(targets, np.float64).reshape(len(ids), -1)
        view = make_view(ids, public.codes, targets, [""] * len(ids))
        head = replace(self, slices=1, warm=None, warm_source="").fit(view, seed)
        return replace(self, warm=head, warm_source=public.source)

    def fit(
        self, view: View, seed: int, start: State | None = None, stage: Stage = _WHOLE
    ) -> State:
        """Learn a leaf's slices up to this one, from the checkpoint after the slice before.

        A leaf of one class is not trained: it answers 1 for that class. The last stage keeps no
        moments of the optimiser, for nothing goes on from it.

        Raises:
            InvalidRecord: no records, targets of another task or that aren't finite, a start of
                another dimension, or a loss that grew beyond all numbers.
            Unsupported: the module has a batch normalisation, draws from elsewhere than torch's
                generator, or uses a kernel that has no deterministic form.
        """
        lesson = Lesson.of(view, self.task, self.class_weight)
        done = 0 if start is None else int(start.meta["epochs"])
        dim = view.codes.shape[1]
        meta: dict[str, Any] = {
            "classes": list(lesson.classes),
            "dim": dim,
            "outputs": lesson.outputs,
            "epochs": done,
        }
        if self.task == "classification" and lesson.outputs == 1:
            return State({}, meta)
        resumed = start is not None and bool(start.tensors)
        with pinned():
            first = torch.from_numpy(view.vectors[: self.batch])
            module = build(self.factory, dim, lesson.outputs, seed, first)
            optimiser = torch.optim.AdamW(
                [p for p in module.parameters() if p.requires_grad],
                lr=self.lr,
                weight_decay=self.weight_decay,
                fused=True,
            )
            source = start if resumed else self.warm
            if source is not None and source.tensors:
                carried = Carried(source, lesson.classes, self.factory, dim)
                carried.weights(module)
                if resumed:
                    carried.moments(module, optimiser)
            meta["epochs"] = done + self._train((module, optimiser), lesson, seed, (done, stage))
            last = stage.index == stage.count - 1
            tensors = saved(module, None if last else optimiser)
        return State({**tensors, **lesson.scaling}, meta)

    def _train(
        self,
        learner: tuple[nn.Module, torch.optim.Optimizer],
        lesson: Lesson,
        seed: int,
        when: tuple[int, Stage],
    ) -> int:
        """Make the passes of one stage and return how many they were, at least one."""
        module, optimiser = learner
        done, stage = when
        n = len(lesson.inputs)
        parts = math.ceil(n / self.batch)
        share = 2.0 / (stage.count + 1)
        epochs = max(math.ceil(self.epochs * share), math.ceil(self.min_steps * share / parts))
        module.train()
        step = 0
        for epoch in range(done, done + epochs):
            own = torch.Generator().manual_seed(mix(seed, "epoch", epoch))
            order = torch.randperm(n, generator=own)
            for number, chosen in enumerate(torch.tensor_split(order, parts)):
                rate = self.lr * (epochs * parts - step) / (epochs * parts)
                optimiser.param_groups[0]["lr"] = rate
                step += 1
                with drawn(mix(seed, "step", epoch, number)):
                    step_on(module, optimiser, lesson, chosen)
        return epochs

    def prepare(self, state: State) -> Predictor:
        """Load the weights into a module that answers."""
        classes = tuple(state.meta["classes"])
        dim, outputs = int(state.meta["dim"]), int(state.meta["outputs"])
        if not state.tensors:
            return _Predictor(classes, None, dim, 0.0, 1.0)
        module = build(self.factory, dim, outputs, 0)
        load(module, state)
        module.eval()
        shift, scale = (state.tensors.get(name, default) for name, default in _NO_SCALING)
        return _Predictor(classes, module, dim, shift, scale)


_NO_SCALING = (("shift", np.float64(0.0)), ("scale", np.float64(1.0)))


@dataclass(frozen=True)
class _Predictor:
    classes: tuple[Label, ...]
    module: nn.Module | None
    dim: int
    shift: Any
    scale: Any
    exact: bool = True

    def __call__(self, codes: Codes) -> Probabilities:
        if codes.shape[1] != self.dim:
            raise InvalidRecord(f"the expert takes {self.dim} dimensions, not {codes.shape[1]}")
        if self.module is None:
            return np.ones((len(codes), 1))
        inputs = codes.astype(np.float32) * np.float32(2.0**-12)
        whole = np.zeros((-(-len(inputs) // _ROWS) * _ROWS, inputs.shape[1]), np.float32)
        whole[: len(inputs)] = inputs
        with torch.inference_mode():
            blocks = torch.from_numpy(whole.reshape(-1, _ROWS, inputs.shape[1]))
            parts = [self.module(rows).double() for rows in blocks]
            if not parts:
                return np.zeros((0, len(self.classes) or np.size(self.shift)))
            answer = torch.cat(parts)[: len(inputs)]
            if self.classes:
                answer = answer.softmax(dim=1)
        found: Probabilities = answer.numpy()
        return found if self.classes else found * self.scale + self.shift
