"""Scenes as PNG, by matplotlib (extra ``notebooks``), without a display.

The same shapes as in the SVG, on light paper. Knows nothing of maps.
"""

from __future__ import annotations

import cmath
import io
import math
import warnings
from collections.abc import Iterator
from typing import Any

from forgetnet.atlas.ink import Style, styled
from forgetnet.atlas.scene import Circle, Dots, Line, Scene, Text
from forgetnet.errors import not_installed

__all__ = ["to_png"]

_DPI = 144.0  # two pixels for each of the scene's
_POINT = 0.75  # pixels of the scene to points, as matplotlib measures
_ARC = math.radians(3.0)  # of a circle, that is drawn as a straight line
_ISOLATES = str.maketrans("", "", "\u2068\u2069")
_SIDES = {"start": "left", "middle": "center", "end": "right"}


def to_png(scene: Scene) -> bytes:
    """Return a scene as the bytes of a PNG; an equal scene gives equal bytes.

    Raises:
        Unsupported: matplotlib isn't installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise not_installed("matplotlib", "notebooks") from error
    inches = (scene.width * _POINT / 72.0, scene.height * _POINT / 72.0)
    figure = Figure(figsize=inches, dpi=_DPI, facecolor=styled("paper")["fill"])
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0.0, scene.width)
    axes.set_ylim(scene.height, 0.0)
    axes.set_axis_off()
    for order, shape in enumerate(scene.shapes):
        if isinstance(shape, Text):
            _write(axes, shape, order)
        elif isinstance(shape, Dots):
            _dot(axes, shape, order)
        else:
            _stroke(axes, shape, order)
    out = io.BytesIO()
    with warnings.catch_warnings():  # a sign that no font has is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(out, format="png", metadata={"Software": None, "Title": "map"})
    return out.getvalue()


def _opacity(style: Style, name: str = "opacity") -> float:
    return float(style.get(name, "1"))


def _write(axes: Any, text: Text, order: int) -> None:
    style = styled(text.style)
    axes.text(
        text.x,
        text.y,
        text.text.translate(_ISOLATES),
        color=style["fill"],
        fontsize=text.size * _POINT,
        fontweight="bold" if "font-weight" in style else "normal",
        fontfamily="DejaVu Sans",
        horizontalalignment=_SIDES[text.anchor],
        verticalalignment="baseline",
        parse_math=False,
        zorder=order,
    )


def _dot(axes: Any, dots: Dots, order: int) -> None:
    style = styled(dots.style)
    scale = dots.size * _POINT
    axes.scatter(
        dots.points[:, 0],
        dots.points[:, 1],
        s=scale * scale,
        c=style["stroke"],
        marker="x" if dots.cross else "o",
        linewidths=float(style["stroke-width"]) * _POINT if dots.cross else 0.0,
        alpha=_opacity(style),
        zorder=order,
    )


def _stroke(axes: Any, shape: Line | Circle, order: int) -> None:
    from matplotlib.patches import Circle as Round
    from matplotlib.patches import Polygon

    style = styled(shape.style)
    face, line = style["fill"], style["stroke"]
    dashes = [float(part) for part in style.get("stroke-dasharray", "").split()]
    look = {
        "facecolor": (face, _opacity(style, "fill-opacity")) if face != "none" else "none",
        "edgecolor": line,
        "linewidth": 0.0 if line == "none" else float(style.get("stroke-width", "1")) * _POINT,
        "linestyle": (0.0, dashes) if dashes else "-",
        "capstyle": style.get("stroke-linecap", "butt"),
        "zorder": order,
    }
    if isinstance(shape, Circle):
        axes.add_artist(Round((shape.x, shape.y), shape.radius, **look))
    else:
        axes.add_artist(Polygon(list(_points(shape)), closed=shape.closed, **look))


def _points(line: Line) -> Iterator[tuple[float, float]]:
    """Give out the corners of a line whose arcs are drawn in short straight pieces."""
    x, y = line.x, line.y
    yield x, y
    for step in line.steps:
        if step.radius:
            yield from _arc(complex(x, y), complex(step.x, step.y), step.radius, left=step.left)
        yield step.x, step.y
        x, y = step.x, step.y


def _arc(p: complex, q: complex, radius: float, *, left: bool) -> Iterator[tuple[float, float]]:
    chord = q - p
    away = math.sqrt(max(0.0, radius**2 - abs(chord) ** 2 / 4.0))
    # y grows downwards: what turns left has its centre at -i times the way ahead
    side = (-1j if left else 1j) * chord / max(abs(chord), 1e-300)
    centre = (p + q) / 2.0 + side * away
    turn = cmath.phase((q - centre) / (p - centre))
    for step in range(1, pieces := max(1, math.ceil(abs(turn) / _ARC))):
        point = centre + (p - centre) * cmath.exp(1j * turn * step / pieces)
        yield point.real, point.imag
