"""What a model's answers hang on, beside retrained models: an explanation, and never evidence.

For any classifier there is one that answers the same with arbitrary attributions (Anders et al.
2020), so maps convict and acquit nobody. They are shown beside an intervention, whose answer is the
one that is given, and the whole is no ``Finding``: no verdict of an audit can be made of it. Knows
nothing of how the model was unlearned.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forgetnet.audit.arrays import Floats, check_share
from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, not_installed
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.looking import looking
from forgetnet.unlearn.result import UnlearnResult, module_of
from forgetnet.unlearn.task import ClassificationTask, precise

__all__ = ["Explanation", "Ranked", "attributions", "explain_unlearning", "ranked"]

Answer = Literal["like retrained models", "unlike retrained models", "too few retrained models"]


@dataclass(frozen=True, eq=False)
class Ranked:
    """A model's number among those of retrained models.

    Attributes:
        value: of the model.
        null: (k,) of the retrained models.
        p_value: two-sided; see ``ranked``.
    """

    value: float
    null: Floats = field(repr=False)
    p_value: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What the forgotten examples' answers hang on: explanatory, not evidential.

    Attributes:
        answer: of the intervention alone.
        intervention: how far answers move when the marked features are taken away.
        attribution: how far the model's maps are from those of retrained models.
        coverage: what share of the model's attribution falls on the marked features.
        retrained_coverage: the same, the mean over retrained models.
        n: forgotten examples.
        models: retrained ones.
        notes: sentences on what it isn't.
    """

    answer: Answer
    intervention: Ranked
    attribution: Ranked
    coverage: float
    retrained_coverage: float
    n: int
    models: int
    notes: tuple[str, ...]


def ranked(value: float, null: npt.ArrayLike) -> Ranked:
    """Rank a number among those of k retrained models, from both sides.

    By the distance from the median of all k + 1: p = (1 + those as far) / (k + 1), so that 19
    retrained models are needed for 0.05. Too little is as strange as too much.
    """
    others = np.asarray(null, np.float64)
    middle = float(np.median(np.append(others, value)))
    as_far = int((np.abs(others - middle) >= abs(value - middle)).sum())
    return Ranked(value, others, (1 + as_far) / (len(others) + 1))


def attributions(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, baseline: float = 0.0, steps: int = 50
) -> Floats:
    """Return (n, features) shares of |integrated gradients| of the right classes' logits.

    Each row sums to 1, and to 0 where nothing is attributed. Sundararajan et al. 2017, by captum.

    Args:
        model: returns (n, classes) logits; left as it was.
        inputs: (n, ...) floats.
        targets: (n,) classes.
        baseline: the value of every feature at the start of the path.
        steps: of the path.

    Raises:
        Unsupported: captum isn't installed.
    """
    try:
        captum: Any = importlib.import_module("captum.attr")
    except ImportError as error:
        raise not_installed("captum", "explain") from error
    task = ClassificationTask()
    with looking(model) as seen:

        def logits(given: Tensor) -> Tensor:
            return precise(task.logits(seen, {"inputs": given}))

        found: Tensor = captum.IntegratedGradients(logits).attribute(
            inputs.detach().clone().requires_grad_(),
            baselines=baseline,
            target=targets,
            n_steps=steps,
            internal_batch_size=max(len(inputs), 256),
        )
    sizes = found.detach().abs().reshape(len(inputs), -1).cpu().double().numpy()
    totals = sizes.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(sizes, totals, out=np.zeros_like(sizes), where=totals > 0)
    return shares


def _variation(a: Floats, b: Floats) -> float:
    """Return the mean total variation between rows."""
    return float(0.5 * np.abs(a - b).sum(axis=1).mean())


def _effect(model: nn.Module, inputs: Tensor, without: Tensor) -> float:
    """Return how far answers move, as mean total variation."""
    task = ClassificationTask()
    with looking(model) as seen:
        p, q = (
            precise(task.logits(seen, {"inputs": x})).softmax(dim=1).cpu().double().numpy()
            for x in (inputs, without)
        )
    return _variation(p, q)


def explain_unlearning(
    model: nn.Module | UnlearnResult,
    retrained: Sequence[nn.Module],
    forget: Any,
    *,
    mask: Tensor,
    baseline: float = 0.0,
    steps: int = 50,
    alpha: float = 0.05,
) -> Explanation:
    """Ask whether a classifier still looks at what told the forgotten examples.

    Two numbers, each ranked among those of the retrained models from both sides. The intervention
    sets the marked features to the baseline and measures how far the probabilities move. The
    attribution is the mean total variation between normalised maps of |integrated gradients| of the
    model and of each retrained one, for a retrained one of the others. The answer is the
    intervention's; where the two disagree, a note says so.

    Args:
        model: under audit, or the result that holds it.
        retrained: 19 or more for an answer at 0.05, three at least.
        forget: (inputs, labels) of the forgotten, or a sequence of such pairs; inputs are floats.
        mask: true of the features that told them, shaped as one example or as all.
        baseline: what marked features are set to, and where paths of gradients start.
        steps: of those paths.
        alpha: of each rank.

    Raises:
        InvalidRecord: inputs are no floats, a mask doesn't fit or marks nothing, or there are fewer
            than three retrained models.
        Unsupported: captum isn't installed.
    """
    check_share(alpha, "alpha")
    check_kind("steps", steps, int)
    check_positive(steps=steps)
    check_kind("retrained", retrained, Sequence[nn.Module])
    check_kind("mask", mask, Tensor)
    task = ClassificationTask()
    n, k = task.size(forget), len(retrained)
    if not n or k < 3:
        raise InvalidRecord("one forgotten example, and three retrained models at least")
    batch = task.batch(forget, range(n), torch.device("cpu"))
    inputs, targets = batch["inputs"], batch["targets"]
    if not inputs.is_floating_point():
        raise InvalidRecord("attributions are of inputs that are floats")
    if mask.dtype != torch.bool or mask.shape not in {inputs.shape, inputs.shape[1:]}:
        raise InvalidRecord(f"a mask is bool, of {tuple(inputs.shape[1:])} features")
    marked = mask.expand_as(inputs)
    if not bool(marked.any()):
        raise InvalidRecord("a mask marks one feature at least")
    without = inputs.masked_fill(marked, baseline)
    models = (module_of(model, "model"), *retrained)
    effects = [_effect(each, inputs, without) for each in models]
    maps = [attributions(m, inputs, targets, baseline=baseline, steps=steps) for m in models]
    apart = np.array([[_variation(a, b) for b in maps[1:]] for a in maps])
    # a retrained model is compared with the others: its distance from itself is 0
    null = apart[1:].sum(axis=1) / (k - 1)
    covered = [float(m[marked.reshape(n, -1).numpy()].sum()) / n for m in maps]
    intervention = ranked(effects[0], effects[1:])
    attribution = ranked(float(apart[0].mean()), null)
    answer, notes = _answer(intervention, attribution, k, alpha)
    shares = covered[0], float(np.mean(covered[1:]))
    return Explanation(answer, intervention, attribution, *shares, n, k, notes)


def _answer(
    intervention: Ranked, attribution: Ranked, k: int, alpha: float
) -> tuple[Answer, tuple[str, ...]]:
    """Let the intervention answer, and say where the maps would have said something else."""
    notes: tuple[str, ...] = (
        "explanatory, not evidential: attributions can be made to show anything",
    )
    needed = math.ceil(round(1 / alpha, 9)) - 1
    if k < needed:
        why = f"{needed} retrained models are needed for {alpha:g}, not {k}"
        return "too few retrained models", (*notes, why)
    moved, shown = intervention.p_value <= alpha, attribution.p_value <= alpha
    if moved and not shown:
        notes = (*notes, "the maps look as retrained models' do, but the answers hang on it")
    if shown and not moved:
        notes = (*notes, "the maps differ, but taking the features away does what it should")
    return ("unlike retrained models" if moved else "like retrained models"), notes
