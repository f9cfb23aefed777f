"""The picture of the ablation: each task over the numbers that a record takes, space by space."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geometry_ablation import DIMS, RAW, Found, Numbers

TITLES = {
    "tree": "static tree, free points (MAP)",
    "ancestors": "ancestors of a gloss never seen (MAP)",
    "scope": "glosses under a concept (MAP)",
    "branches": "the same, branches never seen (MAP)",
    "leaves": "a name's own gloss (recall at 10)",
    "CLINC150": "another data set (MAP)",
}
STYLES = {
    "hyperbolic": ("#b2182b", "o", "-"),
    "flat cone": ("#2166ac", "s", "-"),
    "one cosine": ("#1b7837", "^", "--"),
    "two cosines": ("#762a83", "D", "--"),
    "principal axes": ("#777777", "v", ":"),
}


def draw(found: Found, points: Mapping[tuple[str, int], Sequence[float]], path: Path) -> None:
    """Draw means over seeds, with bars from the least to the most."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "geometry", "font.size": 9})
    figure, panels = plt.subplots(2, 3, figsize=(10.5, 6.2), layout="constrained")
    for panel, (task, title) in zip(panels.flat, TITLES.items(), strict=True):
        _axes(panel, title)
        if task == "tree":
            _line(panel, {dim: points["hyperbolic", dim] for dim in DIMS}, "hyperbolic")
            _line(panel, {dim: points["flat", dim] for dim in DIMS}, "flat cone")
            continue
        for name in STYLES:
            values = {dim: [each[task] for each in found[name, dim]] for dim in DIMS}
            _line(panel, values, name)
        raw = statistics.mean(each[task] for each in found["raw, int8", RAW])
        panel.axhline(raw, color="black", linewidth=1.0, linestyle=(0, (1, 2)))
        near = [dim for name in STYLES for dim in DIMS if _meets(found[name, dim], task, raw)]
        middle = DIMS[len(DIMS) // 2]
        left = sum(dim < middle for dim in near) <= sum(dim > middle for dim in near)
        side = (DIMS[0], "left") if left else (DIMS[-1], "right")
        panel.text(side[0], raw, " raw, 384 bytes ", fontsize=8, va="bottom", ha=side[1])
    handles, labels = panels.flat[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=metadata, dpi=120)
    plt.close(figure)


def _meets(found: Sequence[Numbers], task: str, raw: float) -> bool:
    """Tell whether a point lies where words just above the raw vectors would."""
    return abs(statistics.mean(each[task] for each in found) - raw - 0.03) < 0.035


def _axes(panel: Any, title: str) -> None:
    panel.set_title(title, fontsize=9)
    panel.set_xscale("log", base=2)
    panel.set_xticks(DIMS, [str(dim) for dim in DIMS])
    panel.minorticks_off()
    panel.set_ylim(bottom=0.0)
    panel.grid(alpha=0.3)
    panel.set_xlabel("numbers of four bytes")


def _line(panel: Any, values: Mapping[int, Sequence[float]], name: str) -> None:
    colour, marker, style = STYLES[name]
    means = [statistics.mean(values[dim]) for dim in values]
    low = [mean - min(values[dim]) for mean, dim in zip(means, values, strict=True)]
    high = [max(values[dim]) - mean for mean, dim in zip(means, values, strict=True)]
    panel.errorbar(
        list(values), means, yerr=[low, high], color=colour, marker=marker, linestyle=style,
        markersize=4, linewidth=1.3, capsize=2, label=name,
    )  # fmt: skip
