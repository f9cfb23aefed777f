"""Who takes part: what each contestant hands in, and the controls that everybody stands between.

Knows nothing of how a contestant forgot.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from forgetnet.compare.answers import Ask
from forgetnet.compare.worlds import Family, World

__all__ = ["CONTROL", "DESIGN", "WEIGHTS", "Entry", "Group", "asking", "controls"]

Group = Literal["control", "by design", "in weights"]
CONTROL: Group = "control"
DESIGN: Group = "by design"
WEIGHTS: Group = "in weights"


@dataclass(frozen=True)
class Entry:
    """What a contestant hands in for one seed.

    Attributes:
        name: of the method.
        group: control, forgets by design, or unlearns in weights.
        ask: of the contestant after forgetting.
        twins: of models of the same kind that never saw the forget set.
        never: of another such model, none of the twins where there are others.
        before: of the contestant before forgetting.
        guarantee: what is claimed: ``exact``, ``certified`` or ``approximate``; "" of controls.
        equal: whether it has the bits of its twin, by comparing digests; None if there is no twin
            to have them.
        share: work of forgetting over that of training anew: examples passed forward and backward,
            for parts without gradients examples that are read again.
        clock: processor time of forgetting over that of retraining the network, in the same run.
        module: the weights, for trials of robustness; None where it has its twin's bits.
        family: of the module.
        note: what else is to be known, in a few words.
    """

    name: str
    group: Group
    ask: Ask = field(repr=False)
    twins: tuple[Ask, ...] = field(repr=False)
    never: Ask = field(repr=False)
    before: Ask = field(repr=False)
    guarantee: str = ""
    equal: bool | None = None
    share: float = 0.0
    clock: float = 0.0
    module: nn.Module | None = field(default=None, repr=False)
    family: Family | None = field(default=None, repr=False)
    note: str = ""


def asking(world: World, model: nn.Module) -> Ask:
    """Return what asks a module about sides of a world's material, each once."""
    return functools.cache(functools.partial(world.ask, model))


def controls(world: World) -> list[Entry]:
    """Return the rows whose answer is known: the original, and a retrained model."""
    family = world.family
    asked = [asking(world, model) for model in family.retrained]
    before, first, twins = asking(world, family.original), asked[0], tuple(asked[1:])
    original = Entry(
        "original", CONTROL, before, twins, first, before, module=family.original, family=family
    )
    retrained = Entry(
        "retrained",
        CONTROL,
        first,
        twins,
        twins[0],
        before,
        share=1.0,
        clock=1.0,
        module=family.retrained[0],
        family=family,
    )
    return [original, retrained]
