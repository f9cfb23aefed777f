"""The ladder of a forget in shared weights: what is tried, in order, until one is good enough.

Every rung starts from the weights as they were, and an audit decides; nothing is accepted because
it was the last. Knows nothing of memories or files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from forgetnet.audit.verdict import Verdict
from forgetnet.component import Cost
from forgetnet.declared import check_declared, check_kind
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.fallback.probe import Probe
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.private import for_several
from forgetnet.unlearn.result import UnlearnResult
from forgetnet.unlearn.retrain import Build, Retrain, Train
from forgetnet.unlearn.shards import ShardRetrain
from forgetnet.unlearn.task import Task, task_of
from forgetnet.unlearn.unlearner import Unlearner, scope_of

__all__ = ["Attempt", "Case", "Ladder", "by_account", "climb", "predict", "untouched"]

_ENDED = {"done", "forget_loss"}
_BROKE = (RuntimeError, ValueError, TypeError, KeyError, IndexError, ArithmeticError)


@dataclass(frozen=True)
class Ladder:
    """A policy: which unlearners, in which order, and what is good enough.

    Attributes:
        rungs: the unlearners; a ``Retrain`` without ``build=`` gets that of the model.
        accept: verdicts of the audit with which an approximate method is good enough. An exact or
            certified one needs none.
        margin: of the attack's AUC around 0.5, and of mean probabilities, that counts as none.
        skip: leave weights as they are where the audit shows, by ``accept``, that they don't tell
            the records apart even before anything was done.
        epsilon, delta: for weights that were trained privately: up to what they are good enough as
            they are, for all the records forgotten since together; None never is.
        budget: of each rung, but of a retraining by the model's own recipe, which can't be held
            to one.
        otherwise: where no rung is good enough, ``withhold`` the model until another ladder
            finishes the work, or ``drop`` its weights, so that nothing is left.
    """

    rungs: tuple[Unlearner, ...]
    accept: frozenset[Verdict] = frozenset({Verdict.CONSISTENT, Verdict.PROVEN})
    margin: float = 0.1
    skip: bool = True
    epsilon: float | None = None
    delta: float = 1e-5
    budget: Budget = field(default_factory=Budget)
    otherwise: Literal["withhold", "drop"] = "withhold"

    def __post_init__(self) -> None:
        given: Any = {"rungs": self.rungs, "accept": self.accept}
        if isinstance(given["rungs"], Unlearner | list):
            rungs = given["rungs"] if isinstance(given["rungs"], list) else [given["rungs"]]
            object.__setattr__(self, "rungs", tuple(rungs))
        if isinstance(given["accept"], set | list | tuple):
            object.__setattr__(self, "accept", frozenset(given["accept"]))
        check_kind("accept", self.accept, frozenset[Verdict], "{Verdict.CONSISTENT}")
        check_declared(self)
        if not 0 < self.margin < 0.5:
            raise InvalidRecord("margin= lies between 0 and 0.5")

    @classmethod
    def escalate(
        cls, first: Unlearner, *others: Unlearner, times: int = 1, factor: float = 2.0, **more: Any
    ) -> Ladder:
        """Return the usual ladder: a method, the same stronger, then the next ones.

        Args:
            first: tried first.
            others: tried afterwards, in order.
            times: how often the first is tried again, each time with more epochs.
            factor: how many times as many.
            more: other attributes of the ladder.

        Raises:
            InvalidRecord: the first has no ``epochs`` to raise, or something is no unlearner.
        """
        check_kind("first", first, Unlearner, "NPO()")
        check_kind("times", times, int)
        check_kind("factor", factor, float)
        if times and "epochs" not in {f.name for f in fields(first)}:
            raise InvalidRecord(f"{first.name} has no epochs to raise; name its rungs yourself")
        start = float(getattr(first, "epochs", 0.0))
        stronger = [first.set_params(epochs=start * factor ** (i + 1)) for i in range(times)]
        return cls((first, *stronger, *others), **more)

    def for_model(self, build: Build, train: Train, seed: int) -> Ladder:
        """Return it with what a ``Retrain`` without ``build=`` needs to know of the model."""
        fill = {"build": build, "train": train, "repeat": True, "seed": seed}
        rungs = [
            rung.set_params(**fill) if isinstance(rung, Retrain) and rung.build is None else rung
            for rung in self.rungs
        ]
        return replace(self, rungs=tuple(rungs))


@dataclass(frozen=True)
class Attempt:
    """What came of one rung.

    Attributes:
        method: the unlearner's name; ``nothing`` for weights that were left as they are.
        guarantee: what the run may claim.
        stopped: why it ended; ``doesn't fit`` where it couldn't begin.
        verdict: of the audit.
        reasons: of the verdict, or why it doesn't fit.
        accepted: whether it was good enough.
        cost: forwards and backwards, and wall time in seconds.
    """

    method: str
    guarantee: str
    stopped: str
    verdict: Verdict
    reasons: tuple[str, ...]
    accepted: bool
    cost: tuple[int, int, float] = (0, 0, 0.0)

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "method": self.method,
            "guarantee": self.guarantee,
            "stopped": self.stopped,
            "verdict": self.verdict.value,
            "reasons": list(self.reasons),
            "accepted": self.accepted,
            "forwards": self.cost[0],
            "backwards": self.cost[1],
            "seconds": round(self.cost[2], 3),
        }


@dataclass(frozen=True)
class Case:
    """What is to be unlearned, from what.

    Attributes:
        model: with the weights as they are; they stay so.
        forget: what is to be forgotten, as the task takes data; None where a crash took it.
        retain: what is to be kept.
        task: what kind of data it is.
        holdout: data that the model never saw.
        probe: the audit.
        never: a model that saw nothing.
        pure: whether ``never`` is what the weights were trained from.
        folder: holds checkpoints, from which a run goes on to the same bits; None keeps none.
    """

    model: nn.Module
    forget: Any
    retain: Any
    task: Task | None
    holdout: Any
    probe: Probe
    never: nn.Module
    pure: bool
    folder: Path | None = None


Climbed = tuple[Unlearner | None, UnlearnResult | None, list[Attempt]]
"""The rung that was good enough and its result, or None, and all attempts."""


def climb(ladder: Ladder, case: Case) -> Climbed:
    """Try the rungs until one is good enough."""
    attempts: list[Attempt] = []
    for number, rung in enumerate(ladder.rungs):
        checkpoint = None if case.folder is None else case.folder / f"run-{number}"
        result, attempt = _attempt(rung, ladder, case, checkpoint)
        attempts.append(attempt)
        if attempt.accepted:
            return rung, result, attempts
    return None, None, attempts


def predict(
    ladder: Ladder,
    given: tuple[nn.Module, Any, Task | None],
    retain: Callable[[], Any],
    rest: Collection[str],
) -> Cost:
    """Predict the first rung that fits.

    Args:
        ladder: what would be tried.
        given: the model, the forget set, and the task.
        retain: makes the retain set, if a rung wants to see it.
        rest: ids of what is retained.
    """
    model, forget, task = given
    count, made = task_size(forget, task), None
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    names = ", then ".join(dict.fromkeys(rung.name for rung in ladder.rungs)) or "nothing"
    action = f"unlearn in shared weights by {names}, until an audit is content"
    for rung in ladder.rungs:
        if isinstance(rung, Retrain) and rung.train is not None:
            times = " (twice, to compare)" if rung.repeat else ""
            return Cost(action + times, count, len(rest), 1, size, share=1.0)
        made = retain() if made is None else made
        try:
            told = rung.estimate(model, forget, made, task=task)
        except (InvalidRecord, Unsupported):
            continue
        worth = "audited" if rung.guarantee == "approximate" else rung.guarantee
        passes = told.forwards + told.backwards
        return Cost(action, count, files=1, bytes=size, passes=passes, guarantee=worth)
    return Cost(action, count, guarantee="audited")


def task_size(data: Any, task: Task | None) -> int:
    """Count the examples of a data set."""
    return task_of(data, task).size(data)


def untouched(ladder: Ladder, case: Case) -> Attempt:
    """Return the attempt of doing nothing: enough where the audit shows that nothing is told."""
    found = case.probe.judge_as_it_was()
    accepted = ladder.skip and found.verdict in ladder.accept
    return Attempt("nothing", "approximate", "done", found.verdict, found.reasons, accepted)


def by_account(ladder: Ladder, account: Mapping[str, Any], leaving: int) -> Attempt | None:
    """Return the attempt of doing nothing to weights whose training bounds what they can hold.

    Args:
        ladder: says how much is good enough.
        account: of private training, and how many were ``forgotten`` since; empty without.
        leaving: how many more are to be forgotten now.
    """
    if not account:
        return None
    count = int(account["forgotten"]) + leaving
    epsilon, delta = for_several(account["epsilon"], account["delta"], count)
    most = ladder.epsilon
    good = most is not None and epsilon <= most and delta <= ladder.delta
    said = f"epsilon {epsilon:.4g} and delta {delta:.2g} for all forgotten since the training"
    return Attempt("nothing", "certified", "done", Verdict.NOT_CHECKED, (said,), good)


def _attempt(
    rung: Unlearner, ladder: Ladder, case: Case, checkpoint: Path | None
) -> tuple[UnlearnResult | None, Attempt]:
    own_recipe = isinstance(rung, Retrain) and rung.train is not None
    try:
        result = rung.unlearn(
            case.model,
            case.forget,
            case.retain,
            task=case.task,
            holdout=case.holdout,
            budget=None if own_recipe else ladder.budget,
            checkpoint=checkpoint,
            resume=checkpoint is not None,
        )
    except (InvalidRecord, Unsupported) as error:
        unfit = Verdict.NOT_CHECKED, (str(error),), False
        return None, Attempt(rung.name, rung.guarantee, "doesn't fit", *unfit)
    except _BROKE as error:  # of somebody's code: what it says may hold data
        broke = Verdict.NOT_CHECKED, (f"it raised {type(error).__name__}",), False
        return None, Attempt(rung.name, rung.guarantee, "failed", *broke)
    spent = (result.cost.forwards, result.cost.backwards, result.cost.seconds)
    claimed = result.guarantee if _is_borne(rung, result, case) else "approximate"
    if claimed == "exact":
        verdict, reasons, good = Verdict.PROVEN, tuple(result.notes), result.stopped == "done"
    else:
        found = case.probe.judge(result.model)
        less = _demoted(result.guarantee, claimed)
        verdict, reasons = found.verdict, (*found.reasons, *less, *result.notes)
        good = result.stopped in _ENDED
        good = good and (claimed == "certified" or verdict in ladder.accept)
    told = rung.name, claimed, result.stopped, verdict, reasons
    return result, Attempt(*told, good, spent)


def _is_borne(rung: Unlearner, result: UnlearnResult, case: Case) -> bool:
    """Tell whether what a method may claim of what it changed holds of the whole module.

    A head can be solved exactly on features that still know; so all else must be as before any
    record.
    """
    if isinstance(rung, Retrain | ShardRetrain):
        return case.pure
    changed = scope_of(result.model, rung.params)
    blank = case.never.state_dict()
    others = {n: t for n, t in result.model.state_dict().items() if n not in changed}
    same = all(n in blank and torch.equal(t.cpu(), blank[n].cpu()) for n, t in others.items())
    return case.pure and same


def _demoted(guarantee: str, claimed: str) -> tuple[str, ...]:
    if guarantee == claimed:
        return ()
    return (f"{guarantee} of what it changed, but the rest of the module learnt from the records",)
