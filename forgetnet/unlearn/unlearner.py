"""The contract of an unlearner: settings, needs, a predicted cost, and one verb.

An unlearner is its settings, frozen; what it learns of a run it gives back in the result. Knows
nothing of losses.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from forgetnet.declared import check_declared, check_kind
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.record import canonical_json
from forgetnet.unlearn.config import Budget, Cost, Guarantee
from forgetnet.unlearn.result import Step, UnlearnResult
from forgetnet.unlearn.task import Task, task_of

__all__ = ["Callback", "Unlearner", "scope_of"]

Callback = Callable[[Step, nn.Module], bool | None]
"""Told of each look; returns True to stop."""


def scope_of(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters that may change: those that want gradients and match a pattern.

    Args:
        model: any module.
        patterns: regular expressions over whole names of parameters.

    Raises:
        InvalidRecord: none does, or it is no module.
    """
    check_kind("model", model, nn.Module)
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not wanted:
        raise InvalidRecord(
            "no parameter of the model wants gradients; set requires_grad_(True) on what may change"
        )
    found = {n: p for n, p in wanted.items() if any(re.fullmatch(e, n) for e in patterns)}
    if not found:
        raise InvalidRecord(
            f"params= matches no trainable parameter; the first are {', '.join(list(wanted)[:8])}"
        )
    return found


@dataclass(frozen=True)
class Unlearner(ABC):
    """One method with its settings; equal settings and data give equal results.

    Attributes:
        params: regular expressions over the names of the parameters that may change, or one: the
            head, the expert or the adapter that saw the data. Everything else keeps its bits.
        seed: of every random draw.
        device: where to compute; None for where the model is.
    """

    name: ClassVar[str]
    guarantee: ClassVar[Guarantee] = "approximate"
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})
    reference: ClassVar[str] = ""
    """The paper, and the quantity in it that this is."""

    params: tuple[str, ...] = (".*",)
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        """Refuse settings of another kind than is declared; one pattern stands for itself.

        Raises:
            InvalidRecord: with the name of the setting.
        """
        given: Any = {"params": self.params, "device": self.device}
        if isinstance(given["params"], str):
            object.__setattr__(self, "params", (given["params"],))
        elif isinstance(given["params"], list):
            object.__setattr__(self, "params", tuple(given["params"]))
        if isinstance(given["device"], torch.device):
            object.__setattr__(self, "device", str(given["device"]))
        check_declared(self)
        for pattern in self.params:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InvalidRecord(f"params= holds no regular expression: {error}") from error

    def get_params(self, *, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def set_params(self, **settings: Any) -> Self:
        """Return the same method with other settings: they are frozen, so it is another object.

        Raises:
            InvalidRecord: there is no such setting.
        """
        if unknown := set(settings) - set(self.get_params()):
            raise InvalidRecord(f"{self.name} has no setting {', '.join(sorted(unknown))}")
        return replace(self, **settings)

    def clone(self) -> Self:
        """Return an equal unlearner."""
        return replace(self)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as JSON values; what is none is named by its type."""
        told = {}
        for name, value in self.get_params().items():
            plain: Any = value.to_plain() if isinstance(value, Unlearner) else value
            if is_dataclass(plain) and not isinstance(plain, type):
                plain = {f.name: getattr(plain, f.name) for f in fields(plain)}
            try:
                canonical_json(plain)
            except (TypeError, ValueError):
                plain = type(value).__name__
            told[name] = plain
        return told

    @abstractmethod
    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict the cost of a run that nothing stops, without running it."""

    @abstractmethod
    def unlearn(
        self,
        model: nn.Module,
        forget: Any,
        retain: Any = None,
        *,
        task: Task | None = None,
        holdout: Any = None,
        inplace: bool = False,
        budget: Budget | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> UnlearnResult:
        """Make a model forget.

        Args:
            model: any module; a copy is changed unless ``inplace``.
            forget: what is to be forgotten, as the task takes data.
            retain: what is to be kept; needed by methods that name it in ``needs``.
            task: what kind of data it is; told from the data by default.
            holdout: data the model never saw, for methods and looks that compare with it.
            inplace: change the model that was given.
            budget: the most that may be spent.
            callbacks: told of each look.
            checkpoint: folder from which a run that was cut short goes on.
            resume: go on from there, to the same bits; with none there, begin.

        Raises:
            InvalidRecord: something is missing or makes no sense; the model is as it was.
            Unsupported: the method doesn't fit the model or the task.
        """

    def check(self, forget: Any, retain: Any, task: Task | None, **others: Any) -> Task:
        """Return the task, if everything that the method needs is there.

        Raises:
            InvalidRecord: the forget set is empty, or something that is needed isn't given.
        """
        if forget is None and "forget" in self.needs:
            raise InvalidRecord("give the forget set: what the model is to forget")
        chosen = task_of(retain if forget is None else forget, task)
        if forget is not None and not chosen.size(forget):
            raise InvalidRecord("the forget set is empty; there is nothing to forget")
        given = {"retain": retain, **others}
        for need in sorted(self.needs - {"forget"}):
            value = given.get(need)
            if value is None or (need == "retain" and not chosen.size(value)):
                raise InvalidRecord(
                    f"{self.name} needs {need}=: without it it would ruin the model, or can't work"
                )
        return chosen


def snapshot_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all parameters and buffers, on the CPU."""
    return {name: t.detach().cpu().clone() for name, t in model.state_dict().items()}


def unfit(method: str, why: str) -> Unsupported:
    """Return the error that says why a method doesn't fit."""
    return Unsupported(f"{method} doesn't fit: {why}")
