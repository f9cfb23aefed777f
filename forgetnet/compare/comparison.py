"""The outcome of a comparison: a row a contestant, numbers with intervals, a verdict, one table.

Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forgetnet.audit.arrays import statistics
from forgetnet.audit.verdict import Verdict
from forgetnet.compare.judge import Judgement
from forgetnet.errors import InvalidRecord

__all__ = ["Comparison", "Row", "Spread", "spread_of"]

_FEWEST = 3


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes:
        mean: over the seeds.
        low, high: 95% interval of the mean by Student's t; with fewer than three seeds the least
            and the most.
        values: one a seed.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    def told(self, digits: int = 2) -> str:
        """Write the mean, and half the width of its interval if there are several values."""
        if len(self.values) == 1:
            return _short(self.mean, digits)
        half = max(self.high - self.mean, self.mean - self.low)
        return f"{_short(self.mean, digits)} ± {_short(half, digits)}"

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "mean": self.mean, "low": self.low, "high": self.high, "values": list(self.values)
        }  # fmt: skip


def _short(value: float, digits: int) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    shown = f"{value:.{1 if abs(value) >= 10 else digits}f}"
    return shown.removeprefix("-") if float(shown) == 0.0 else shown


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean and interval of one number a seed.

    Raises:
        Unsupported: scipy isn't installed.
    """
    array = np.asarray(values, np.float64)
    mean, n = float(array.mean()), len(array)
    if n < _FEWEST:
        return Spread(mean, float(array.min()), float(array.max()), tuple(array.tolist()))
    half = float(statistics().t.ppf(0.975, n - 1)) * float(array.std(ddof=1)) / math.sqrt(n)
    return Spread(mean, mean - half, mean + half, tuple(array.tolist()))


@dataclass(frozen=True)
class Row:
    """One contestant.

    Attributes:
        name: of the method.
        group: ``control``, ``by design`` or ``in weights``.
        guarantee: what is claimed.
        numbers: by the names of ``measure.NUMBERS``.
        judgement: the verdict over all seeds.
        note: how runs ended, if not as usual.
        audit: what an audit of the first seed's run says, if one was asked for.
    """

    name: str
    group: str
    guarantee: str
    numbers: Mapping[str, Spread]
    judgement: Judgement
    note: str = ""
    audit: str = ""

    @classmethod
    def from_plain(cls, told: Mapping[str, Any]) -> Row:
        """Read what ``to_plain`` returned."""
        spreads = {
            name: Spread(one["mean"], one["low"], one["high"], tuple(one["values"]))
            for name, one in told["numbers"].items()
        }
        judgement = Judgement(Verdict(told["verdict"]), tuple(told["reasons"]))
        texts = {name: str(told[name]) for name in ("name", "group", "guarantee", "note", "audit")}
        return cls(numbers=spreads, judgement=judgement, **texts)

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "name": self.name,
            "group": self.group,
            "guarantee": self.guarantee,
            "numbers": {name: number.to_plain() for name, number in self.numbers.items()},
            "verdict": self.judgement.verdict.value,
            "reasons": list(self.judgement.reasons),
            "note": self.note,
            "audit": self.audit,
        }


_COLUMNS = {
    "forget_loss": "forget loss",
    "forget_gap": "beside retrained",
    "forget_accuracy": "forget right",
    "paraphrase": "in other words",
    "membership": "membership AUC",
    "test_accuracy": "test right",
    "share": "work",
    "clock": "time",
    "relearn": "relearning",
    "int4": "int4",
}
_GROUPS = ("control", "by design", "in weights")


@dataclass(frozen=True)
class Comparison:
    """All contestants of one setting.

    Attributes:
        setting, request: their names.
        about: both in a sentence.
        seeds: that were run.
        rows: those that took part, controls first.
        unfit: those that don't apply, by name, and why: the first line of their own error.
        tests: that told the original from a retrained model; what the others say of no difference
            doesn't count.
        seconds: of wall time.
    """

    setting: str
    request: str
    about: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    unfit: Mapping[str, str] = field(default_factory=dict)
    tests: tuple[str, ...] = ()
    seconds: float = 0.0

    def row(self, name: str) -> Row:
        """Return a contestant's row.

        Raises:
            KeyError: it has none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON."""
        return {
            "setting": self.setting,
            "request": self.request,
            "about": self.about,
            "seeds": list(self.seeds),
            "rows": [row.to_plain() for row in self.rows],
            "unfit": dict(self.unfit),
            "tests": list(self.tests),
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Comparison:
        """Read what ``to_dict`` returned, so that it can be shown and drawn again.

        Raises:
            InvalidRecord: it is something else.
        """
        try:
            rows = tuple(Row.from_plain(row) for row in told["rows"])
            more = {name: told[name] for name in ("setting", "request", "about", "seconds")}
            seeds, tests = tuple(told["seeds"]), tuple(told["tests"])
            return cls(**more, seeds=seeds, rows=rows, unfit=dict(told["unfit"]), tests=tests)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRecord("this is not a comparison that to_dict returned") from error

    def cells(self) -> list[list[str]]:
        """Return the table's cells, the head first; columns that nobody fills are left out."""
        used = [name for name in _COLUMNS if any(name in row.numbers for row in self.rows)]
        audits = ["audit of one run"] if any(row.audit for row in self.rows) else []
        table = [["contestant", *(_COLUMNS[name] for name in used), "verdict", *audits]]
        for group in _GROUPS:
            for row in (row for row in self.rows if row.group == group):
                told = [
                    "" if name not in row.numbers else row.numbers[name].told() for name in used
                ]
                said = [row.audit] if audits else []
                table.append([row.name, *told, str(row.judgement.verdict), *said])
        return table

    def to_markdown(self) -> str:
        """Return the table in Markdown, and below it what doesn't apply and how runs ended."""
        head, *rows = self.cells()
        lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
        told = ", ".join(self.tests) or "none"
        lines += ["", f"Tests that tell the original from a retrained model: {told}."]
        if ended := [f"{row.name} ({row.note})" for row in self.rows if row.note]:
            lines += ["", f"Ended early: {'; '.join(ended)}."]
        if self.unfit:
            why = "; ".join(f"{name} ({told})" for name, told in self.unfit.items())
            lines += ["", f"Not applicable: {why}."]
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Draw forgetting against use and cost, as PNG or SVG by the path's ending.

        Raises:
            Unsupported: matplotlib isn't installed.
        """
        from forgetnet.compare.plots import draw

        draw(self, Path(path))
