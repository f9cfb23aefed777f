"""What is measured of an entry: forgetting, use, cost, robustness; numbers by name.

Every number of forgetting stands beside that of a model that never saw the forget set: to be near
it is the aim, not to be near zero. Knows nothing of methods.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from forgetnet.audit.membership import auc
from forgetnet.audit.robustness import quantisation_survival
from forgetnet.compare.answers import Ask
from forgetnet.compare.contestants import Entry
from forgetnet.compare.worlds import World
from forgetnet.experts.pinned import pinned
from forgetnet.unlearn.trials import quantised

__all__ = [
    "MOST_STEPS",
    "NUMBERS",
    "Steps",
    "measure",
    "membership",
    "relearning",
    "relearnt",
]

Floats = npt.NDArray[np.float64]
MOST_STEPS = 60
"""Steps of relearning after which it is given up."""
_NEAR = 0.1
_BITS = 4
_LITTLE = 0.01

NUMBERS: dict[str, str] = {
    "forget_loss": "mean loss on the forget set, nats",
    "forget_gap": "the same less that of models that never saw it",
    "forget_accuracy": "share of the forget set that is answered right",
    "before": "share of the forget set that was answered right before forgetting",
    "membership": "AUC of telling forgotten from unseen examples, difficulty taken out",
    "membership_plain": "the same by the loss alone",
    "test_loss": "mean loss on the test set, nats",
    "test_accuracy": "share of the test set that is answered right",
    "retain_accuracy": "share of the retain set that is answered right",
    "share": "work over that of training anew",
    "clock": "processor time over that of retraining the network",
    "relearn": "steps to learn the forget set again, over those of a retrained model",
    "int4": "what of the forgetting outlasts rounding weights to 4 bits, of 1",
    "paraphrase": "share of the forget set that is answered right when asked in other words",
}
"""All numbers that :func:`measure` may return, each in a few words."""


def membership(world: World, ask: Ask) -> tuple[Any, Any]:
    """Return (n,) and (m,) scores of the forgotten and of the unseen, lower for the known.

    The loss less the mean loss of models that never saw the example: how hard it is (Watson et al.
    2022, *On the Importance of Difficulty Calibration in Membership Inference Attacks*, eq. 2).
    """
    hard = world.difficulty
    return ask("forget").nll - hard["forget"], ask("unseen").nll - hard["unseen"]


def measure(world: World, entry: Entry, steps: Steps | None) -> dict[str, float]:
    """Measure an entry; numbers that don't apply to it are left out.

    Args:
        world: whose material is asked.
        entry: a contestant's.
        steps: of :func:`relearning`.

    Returns:
        by the names of :data:`NUMBERS`.
    """
    forget, unseen, test = (entry.ask(side) for side in ("forget", "unseen", "test"))
    twins = [twin("forget").nll.mean() for twin in entry.twins]
    found = {
        "forget_loss": forget.nll.mean(),
        "forget_gap": forget.nll.mean() - np.mean(twins),
        "forget_accuracy": forget.correct.mean(),
        "before": entry.before("forget").correct.mean(),
        "membership": auc(*membership(world, entry.ask)).value,
        "membership_plain": auc(forget.nll, unseen.nll).value,
        "test_loss": test.nll.mean(),
        "test_accuracy": test.correct.mean(),
        "retain_accuracy": entry.ask("retain").correct.mean(),
        "share": entry.share,
        "clock": entry.clock,
    }
    if "paraphrase" in world.material.sides:
        found["paraphrase"] = entry.ask("paraphrase").correct.mean()
    if steps is not None:
        found["relearn"] = np.exp(np.log(steps.ours).mean() - np.log(steps.theirs).mean())
    if entry.equal:
        found["relearn"] = 1.0  # equal bits do equal things
    elif entry.module is not None:
        found["int4"] = _rounding(world, entry.module)
    return {name: float(value) for name, value in found.items()}


class Steps(NamedTuple):
    """Steps to learn the forget set again, over runs: of a contestant, and of retrained models."""

    ours: Floats
    theirs: Floats


def relearning(world: World, entry: Entry, runs: int) -> Steps | None:
    """Let an entry learn the forget set again, and models that never saw it; None without weights.

    Until the loss is within a tenth of the way of what it was before forgetting.
    """
    if entry.module is None or entry.family is None:
        return None
    family = entry.family
    goal = float(entry.before("forget").nll.mean())
    never = float(np.mean([twin("forget").nll.mean() for twin in entry.twins]))
    target = goal + _NEAR * abs(never - goal)

    def tried(model: nn.Module) -> list[int]:
        return [relearnt(world, model, target, order) for order in range(runs)]

    if id(family) not in world.relearnt:
        theirs = [steps for model in family.references for steps in tried(model)]
        world.relearnt[id(family)] = np.array(theirs, np.float64)
    return Steps(np.array(tried(entry.module), np.float64), world.relearnt[id(family)])


def relearnt(world: World, model: nn.Module, target: float, order: int = 0) -> int:
    """Return how many steps on the forget set bring a model to a loss; 1 at least.

    The recipe's optimiser, learning rate and batches, on a copy, in evaluation mode.

    Args:
        world: of the forget set.
        model: is left as it was.
        target: the mean loss to reach, nats.
        order: seed of the order of examples.
    """
    setting, data = world.setting, world.material.sides["forget"]
    task, recipe, size = setting.task, setting.recipe, setting.task.size(data)
    tried, cpu = copy.deepcopy(model).eval(), torch.device("cpu")
    optimiser = recipe.optimiser(tried)
    each = -(-size // recipe.batch_size)
    draw = np.random.default_rng([world.seed, order])
    places: list[int] = []
    whole = task.batch(data, range(size), cpu)
    with pinned():
        for step in range(MOST_STEPS):
            with torch.no_grad():
                if float(task.loss(tried, whole).double().mean()) <= target:
                    return max(1, step)
            places = draw.permutation(size).tolist() if not step % each else places
            first = (step % each) * recipe.batch_size
            batch = task.batch(data, places[first : first + recipe.batch_size], cpu)
            optimiser.zero_grad(set_to_none=True)
            loss = task.loss(tried, batch).mean()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
            optimiser.step()
    return MOST_STEPS


def _rounding(world: World, model: nn.Module) -> float:
    """Return min(before / after, 1) of the mean probability of the forgotten answers."""
    before, after = (
        float(np.exp(-world.ask(tried, "forget").nll).mean())
        for tried in (model, quantised(model, _BITS))
    )
    # a hundredth on both sides, or ratios of nothing to nothing would count
    return quantisation_survival(
        before + _LITTLE, after + _LITTLE, compat="open-unlearning"
    ).value
