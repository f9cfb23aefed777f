"""Methods of teachers: the student stays near one on what it keeps, and far on what it forgets.

Know nothing of how a teacher was trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.experts.pinned import drawn, mix
from forgetnet.unlearn.changing import Course, Ending
from forgetnet.unlearn.config import Cost, StopRule, check_positive
from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.gradient import kl_to
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.retrain import Build, fresh_model, named
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.task import Batch, Task

__all__ = ["SCRUB", "BadTeacher", "error_of"]


def error_of(run: Run, side: Side) -> float:
    """Return the share of wrong answers on a whole set."""
    wrong = total = 0
    with run.looking():
        for first in range(0, run.size(side), run.batch_size):
            last = min(first + run.batch_size, run.size(side))
            batch = run.take(side, list(range(first, last)))
            guessed = run.logits(batch).argmax(dim=-1)
            wrong += int((guessed != run.task.targets(batch)).sum())
            total += len(guessed)
    return wrong / total


def _taught(run: Run, teacher: nn.Module, batch: Batch) -> Tensor:
    """Return a frozen teacher's logits, counted."""
    with torch.no_grad():
        run.count(batch)
        return run.task.logits(teacher, batch)


@register("scrub")
@dataclass(frozen=True)
class SCRUB(Descent):
    """Epochs in turn: away from the teacher on forget, towards it on retain (Kurmanji et al. 2023).

    The teacher t is the start model, d = T^2 KL(t/T || student/T). In the first ``max_epochs``
    epochs a pass over the forget set ascends on d; each epoch has a pass over the retain set that
    descends on alpha d + gamma CE. A look is taken after each epoch.

    Attributes:
        max_epochs: epochs that begin with a pass over the forget set.
        alpha: of the teacher, on retain.
        gamma: of the labels, on retain.
        temperature: T.
        rewind: go back to the look whose error on the forget set is nearest to the last one's on
            ``holdout``, which should resemble the forget set: one that forgot too well is found
            out, too (SCRUB+R).
    """

    name: ClassVar[str] = "scrub"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    reference: ClassVar[str] = "Kurmanji et al. 2023, Towards Unbounded Machine Unlearning, SCRUB"
    paced_by: ClassVar[Side] = "retain"

    stop: StopRule = field(default_factory=lambda: StopRule(forget_loss=None))
    max_epochs: int = 2
    alpha: float = 0.5
    gamma: float = 1.0
    temperature: float = 2.0
    rewind: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(temperature=self.temperature, max_epochs=self.max_epochs)
        if self.epochs != int(self.epochs):
            raise InvalidRecord("epochs= of scrub is a whole number: they alternate")

    def _pass(self, size: int) -> int:
        return -(-size // self.batch_size)

    def length(self, sizes: Mapping[str, int]) -> int:
        """Return the steps of all passes."""
        away = min(self.max_epochs, int(self.epochs)) * self._pass(sizes["forget"])
        wanted = away + int(self.epochs) * self._pass(sizes["retain"])
        return wanted if self.max_steps is None else min(wanted, self.max_steps)

    def _ends(self, sizes: Mapping[str, int]) -> list[tuple[int, int]]:
        """Return for each epoch the step after its pass over forget, and that after the epoch."""
        ends, at = [], 0
        for epoch in range(int(self.epochs)):
            middle = at + (self._pass(sizes["forget"]) if epoch < self.max_epochs else 0)
            at = middle + self._pass(sizes["retain"])
            ends.append((middle, at))
        return ends

    def _sizes(self, run: Run) -> dict[str, int]:
        return {"forget": run.size("forget"), "retain": run.size("retain")}

    def looks(self, run: Run, done: int, total: int) -> bool:
        """Look after each epoch, when what was kept has been learnt again."""
        return done == total or any(done == end for _, end in self._ends(self._sizes(run)))

    def look_passes(self, run: Run) -> int:
        """Count the examples of one look, with those of the errors."""
        errors = run.size("forget") + run.size("holdout") if self.rewind else 0
        return super().look_passes(run) + errors

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return three forward passes, one of them the teacher's, and two backward."""
        return 3.0, 2.0

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict steps, passes and looks."""
        chosen = self.check(forget, retain, task)
        sizes = {"forget": chosen.size(forget), "retain": chosen.size(retain)}
        away = min(self.max_epochs, int(self.epochs)) * sizes["forget"]
        near = int(self.epochs) * sizes["retain"]
        probes = sum(min(self.stop.probe, size) for size in sizes.values())
        looks = int(self.epochs) * (probes + (2 * sizes["forget"] if self.rewind else 0))
        state = sum(t.numel() * t.element_size() for t in model.state_dict().values())
        kept = state * (1 + int(self.epochs) * self.rewind)
        ahead = 2 * away + 3 * near + looks + probes
        return Cost(self.length(sizes), ahead, away + 2 * near, ahead, kept)

    def begin(self, run: Run) -> None:
        """Keep the teacher."""
        run.start  # noqa: B018 - a property that is made now, before the first step

    def objective(self, run: Run, step: int) -> Tensor:
        """Return -d on forget, or alpha d + gamma CE on retain."""
        sizes, begun, retained = self._sizes(run), 0, 0
        for epoch, (middle, end) in enumerate(self._ends(sizes)):
            if step < middle:
                batch = run.batch("forget", epoch * self._pass(sizes["forget"]) + step - begun)
                return -self._distance(run, batch)
            if step < end:
                batch = run.batch("retain", retained + step - middle)
                near = self.alpha * self._distance(run, batch)
                return near + self.gamma * run.loss(batch).mean()
            begun, retained = end, retained + end - middle
        raise InvalidRecord(f"scrub has no step {step}")

    def _distance(self, run: Run, batch: Batch) -> Tensor:
        """Return T^2 KL(teacher || student) at temperature T."""
        told = _taught(run, run.start, batch) / self.temperature
        return self.temperature**2 * kl_to(told, run.logits(batch) / self.temperature)

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Do the epochs; refuse to rewind without a holdout."""
        if self.rewind and not run.size("holdout"):
            raise InvalidRecord("rewind= of scrub needs holdout=: what its errors are held against")
        return super().carry_out(run, course)

    def observe(self, run: Run, done: int) -> None:
        """Keep the weights and the errors of a look."""
        if not self.rewind:
            return
        errors = [error_of(run, side) for side in ("forget", "holdout")]
        run.carried[f"errors/{done}"] = torch.tensor([done, *errors], dtype=torch.float64)
        for name, tensor in run.weights().items():
            run.carried[f"look/{done}/{name}"] = tensor
            run.cost += Cost(bytes=tensor.numel() * tensor.element_size())

    def finish(self, run: Run) -> None:
        """Rewind to the look whose forget error is nearest to the last holdout error."""
        rows = [t.tolist() for n, t in run.carried.items() if n.startswith("errors/")]
        if not rows:
            return
        rows.sort()
        goal = rows[-1][2]
        best = min(rows, key=lambda row: (abs(row[1] - goal), -row[0]))
        names = run.moving()
        run.put_back({name: run.carried[f"look/{int(best[0])}/{name}"] for name in names})


@register("bad_teacher")
@dataclass(frozen=True)
class BadTeacher(Descent):
    """Learn from an ignorant teacher on forget, from the start model on retain.

    w_f KL(ignorant || student) + w_r KL(start || student), at temperature T.

    Attributes:
        build: makes the ignorant model; None draws the modules of a copy anew, as their
            ``reset_parameters`` do.
        forget_weight, retain_weight: of the two terms.
        temperature: T.
    """

    name: ClassVar[str] = "bad_teacher"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    reference: ClassVar[str] = "Chundawat et al. 2023, Can Bad Teaching Induce Forgetting?"

    build: Build | None = None
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(temperature=self.temperature)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings, the factory by its full name."""
        return {**super().to_plain(), "build": named(self.build)}

    def begin(self, run: Run) -> None:
        """Keep the good teacher, and make the bad one."""
        start = run.start
        if self.build is not None:
            bad = fresh_model(self.build, self.seed, run.device)
        else:
            bad = copy.deepcopy(start)
            with drawn(mix(self.seed, "build")):
                for module in bad.modules():
                    if callable(reset := getattr(module, "reset_parameters", None)):
                        reset()
        run.kept["bad"] = bad.eval().requires_grad_(False)

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return four forward passes, two of them the teachers', and two backward."""
        return 4.0, 2.0

    def objective(self, run: Run, step: int) -> Tensor:
        """Return w_f KL(ignorant || student) on forget + w_r KL(start || student) on retain."""
        total = torch.zeros((), device=run.device)
        for side, teacher, weight in (
            ("forget", run.kept["bad"], self.forget_weight),
            ("retain", run.start, self.retain_weight),
        ):
            batch = run.batch(side, step)
            told = _taught(run, teacher, batch) / self.temperature
            total = total + weight * kl_to(told, run.logits(batch) / self.temperature)
        return total
