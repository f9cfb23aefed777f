"""Pictures of a comparison: forgetting against use, against cost, and what lasts.

Draws with matplotlib (extra ``notebooks``), without a display. Knows nothing of how numbers came
about.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetnet.errors import InvalidRecord, Unsupported

if TYPE_CHECKING:
    from forgetnet.compare.comparison import Comparison, Row

__all__ = ["draw"]

_COLOURS = {"control": "#555555", "by design": "#1b7837", "in weights": "#c2571a"}
_MARKS = {"control": "s", "by design": "o", "in weights": "^"}
_FORMATS = {".png", ".svg", ".pdf"}
_LEAST_SHARE = 1e-3
Panel = tuple[str, str, str, str]
_PANELS: tuple[Panel, ...] = (
    ("forget_gap", "test_accuracy", "forget loss, beside retrained (0 is the aim)", "test right"),
    ("clock", "forget_gap", "processor time, of a retraining", "forget loss, beside retrained"),
    ("relearn", "membership", "steps to relearn, of a retrained model's", "membership AUC"),
)


def draw(comparison: Comparison, path: Path) -> None:
    """Draw three panels into a file.

    Raises:
        InvalidRecord: the file's ending is none of .png, .svg and .pdf.
        Unsupported: matplotlib isn't installed.
    """
    if path.suffix not in _FORMATS:
        raise InvalidRecord(f"a picture is {', '.join(sorted(_FORMATS))}, not {path.suffix!r}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Unsupported(
            "matplotlib isn't installed: pip install 'forget-by-design[notebooks]'"
        ) from error
    figure = Figure(figsize=(15.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(_PANELS))
    for axis, panel in zip(axes, _PANELS, strict=True):
        _panel(axis, comparison, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    axes[0].legend(known.values(), known.keys(), loc="lower left", frameon=False, fontsize=8)
    seeds = len(comparison.seeds)
    figure.suptitle(f"{comparison.about} ({seeds} seed{'s' * (seeds > 1)})", fontsize=10)
    figure.savefig(path, dpi=110, metadata=_no_date(path))


def _no_date(path: Path) -> dict[str, Any]:
    """Return metadata by which equal figures have equal bytes."""
    return {"Date": None} if path.suffix == ".svg" else {}


def _panel(axis: Any, comparison: Comparison, panel: Panel) -> None:
    across, up, x_label, y_label = panel
    for row in comparison.rows:
        if across in row.numbers and up in row.numbers:
            _point(axis, row, across, up)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    if across == "clock":
        axis.set_xscale("symlog", linthresh=0.01)
        axis.set_xlim(left=0.0)
    if across == "relearn":
        axis.axvline(1.0, color="#999999", lw=0.7, ls=":")
    if "forget_gap" in (across, up):
        (axis.axvline if across == "forget_gap" else axis.axhline)(
            0.0, color="#999999", lw=0.7, ls=":"
        )
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(0.14)


def _point(axis: Any, row: Row, across: str, up: str) -> None:
    x, y = row.numbers[across], row.numbers[up]
    colour = _COLOURS[row.group]
    axis.errorbar(
        x.mean, y.mean,
        xerr=[[max(0.0, x.mean - x.low)], [max(0.0, x.high - x.mean)]],
        yerr=[[max(0.0, y.mean - y.low)], [max(0.0, y.high - y.mean)]],
        fmt=_MARKS[row.group], color=colour, ecolor=colour, elinewidth=0.5, ms=5,
        alpha=0.85, label=row.group,
    )  # fmt: skip
    axis.annotate(
        row.name, (x.mean, y.mean), xytext=(4, 4), textcoords="offset points", fontsize=6.5,
        color=colour,
    )  # fmt: skip
