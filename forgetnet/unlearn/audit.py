"""The audit of a run of unlearning: is the model like ones retrained, and does that last?

Runs every model, puts each test to its two controls and joins the findings. Knows nothing of how
the model was unlearned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from forgetnet.audit.controls import two_controls
from forgetnet.audit.equivalence import Holm, holm
from forgetnet.audit.robustness import quantisation_survival
from forgetnet.audit.verdict import Finding, Verdict, overall
from forgetnet.declared import check_declared, check_kind
from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import evidence
from forgetnet.unlearn.collect import Collected, collect
from forgetnet.unlearn.evidence import Margins, Seen, Test
from forgetnet.unlearn.report import Kind, Row, UnlearningAudit
from forgetnet.unlearn.result import UnlearnResult, module_of, state_digest
from forgetnet.unlearn.sameness import same_model
from forgetnet.unlearn.task import Task, task_of
from forgetnet.unlearn.trials import Relearn, Relearning, Source, kept_by_rounding, quantised

__all__ = ["Margins", "Relearn", "Row", "UnlearningAudit", "audit_unlearning"]

_MARGINS, _RELEARN = Margins(), Relearn()
_NOTE = (
    "Each test is of what it looks at: consistent isn't proven, and what none looks at may differ."
)


@dataclass(frozen=True)
class _Cast:
    """The four parts of an audit, be they models or what models said."""

    original: Any
    unlearned: Any
    control: Any
    references: Sequence[Any]

    def each(self, what: Callable[[Any], Any]) -> _Cast:
        return _Cast(
            what(self.original),
            what(self.unlearned),
            what(self.control),
            [what(part) for part in self.references],
        )

    def numbers(self, statistic: Callable[[Any], float]) -> dict[str, float]:
        others = [x for part in self.references if not math.isnan(x := statistic(part))]
        return {
            "original": statistic(self.original),
            "unlearned": statistic(self.unlearned),
            "retrained": float(np.mean(others)) if others else math.nan,
            "control": statistic(self.control),
        }


@dataclass(frozen=True)
class _Plan:
    """What is asked for."""

    task: Task
    sets: Mapping[str, Any]
    relearn: Relearn | None
    bits: Sequence[int]
    margins: Margins
    alpha: float
    seed: int
    batch_size: int

    def __post_init__(self) -> None:
        check_declared(self)

    def look(self, model: nn.Module) -> dict[str, Collected]:
        """Run a model over every set; gradients are of what the attack on them compares."""
        attacked = {"forget", "holdout"} if self.task.answers == "tokens" else set()
        return {
            side: collect(
                model, data, self.task, gradients=side in attacked, batch_size=self.batch_size
            )
            for side, data in self.sets.items()
        }

    def rough(self, bits: int, model: nn.Module) -> dict[str, Collected]:
        """Run a rounded copy over the two sets of the attack on losses."""
        copied = quantised(model, bits)
        return {
            side: collect(copied, self.sets[side], self.task, batch_size=self.batch_size)
            for side in ("forget", "holdout")
        }


def audit_unlearning(
    original: nn.Module,
    unlearned: nn.Module | UnlearnResult,
    retrained: Sequence[nn.Module | UnlearnResult],
    *,
    forget: Any,
    retain: Any,
    holdout: Any,
    task: Task | None = None,
    paraphrase: Any = None,
    relearn: Relearn | None = _RELEARN,
    bits: Sequence[int] = (8, 4),
    margins: Margins = _MARGINS,
    alpha: float = 0.05,
    seed: int = 0,
    batch_size: int = 64,
) -> UnlearningAudit:
    """Compare an unlearned model with retrained ones, each test between its two controls.

    The last retrained model is held out: it must pass where the original must fail, or the test
    says nothing. The very bits of a retrained model are "proven", and nothing else is tested then.
    Seven retrained models besides the control measure how far apart such models are, 39 let every
    test speak; with fewer those say "underpowered".

    Args:
        original: as trained on everything.
        unlearned: under audit, or the result that holds it.
        retrained: two or more, each trained without the forgotten with a seed of its own.
        forget: examples that were forgotten.
        retain: examples that all models were trained on.
        holdout: examples like the forgotten that no model was trained on.
        task: what kind of data it is; told from the data by default.
        paraphrase: the forgotten in other words, which must be forgotten, too.
        relearn: how to train again; None leaves it out.
        bits: grids to round weights to, of 8 and 4.
        margins: what counts as no difference.
        alpha: of each test, and of all differences together (Holm 1979); attacks are at 0.05.
        seed: of what relearning draws.
        batch_size: most examples of a pass.

    Raises:
        InvalidRecord: fewer than two retrained models, two of equal bits, no set or an empty one,
            a loss that is no number, or a setting that makes no sense.
        Unsupported: scipy isn't installed.
    """
    check_kind("retrained", retrained, Sequence)
    if len(retrained) < 2:
        raise InvalidRecord("two retrained models at least: one of them is the second control")
    others = [module_of(model, f"retrained[{i}]") for i, model in enumerate(retrained)]
    given = {"forget": forget, "retain": retain, "holdout": holdout, "paraphrase": paraphrase}
    sets = {name: data for name, data in given.items() if data is not None}
    if missing := [name for name in ("forget", "retain", "holdout") if name not in sets]:
        raise InvalidRecord(f"an audit needs {missing[0]}=, too; the holdout is what no model saw")
    chosen = task_of(forget, task)
    plan = _Plan(chosen, sets, relearn, bits, margins, alpha, seed, batch_size)
    both = module_of(original, "original"), module_of(unlearned, "unlearned")
    models = _Cast(*both, others[-1], others[:-1])
    digests, seen = models.each(state_digest), models.each(plan.look)
    counts = {**{n: chosen.size(data) for n, data in sets.items()}, "retrained": len(others)}
    same = _sameness(models, digests, seen)
    if same is not None and same.verdict is Verdict.PROVEN:
        row = Row(same.name, "forgetting", same, {})
        return UnlearningAudit(Verdict.PROVEN, (row,), None, counts)
    _check(digests, seen)
    rows = [] if same is None else [Row(same.name, "forgetting", same, {})]
    rows += [*_forgetting(plan, seen), *_utility(plan, seen)]
    rows += [*_relearning(plan, models, seen), *_rounding(plan, models, seen)]
    rows, correction = _corrected(rows, alpha)
    verdict = overall([replace(row.finding, verdict=row.verdict) for row in rows])
    return UnlearningAudit(verdict, tuple(rows), correction, counts, (_NOTE,))


def _sameness(models: _Cast, digests: _Cast, seen: _Cast) -> Finding | None:
    """Look for equal bits: of a retrained model, or of the original."""
    others = [
        same_model(models.unlearned, seen.unlearned, model, said)
        for model, digest, said in zip(
            (*models.references, models.control),
            (*digests.references, digests.control),
            (*seen.references, seen.control),
            strict=True,
        )
        if digest == digests.unlearned
    ]
    if others and digests.unlearned != digests.original:
        return next((f for f in others if f.verdict is Verdict.PROVEN), others[0])
    if digests.unlearned != digests.original:
        return None
    why = "weights and buffers are those of the original: nothing was unlearned in them"
    return Finding("equal bits", Verdict.INCONSISTENT, 1, {}, (why,))


def _check(digests: _Cast, seen: _Cast) -> None:
    retrained = (*digests.references, digests.control)
    if len(set(retrained)) < len(retrained):
        raise InvalidRecord("two retrained models are equal; train each with a seed of its own")
    named = {"original": seen.original, "unlearned": seen.unlearned, "control": seen.control}
    named |= {f"retrained {i}": part for i, part in enumerate(seen.references)}
    for name, sides in named.items():
        for side, found in sides.items():
            if bad := int((~np.isfinite(found.nll)).sum()):
                raise InvalidRecord(f"{name}, {side}: {bad} losses are no finite numbers")


def _row(
    kind: Kind, prepared: tuple[Test, Callable[[Seen], float]], seen: _Cast, name: str = ""
) -> Row:
    """Put a test to its controls."""
    test, statistic = prepared
    told = two_controls(
        test, original=seen.original, unlearned=seen.unlearned, retrained=seen.control
    )
    return Row(name or told.unlearned.name, kind, told, seen.numbers(statistic))


def _forgetting(plan: _Plan, seen: _Cast) -> list[Row]:
    margins, alpha, refs = plan.margins, plan.alpha, seen.references
    names = list(evidence.ATTACKS) if plan.task.answers == "tokens" else ["loss attack"]
    tests = [evidence.attack(name, refs, margins.auc) for name in names]
    if plan.task.answers != "numbers":
        tests.append(evidence.memorised(refs, margins.share, alpha))
    tests.append(evidence.equivalence(seen.original, refs, alpha))
    tests.append(evidence.distribution(refs, margins.distribution, alpha))
    rows = [_row("forgetting", test, seen) for test in tests]
    if "paraphrase" in plan.sets:
        said = evidence.probability("paraphrase", refs, margins.share, alpha)
        rows.append(_row("robustness", said, seen))
    return rows


def _utility(plan: _Plan, seen: _Cast) -> list[Row]:
    """Look at what should stay. The original is no control: it needn't be worse at anything."""
    rows = []
    for side in ("retain", "holdout"):
        test, statistic = evidence.no_worse(
            side, seen.original, seen.references, plan.margins.utility, plan.alpha
        )
        found, control = test(seen.unlearned), test(seen.control)
        if control.verdict is Verdict.INCONSISTENT:
            why = "a second retrained model didn't pass; there is no control that must fail"
            found = replace(found, verdict=Verdict.NOT_CHECKED, reasons=(why,))
        rows.append(Row(found.name, "utility", found, seen.numbers(statistic)))
    return rows


def _relearning(plan: _Plan, models: _Cast, seen: _Cast) -> list[Row]:
    settings = plan.relearn
    if settings is None:
        return []
    forget = [part["forget"] for part in seen.references]
    before = seen.original["forget"]
    trial = Relearning(
        settings, plan.task, plan.sets["forget"], plan.sets["retain"], before, forget, plan.seed
    )
    names: dict[Source, str] = {
        "forget": f"relearn, {100 * settings.share:.3g}% of it",
        "retain": "relearn, retained only",
    }
    if why := trial.hindrance():
        few = len(before) < trial.fewest
        verdict = Verdict.UNDERPOWERED if few else Verdict.NOT_CHECKED
        found = [Finding(name, verdict, len(before), {}, (why,)) for name in names.values()]
        return [Row(each.name, "robustness", each, {}) for each in found]
    rows = []
    for source, name in names.items():

        def steps(model: nn.Module, source: Source = source) -> list[int]:
            return [trial.steps(model, source, run) for run in range(settings.seeds)]

        theirs = [
            trial.steps(models.references[run % len(models.references)], source, run)
            for run in range(settings.seeds)
        ]
        test = evidence.relearned(name, theirs, settings.steps, plan.alpha)
        taken = {
            part: steps(getattr(models, part)) for part in ("original", "unlearned", "control")
        }
        told = two_controls(
            test,
            original=taken["original"],
            unlearned=taken["unlearned"],
            retrained=taken["control"],
        )
        numbers = {part: _middle(ran) for part, ran in {**taken, "retrained": theirs}.items()}
        rows.append(Row(name, "robustness", told, numbers))
    return rows


def _middle(steps: Sequence[int]) -> float:
    return math.exp(float(np.mean(np.log(steps))))


def _rounding(plan: _Plan, models: _Cast, seen: _Cast) -> list[Row]:
    rows = []
    for bits in plan.bits:
        rough = models.each(partial(plan.rough, bits))
        prepared = evidence.attack("loss attack", rough.references, plan.margins.auc)
        row = _row("robustness", prepared, rough, f"loss attack at {bits} bits")
        before = prepared[1](seen.unlearned)
        more = {
            "survival": quantisation_survival(before, row.numbers["unlearned"]).value,
            "change_kept": kept_by_rounding(models.original, models.unlearned, bits),
        }
        rows.append(replace(row, numbers={**row.numbers, **more}))
    return rows


def _corrected(rows: Sequence[Row], alpha: float) -> tuple[list[Row], Holm | None]:
    """Take back differences that are too likely among so many tests."""
    found = {row.name: row.finding.numbers for row in rows}
    p_values = {name: told["p_beyond"] for name, told in found.items() if "p_beyond" in told}
    if not p_values:
        return list(rows), None
    correction = holm(p_values, alpha=alpha)
    return [
        replace(row, corrected=True)
        if row.name in p_values
        and row.verdict is Verdict.INCONSISTENT
        and row.name not in correction.rejected
        else row
        for row in rows
    ], correction
