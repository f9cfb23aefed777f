"""A picture of a comparison: a line a contestant, a panel a number, retrained models as the goal.

Draws with matplotlib (extra ``notebooks``), without a display. Knows nothing of how numbers came
about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetnet.errors import InvalidRecord, not_installed

if TYPE_CHECKING:
    from forgetnet.compare.comparison import Comparison, Row

__all__ = ["draw"]

_COLOURS = {"control": "#555555", "by design": "#1b7837", "in weights": "#c2571a"}
_MARKS = {"control": "s", "by design": "o", "in weights": "^"}
_FORMATS = {".png", ".svg", ".pdf"}
_STYLE: Any = {"svg.hashsalt": "forgetnet", "svg.fonttype": "none", "font.size": 8.0}


@dataclass(frozen=True)
class _Panel:
    """One number: its title, its scale, and how far the scale is linear around 0."""

    number: str
    title: str
    scale: str = "linear"
    linear: float = 1.0


_PANELS = (
    _Panel("forget_gap", "forget loss,\nbeside retrained"),
    _Panel("membership", "membership\nAUC"),
    _Panel("test_accuracy", "test right"),
    _Panel("paraphrase", "forgotten facts,\nin other words"),
    _Panel("relearn", "steps to relearn,\nof a retrained model's", "symlog", 0.1),
    _Panel("clock", "time,\nof a retraining", "symlog", 0.01),
)


def draw(comparison: Comparison, path: Path) -> None:
    """Draw a comparison into a file; the same one gives the same bytes of SVG.

    Raises:
        InvalidRecord: the file's ending is none of .png, .svg and .pdf.
        Unsupported: matplotlib isn't installed.
    """
    if path.suffix not in _FORMATS:
        raise InvalidRecord(f"a picture is {', '.join(sorted(_FORMATS))}, not {path.suffix!r}")
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise not_installed("matplotlib", "notebooks") from error
    rows = [row for group in _COLOURS for row in comparison.rows if row.group == group]
    panels = [p for p in _PANELS if any(_says(row, p) for row in rows)]
    with rc_context(_STYLE):
        size = (1.6 + 1.65 * len(panels), 1.3 + 0.19 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _draw_panel(axis, rows, panel)
        _name(axes[0], rows)
        figure.suptitle(_title(comparison), fontsize=8.5)
        # without the date, so that equal figures have equal bytes
        dated = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=100, metadata=dated)


def _says(row: Row, panel: _Panel) -> bool:
    """Tell whether a number is there, and isn't 0."""
    spread = row.numbers.get(panel.number)
    return spread is not None and spread.mean != 0.0


def _title(comparison: Comparison) -> str:
    seeds = len(comparison.seeds)
    return f"{comparison.about} ({seeds} seed{'s' * (seeds > 1)})"


def _name(axis: Any, rows: Sequence[Row]) -> None:
    """Write who is who, and turn the first row to the top."""
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    for label, row in zip(axis.get_yticklabels(), rows, strict=True):
        label.set_color(_COLOURS[row.group])
    axis.set_ylim(len(rows) - 0.5, -0.5)


def _draw_panel(axis: Any, rows: Sequence[Row], panel: _Panel) -> None:
    if panel.scale == "symlog":
        axis.set_xscale("symlog", linthresh=panel.linear)
    for place, row in enumerate(rows):
        spread = row.numbers.get(panel.number)
        if spread is None:
            continue
        colour = _COLOURS[row.group]
        low = max(0.0, spread.low) if panel.scale == "symlog" else spread.low
        ends = [[max(0.0, spread.mean - low)], [max(0.0, spread.high - spread.mean)]]
        axis.errorbar(
            spread.mean, place, xerr=ends, fmt=_MARKS[row.group], color=colour, ecolor=colour,
            elinewidth=0.9, ms=4, clip_on=False,
        )  # fmt: skip
        if row.name == "retrained":  # the goal
            axis.axvspan(spread.low, spread.high, color="#dddddd", lw=0, zorder=0)
            axis.axvline(spread.mean, color="#999999", lw=0.8, zorder=0)
    axis.set_title(panel.title, fontsize=8)
    axis.grid(axis="y", color="#eeeeee", lw=0.5)
    axis.set_axisbelow(True)
    axis.tick_params(length=2)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.margins(x=0.08)
    if panel.scale == "symlog":  # of what is never below 0
        axis.set_xlim(left=0.0)
