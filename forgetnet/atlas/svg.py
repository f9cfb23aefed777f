"""Scenes as SVG: one file, with styles of its own for light and dark, and nothing to load.

Knows nothing of maps.
"""

from __future__ import annotations

import re
from html import escape

from forgetnet.atlas.disk import Doubles
from forgetnet.atlas.ink import sheet
from forgetnet.atlas.scene import Circle, Dots, Line, Scene, Shape, Step, Text

__all__ = ["to_svg", "written"]

_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def written(text: str) -> str:
    """Return a text as XML can hold it."""
    return escape(_UNWRITABLE.sub("\ufffd", text))


def to_svg(scene: Scene) -> str:
    """Return a scene as the text of an SVG file; an equal scene gives equal text."""
    w, h = _number(scene.width), _number(scene.height)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        'role="img" aria-labelledby="title about" font-family="system-ui, sans-serif">'
    )
    paper = (
        f'<rect class="paper" x=".5" y=".5" width="{_number(scene.width - 1)}" '
        f'height="{_number(scene.height - 1)}" rx="10"/>'
    )
    lines = [
        head,
        f'<title id="title">{written(scene.title)}</title>',
        f'<desc id="about">{written(scene.about)}</desc>',
        f"<style>{sheet()}</style>",
        paper,
        *map(_drawn, scene.shapes),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _drawn(shape: Shape) -> str:
    if isinstance(shape, Circle):
        x, y, r = _number(shape.x), _number(shape.y), _number(shape.radius)
        return f'<circle class="{shape.style}" cx="{x}" cy="{y}" r="{r}"/>'
    if isinstance(shape, Text):
        x, y, size = _number(shape.x), _number(shape.y), _number(shape.size)
        return (
            f'<text class="{shape.style}" x="{x}" y="{y}" font-size="{size}" '
            f'text-anchor="{shape.anchor}">{written(shape.text)}</text>'
        )
    if isinstance(shape, Line):
        path = f"M{_number(shape.x)} {_number(shape.y)}" + "".join(map(_step, shape.steps))
        return f'<path class="{shape.style}" d="{path}{"Z" if shape.closed else ""}"/>'
    return _dots(shape)


def _step(step: Step) -> str:
    end = f"{_number(step.x)} {_number(step.y)}"
    if not step.radius:
        return f"L{end}"
    r = f"{step.radius:.2f}"
    return f"A{r} {r} 0 0 {0 if step.left else 1} {end}"


def _dots(dots: Dots) -> str:
    """Write many marks as one path: a dot is a line of no length with round ends."""
    points = _rounded(dots.points)
    if dots.cross:
        half = _number(dots.size / 2.0)
        full = _number(dots.size)
        path = "".join(
            f"M{x} {y}m-{half} -{half}l{full} {full}m0 -{full}l-{full} {full}" for x, y in points
        )
        return f'<path class="{dots.style}" d="{path}"/>'
    path = "".join(f"M{x} {y}h0" for x, y in points)
    return f'<path class="{dots.style}" stroke-width="{_number(dots.size)}" d="{path}"/>'


def _rounded(points: Doubles) -> list[tuple[str, str]]:
    return [(_number(x), _number(y)) for x, y in points.tolist()]


def _number(value: float) -> str:
    """Write a number of pixels, to a hundredth."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
