"""How shared weights learn, unlearn and are audited, away from stores, locks and files.

What goes in are rows and weights, what comes out are weights and what they stand on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forgetnet.component import Standing
from forgetnet.declared import check_declared, check_kind
from forgetnet.errors import InvalidRecord
from forgetnet.exchange import encode_line
from forgetnet.experts.pinned import drawn, mix, pinned
from forgetnet.fallback.ladder import Case, Ladder, by_account, climb, task_size, untouched
from forgetnet.fallback.probe import Probe
from forgetnet.fallback.rack import Held, Leaver
from forgetnet.fallback.rows import Rows
from forgetnet.fallback.standings import DROPPED, WITHHELD, standing_after
from forgetnet.unlearn.changing import write_state
from forgetnet.unlearn.result import state_digest
from forgetnet.unlearn.retrain import Build, Retrain, Train, fresh_model
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import snapshot_of

__all__ = ["Bout", "Means", "Outcome", "digests", "without"]

_CPU = torch.device("cpu")
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Bout:
    """What is to be unlearnt at once.

    Attributes:
        before: what the model stands on.
        owed: ids of the records that must go.
        leavers: those of them that are still there; fewer where a crash took the others.
        kept: what it may go on knowing.
        asked: some leavers with what the memory finds beside them now, and without.
        full: losses of the same before they left the memory; fewer where nobody looked in time.
        near: ids of near-duplicates that stay.
    """

    before: Held
    owed: frozenset[str]
    leavers: Sequence[Leaver]
    kept: Rows
    asked: tuple[Rows, Rows]
    full: Sequence[float]
    near: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """What came of it: what the model stands on, weights if they are new, and who trained them."""

    held: Held
    tensors: Weights | None
    anew: tuple[str, Retrain] | None = None


@dataclass(frozen=True)
class Means:
    """What a model is made with; see ``Entangled`` for the attributes."""

    build: Build
    train: Train
    examples: Callable[[Rows], Any]
    ladder: Ladder
    task: Task | None
    holdout: Any
    seed: int

    def __post_init__(self) -> None:
        check_declared(self)

    def with_ladder(self, ladder: Ladder) -> Means:
        """Return it with another ladder, whose retraining learns what this model is made with.

        Raises:
            InvalidRecord: it is none.
        """
        check_kind("ladder", ladder, Ladder, "Ladder((NPO(), Retrain()))")
        return replace(self, ladder=ladder.for_model(self.build, self.train, self.seed))

    def made(self, rows: Rows) -> Any:
        """Return what ``examples=`` makes of rows.

        Raises:
            InvalidRecord: it isn't one example of each.
        """
        made = self.examples(rows)
        if (count := task_size(made, self.task)) != len(rows):
            raise InvalidRecord(
                f"examples= made {count} examples of {len(rows)} records; make one of each, in "
                "their order, and leave out records that teach nothing by fit(ids)"
            )
        return made

    def blank(self) -> nn.Module:
        """Build the module as it was before any record."""
        return fresh_model(self.build, self.seed, _CPU)

    def loaded(self, weights: Weights) -> nn.Module:
        """Return the module with some weights, to answer with."""
        module = self.blank()
        write_state(module, weights)
        module.eval()
        return module

    def train_on(self, rows: Rows) -> tuple[str, nn.Module]:
        """Train a fresh module; return the digest of where it began, and it.

        Raises:
            InvalidRecord: ``build=`` makes no new module, or ``examples=`` not one of each row.
        """
        start, data = state_digest(self.blank()), self.made(rows)
        with pinned():
            module = self.blank()
            module.train()
            with drawn(mix(self.seed, "train")):
                self.train(module, data, self.seed)
        if state_digest(self.blank()) != start:
            raise InvalidRecord("build= must make a new module each time; training changed its own")
        return start, module

    def check(self, module: nn.Module) -> str:
        """Return the digest of where weights from elsewhere began.

        Raises:
            InvalidRecord: they don't fit ``build=``, or are what it makes.
        """
        blank, state = self.blank(), module.state_dict()
        shapes = {name: t.shape for name, t in blank.state_dict().items()}
        start = state_digest(blank)
        if shapes != {name: t.shape for name, t in state.items()} or start == state_digest(module):
            raise InvalidRecord(
                "build= must make a module of the same parameters as the weights, as it was before "
                "they learnt anything"
            )
        return start

    def losses(self, module: nn.Module, rows: Rows) -> list[float]:
        """Return the loss on each row, in nats."""
        return self._probe(module, None).losses(module, self.made(rows))

    def _probe(self, original: nn.Module, forget: Any) -> Probe:
        never = self.blank()
        never.eval()
        return Probe(
            forget,
            self.holdout,
            task=self.task,
            original=original,
            never=never,
            margin=self.ladder.margin,
        )

    def unlearn(self, bout: Bout, weights: Weights, folder: Path | None) -> Outcome:
        """Climb the ladder, unless an audit or an account finds that nothing needs to be done.

        Args:
            bout: what is to go.
            weights: as they are.
            folder: for checkpoints; None keeps none.
        """
        before, original, blank = bout.before, self.loaded(weights), self.blank()
        whole = len(bout.leavers) == len(bout.owed)  # else only retraining is left
        dim = bout.kept.vectors.shape[1]
        vectors = np.array([v for _, v in bout.leavers], np.float32).reshape(-1, dim)
        leaving = Rows(tuple(r for r, _ in bout.leavers), vectors, ((),) * len(bout.leavers))
        forget = self.made(leaving) if whole else None
        probe = self._probe(original, forget)
        pure = state_digest(blank) == before.start
        retain = self.made(bout.kept)
        case = Case(original, forget, retain, self.task, self.holdout, probe, blank, pure, folder)
        compared = self._compared(probe, bout) if whole else {}
        spared = by_account(self.ladder, before.account, len(bout.owed))
        attempts = [] if spared is None else [spared]
        if not attempts or not attempts[-1].accepted:
            attempts.append(untouched(self.ladder, case))
        rung, result = None, None
        if not attempts[-1].accepted:
            rung, result, tried = climb(self.ladder, case)
            attempts += tried
        told = tuple(attempt.to_plain() for attempt in attempts)
        after = replace(before, attempts=told, retrieval=compared)
        if not attempts[-1].accepted:
            if self.ladder.otherwise == "drop":
                dropped = Held(standing=DROPPED, attempts=told, retrieval=compared)
                return Outcome(dropped, {})
            return Outcome(replace(after, owed=bout.owed, standing=WITHHELD), None)
        left = without(after, bout.owed, standing_after(attempts[-1], before.standing))
        if result is None:
            since = before.account.get("forgotten", 0) + len(bout.owed)
            account = {**before.account, "forgotten": since} if before.account else {}
            return Outcome(replace(left, account=account), None)
        anew = (state_digest(result.model), rung) if isinstance(rung, Retrain) else None
        return Outcome(replace(left, account={}), snapshot_of(result.model), anew)

    def _compared(self, probe: Probe, bout: Bout) -> Mapping[str, Any]:
        """Compare what is told with the memory and without; the records have left it."""
        on, off = (self.made(rows) for rows in bout.asked)
        full = float(np.mean(bout.full)) if len(bout.full) else None
        return probe.compare(full, on, off, bout.near).to_plain()


def digests(rows: Rows) -> dict[str, str]:
    """Name what each record said, so that another one of its id is told from it."""
    lines = ((record.id, encode_line(record, vector)) for record, vector in rows.leavers())
    return {i: hashlib.sha256(line.encode()).hexdigest()[:32] for i, line in lines}


def without(held: Held, owed: Iterable[str], standing: Standing) -> Held:
    """Return what a model stands on once it owes some records no more."""
    gone = set(owed)
    saw = {i: digest for i, digest in held.saw.items() if i not in gone}
    return replace(held, saw=saw, owed=held.owed - gone, standing=standing)
