"""The ladder of a forget in shared weights: what is tried, in order, until one is good enough.

Every rung starts from the weights as they were, and an audit decides; nothing is accepted because
it was the last. Knows nothing of memories or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from forgetnet.audit.verdict import Verdict
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.fallback.probe import Probe
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.private import for_several
from forgetnet.unlearn.result import UnlearnResult
from forgetnet.unlearn.retrain import Build, Retrain, Train
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import Unlearner

__all__ = ["Attempt", "Case", "Ladder", "by_account", "climb", "untouched"]

_ENDED = {"done", "forget_loss"}


@dataclass(frozen=True)
class Ladder:
    """A policy: which unlearners, in which order, and what is good enough.

    Attributes:
        rungs: the unlearners; a ``Retrain`` without ``build=`` gets that of the model.
        accept: verdicts of the audit with which an approximate method is good enough. An exact or
            certified one needs none.
        margin: of the attack's AUC around 0.5 that counts as no difference.
        skip: leave weights as they are where the audit shows, by ``accept``, that they don't tell
            the records apart even before anything was done.
        epsilon, delta: for weights that were trained privately: up to what they are good enough as
            they are, for all the records forgotten since together; None never is.
        budget: of each rung.
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
        if not 0 < self.margin < 0.5:
            raise InvalidRecord("margin= lies between 0 and 0.5")
        if self.otherwise not in {"withhold", "drop"}:
            raise InvalidRecord("otherwise= is 'withhold' or 'drop'")
        if not all(isinstance(rung, Unlearner) for rung in self.rungs):
            raise InvalidRecord("rungs= are unlearners, such as NPO() or Retrain()")

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
            InvalidRecord: the first has no ``epochs`` to raise.
        """
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
        folder: holds checkpoints, from which a run goes on to the same bits; None keeps none.
    """

    model: nn.Module
    forget: Any
    retain: Any
    task: Task | None
    holdout: Any
    probe: Probe
    folder: Path | None = None


def climb(ladder: Ladder, case: Case) -> tuple[UnlearnResult | None, list[Attempt]]:
    """Try the rungs until one is good enough; return its result, or None, and all attempts."""
    attempts: list[Attempt] = []
    for number, rung in enumerate(ladder.rungs):
        checkpoint = None if case.folder is None else case.folder / f"run-{number}"
        result, attempt = _attempt(rung, ladder, case, checkpoint)
        attempts.append(attempt)
        if attempt.accepted:
            return result, attempts
    return None, attempts


def untouched(ladder: Ladder, case: Case) -> Attempt:
    """Return the attempt of doing nothing: enough where the audit shows that nothing is told."""
    finding = case.probe.attack(case.model) if case.probe.can_look else None
    verdict = Verdict.NOT_CHECKED if finding is None else finding.verdict
    reasons = ("no holdout was given",) if finding is None else finding.reasons
    accepted = ladder.skip and verdict in ladder.accept
    return Attempt("nothing", "approximate", "done", verdict, reasons, accepted)


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
    try:
        result = rung.unlearn(
            case.model,
            case.forget,
            case.retain,
            task=case.task,
            holdout=case.holdout,
            budget=ladder.budget,
            checkpoint=checkpoint,
            resume=checkpoint is not None,
        )
    except (InvalidRecord, Unsupported) as error:
        unfit = Verdict.NOT_CHECKED, (str(error),), False
        return None, Attempt(rung.name, rung.guarantee, "doesn't fit", *unfit)
    spent = (result.cost.forwards, result.cost.backwards, result.cost.seconds)
    if result.guarantee == "exact":
        verdict, reasons, good = Verdict.PROVEN, tuple(result.notes), result.stopped == "done"
    else:
        found = case.probe.judge(result.model)
        verdict, reasons = found.verdict, found.reasons
        good = result.stopped in _ENDED
        good = good and (result.guarantee == "certified" or verdict in ladder.accept)
    told = rung.name, result.guarantee, result.stopped, verdict, reasons
    return result, Attempt(*told, good, spent)
