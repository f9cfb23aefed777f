"""Unlearning in weights: every method that is available, with what it needs, on the same models.

A method whose error says that it doesn't fit has no entry, and its words are kept. Knows nothing of
measures.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from forgetnet.compare.contestants import DESIGN, WEIGHTS, Entry, asking
from forgetnet.compare.worlds import Family, World
from forgetnet.errors import ForgetNetError
from forgetnet.experts.pinned import mix
from forgetnet.unlearn import (
    DeltaGrad,
    NewtonRemoval,
    RandomLabel,
    ShardRetrain,
    Unlearner,
    available,
    get,
    record_training,
)
from forgetnet.unlearn.config import Cost
from forgetnet.unlearn.result import UnlearnResult, state_digest
from forgetnet.unlearn.retrain import fresh_model

__all__ = ["known_methods", "unlearned"]

_REPLAYED = {"lr": 0.2, "steps": 120, "decay": 1e-3}
_SHARDS, _SLICES = 4, 3
_HEAD = (r"head\..*",)


def known_methods() -> list[str]:
    """Return the names of all methods but retraining, which is a row of its own."""
    return [name for name in available() if name != "retrain"] + ["newton_removal-logistic"]


def unlearned(world: World, name: str) -> Entry | str:
    """Run a method on a world's original; return what it hands in, or why it doesn't apply."""
    try:
        with tempfile.TemporaryDirectory(prefix="forgetnet-compare-") as folder:
            special = _SPECIAL.get(name)
            if special is not None and (entry := special(world, Path(folder))) is not None:
                return entry
            return _usual(world, name)
    except ForgetNetError as error:
        return str(error)


def _usual(world: World, name: str) -> Entry:
    method = _make(world, name)
    seed = mix(world.seed, "method", name)
    return _run(world, name, method.set_params(seed=seed), world.family)


def _make(world: World, name: str) -> Unlearner:
    """Make a method with the settings chosen for it and the means that a world has."""
    settings = dict(world.setting.methods.get(name, {}))
    means: dict[str, Any] = {
        "alternatives": world.material.alternatives,
        "build": world.setting.build,
        "trace": world.trace,
    }
    if name == "saliency_mask":
        own = {key: settings.pop(key) for key in ("share",) if key in settings}
        return _typed(get(name, inner=RandomLabel(**settings), **own))
    plain: Unlearner = _typed(get(name.partition("-")[0], **settings))
    fields = {field.name for field in dataclasses.fields(plain)}
    wanted = {key: value for key, value in means.items() if key in fields and value is not None}
    if name == "delta_grad":
        wanted.pop("trace", None)  # that of single steps is another
    return plain.set_params(**wanted)


def _typed(made: Any) -> Unlearner:
    found: Unlearner = made
    return found


def _run(
    world: World, name: str, method: Unlearner, family: Family, *, twin: nn.Module | None = None
) -> Entry:
    """Run a method on a family's original."""
    task, sides = world.setting.task, world.material.sides
    began = time.process_time()
    result: UnlearnResult = method.unlearn(
        family.original, sides["forget"], sides["retain"], task=task
    )
    seconds = time.process_time() - began
    whole = family.cost.forwards + family.cost.backwards
    equal = None if twin is None else result.after == state_digest(twin)
    return Entry(
        name,
        DESIGN if result.guarantee == "exact" else WEIGHTS,
        ask=asking(world, result.model),
        twins=tuple(asking(world, model) for model in family.references),
        never=asking(world, family.retrained[0]),
        before=asking(world, family.original),
        guarantee=result.guarantee,
        equal=equal,
        share=(result.cost.forwards + result.cost.backwards) / whole if whole else 0.0,
        clock=seconds / world.seconds,
        module=None if equal else result.model,
        family=family,
        note="" if result.stopped == "done" else result.stopped,
    )


# -- methods that come with a training of their own


def _shards(world: World, folder: Path) -> Entry:
    """Retrain shards: an ensemble of its own, and one that never saw the forget set."""
    setting = world.setting
    settings = dict(world.setting.methods.get("shard_retrain", {}))
    common: Mapping[str, Any] = {
        "build": setting.member or setting.build,
        "shards": _SHARDS,
        "slices": _SLICES,
        "recipe": setting.recipe,
        "seed": mix(world.seed, "shards"),
        **settings,
    }
    kind = ShardRetrain(folder=str(folder / "shards"), **common)
    original = kind.fit(world.material.whole(), task=setting.task)
    retain = world.material.sides["retain"]
    twin = ShardRetrain(**common).fit(retain, task=setting.task)
    size = setting.task.size(retain)
    epochs = kind.slice_epochs * (_SLICES + 1) / 2
    passes = int(size * epochs)
    cost = Cost(forwards=passes, backwards=passes)
    return _run(world, "shard_retrain", kind, Family(original, (twin,), cost), twin=twin)


def _linear(world: World) -> nn.Module | None:
    build, seed = world.setting.linear, mix(world.seed, "linear")
    return None if build is None else fresh_model(build, seed, torch.device("cpu"))


def _ridge(world: World, _: Path) -> Entry | None:
    """Solve the head anew: exact for ridge regression, if the features never saw the data."""
    if (start := _linear(world)) is None:
        return None
    kind = NewtonRemoval(params=_HEAD, loss="ridge", batch_size=256)
    return _newton(world, kind, kind, start, "newton_removal")


def _logistic(world: World, folder: Path) -> Entry | None:
    """One Newton step of a logistic head, and its certificate."""
    if (start := _linear(world)) is None:
        return None
    settings: dict[str, Any] = {"ridge": 1e-2, "noise": 10.0, "epsilon": 1.0, "delta": 1e-5}
    settings.update(world.setting.methods.get("newton_removal-logistic", {}))
    kinds = [
        NewtonRemoval(
            params=_HEAD,
            loss="logistic",
            batch_size=256,
            ledger=str(folder / f"{name}.json"),
            **settings,
        )
        for name in ("ledger", "twin")
    ]
    return _newton(world, kinds[0], kinds[1], start, "newton_removal-logistic")


def _newton(
    world: World, kind: NewtonRemoval, other: NewtonRemoval, start: nn.Module, name: str
) -> Entry:
    task, retain = world.setting.task, world.material.sides["retain"]
    original = kind.fit(start, world.material.whole(), task=task)
    twin = other.fit(start, retain, task=task)
    cost = Cost(forwards=task.size(retain))
    exact = kind.loss == "ridge"
    return _run(world, name, kind, Family(original, (twin,), cost), twin=twin if exact else None)


def _replay(world: World, _: Path) -> Entry | None:
    """Replay a training by plain gradient steps, of the linear model that it is for."""
    if (start := _linear(world)) is None:
        return None
    task = world.setting.task
    settings: dict[str, Any] = {**_REPLAYED, **world.setting.methods.get("delta_grad", {})}
    original, trace = record_training(start, world.material.whole(), task=task, **settings)
    retain = world.material.sides["retain"]
    twin = record_training(start, retain, task=task, **settings)[0]
    kind = DeltaGrad(trace=trace)
    passes = int(settings["steps"]) * task.size(retain)
    cost = Cost(forwards=passes, backwards=passes)
    return _run(world, "delta_grad", kind, Family(original, (twin,), cost))


_SPECIAL: Mapping[str, Callable[[World, Path], Entry | None]] = {
    "shard_retrain": _shards,
    "newton_removal": _ridge,
    "newton_removal-logistic": _logistic,
    "delta_grad": _replay,
}
