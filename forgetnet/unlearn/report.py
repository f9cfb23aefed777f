"""What the audit of a run of unlearning found: rows, one verdict, a table.

Knows nothing of models, nor of how the tests were made.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from forgetnet.audit.controls import Controlled
from forgetnet.audit.equivalence import Holm
from forgetnet.audit.verdict import Finding, Verdict

__all__ = ["Kind", "Row", "UnlearningAudit"]

Kind = Literal["forgetting", "utility", "robustness"]
_SHOWN = ("original", "unlearned", "retrained", "control")
_WIDE = 100


@dataclass(frozen=True)
class Row:
    """One test of an audit.

    Attributes:
        name: of the test.
        kind: what it is about: that the data is forgotten, that the rest isn't, or that it lasts.
        controlled: the finding with its two controls; the bare finding where there are none.
        numbers: the statistic by model: ``original``, ``unlearned``, ``retrained`` (the mean of
            those compared with) and ``control`` (the one held out); and others of the row's own.
        corrected: that a difference was found which Holm's correction for several tests takes back.
    """

    name: str
    kind: Kind
    controlled: Controlled | Finding
    numbers: Mapping[str, float]
    corrected: bool = False

    @property
    def finding(self) -> Finding:
        """What the test said of the unlearned model, controls or not."""
        told = self.controlled
        return told if isinstance(told, Finding) else told.unlearned

    @property
    def verdict(self) -> Verdict:
        """What counts, after controls and correction.

        As ``audit.controls`` has it, but for controls that only lack examples: then the row lacks
        them, too. A difference of the unlearned model stands if the original fails as well and the
        retrained control at least doesn't fail: too few examples raise no false alarm.
        """
        return self._settled()[0]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in plain words."""
        return self._settled()[1]

    def _settled(self) -> tuple[Verdict, tuple[str, ...]]:
        told, found = self.controlled, self.finding
        if self.corrected:
            why = "the difference doesn't stand Holm's correction for several tests"
            return Verdict.UNDERPOWERED, (why, *found.reasons)
        if isinstance(told, Finding):
            return told.verdict, told.reasons
        few = Verdict.UNDERPOWERED
        before, second = told.original.verdict, told.retrained.verdict
        if few not in {before, second}:
            return told.verdict, told.reasons
        if before not in {few, Verdict.INCONSISTENT} or second in {
            Verdict.INCONSISTENT,
            Verdict.NOT_CHECKED,
        }:
            return Verdict.NOT_CHECKED, told.reasons
        if before is Verdict.INCONSISTENT and found.verdict is Verdict.INCONSISTENT:
            return Verdict.INCONSISTENT, (*found.reasons, "the retrained control lacks power")
        return few, (*told.reasons, *found.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON; what is no number is null."""
        told = self.controlled
        controls = {} if isinstance(told, Finding) else _controls(told)
        return {
            "name": self.name,
            "kind": self.kind,
            "verdict": self.verdict.value,
            "n": self.finding.n,
            "numbers": _plain(self.numbers),
            "finding": _plain(self.finding.numbers),
            "controls": controls,
            "reasons": list(self.reasons),
        }


def _controls(told: Controlled) -> dict[str, str]:
    return {"original": told.original.verdict.value, "retrained": told.retrained.verdict.value}


def _plain(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(x) if math.isfinite(x) else None for name, x in numbers.items()}


@dataclass(frozen=True)
class UnlearningAudit:
    """The audit of one unlearned model.

    Attributes:
        verdict: the worst of the rows; "proven" for the very bits of a retrained model.
        rows: in the order of the table.
        holm: the correction of p-values for being several; None where there are none.
        counts: examples by set, and ``retrained`` models.
        notes: sentences on what it isn't.
    """

    verdict: Verdict
    rows: tuple[Row, ...]
    holm: Holm | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> Row:
        """Return the row of a name.

        Raises:
            KeyError: there is none.
        """
        return {row.name: row for row in self.rows}[name]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "verdict": self.verdict.value,
            "rows": [row.to_dict() for row in self.rows],
            "holm": None if self.holm is None else dict(self.holm.adjusted),
            "counts": dict(self.counts),
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """Return the rows as a table in plain text of 100 columns, and the reasons below it."""
        heads = "".join(f"{head:>11}" for head in _SHOWN)
        lines = [f"{'test':<28}{'about':<12}{heads}  verdict"]
        for row in self.rows:
            cells = (row.numbers.get(name, math.nan) for name in _SHOWN)
            shown = "".join("          -" if math.isnan(x) else f"{x:>11.4g}" for x in cells)
            lines.append(f"{row.name:<28}{row.kind:<12}{shown}  {row.verdict.value}")
        counted = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        lines += [f"{self.verdict.value} ({counted})", ""]
        for row in self.rows:
            if row.verdict not in {Verdict.CONSISTENT, Verdict.PROVEN}:
                why = f"{row.name}: {'; '.join(row.reasons)}"
                lines += textwrap.wrap(why, _WIDE, subsequent_indent="  ")
        for note in self.notes:
            lines += textwrap.wrap(note, _WIDE, subsequent_indent="  ")
        return "\n".join(lines).rstrip()
