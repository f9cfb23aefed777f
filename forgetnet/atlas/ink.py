"""Colours and strokes of a map, for light and for dark paper.

The eight colours of subjects were searched for so that under normal sight, protanopia, deuteranopia
and tritanopia (Machado et al. 2009) every two of them, the paper, grey and the red of what would go
lie apart; ``tests/atlas/test_ink.py`` measures it. What would go has a shape too: a cross.
"""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["INK", "SUBJECTS", "Style", "sheet", "styled"]

Style: TypeAlias = dict[str, str]

SUBJECTS = (
    ("#5885fb", "#6972de"),
    ("#ca9424", "#dbb41c"),
    ("#48b676", "#2c820a"),
    ("#5829a0", "#44f7ed"),
    ("#d760c3", "#cd6ab6"),
    ("#5c4104", "#ece0b2"),
    ("#1e4374", "#76bafe"),
    ("#742a3e", "#baf27e"),
)

INK = {
    "paper": ("#fcfbf8", "#14181e"),
    "border": ("#dcd8ce", "#333b45"),
    "plane": ("#ffffff", "#181e25"),
    "rim": ("#a9b0b6", "#5b6570"),
    "ink": ("#24292f", "#e6edf3"),
    "soft": ("#5d666f", "#a3adb8"),
    "branch": ("#c3c8cc", "#3d4752"),
    "grey": ("#a9b0b6", "#5b6570"),
    "gone": ("#cf5c43", "#ea7f64"),
    **{f"s{i}": pair for i, pair in enumerate(SUBJECTS)},
}
"""Colours by name, for light and for dark."""

_DOT = {"fill": "none", "stroke-linecap": "round"}

_STYLES: dict[str, Style] = {
    "paper": {"fill": "paper", "stroke": "border"},
    "plane": {"fill": "plane", "stroke": "rim", "stroke-width": "1.2"},
    "edge": {"fill": "none", "stroke": "branch", "stroke-width": "1"},
    "topic": {"fill": "none", "stroke": "branch", "stroke-width": "1"},
    "node": {"fill": "rim", "stroke": "none"},
    "leader": {"fill": "none", "stroke": "rim", "stroke-width": ".6"},
    "region": {"fill": "gone", "fill-opacity": ".13", "stroke": "none"},
    "border": {"fill": "none", "stroke": "gone", "stroke-width": "1.6"},
    "ghost": {"fill": "none", "stroke": "gone", "stroke-width": "1.2", "stroke-dasharray": "4 4"},
    "cross": {"fill": "none", "stroke": "gone", "stroke-width": "1.5", "stroke-linecap": "round"},
    "title": {"fill": "ink", "font-weight": "600"},
    "label": {"fill": "ink", "font-weight": "600"},
    "minor": {"fill": "soft"},
    "soft": {"fill": "soft"},
    "going": {"fill": "gone", "font-weight": "600"},
    "bar": {"fill": "none", "stroke-width": "2"},
    "gone": {"stroke": "gone"},
    **{f"s{i}": {**_DOT, "stroke": f"s{i}"} for i in range(len(SUBJECTS))},
    f"s{len(SUBJECTS)}": {**_DOT, "stroke": "grey"},
    "half": {"opacity": ".65"},
}
_COLOURED = ("fill", "stroke")


def styled(style: str, *, dark: bool = False) -> Style:
    """Return what a style looks like: properties of CSS, with their colours for one paper.

    A style may be two names, of which the second adds to the first: a colour, or ``half``.
    """
    found: Style = {}
    for name in style.split():
        found |= _STYLES[name]
    for key in _COLOURED:
        if found.get(key) in INK:
            found[key] = INK[found[key]][dark]
    return found


def sheet() -> str:
    """Return the styles as CSS, which follows whether the reader likes it light or dark."""
    light = "".join(_rule(name, styled(name)) for name in _STYLES)
    dark = "".join(_rule(name, _differing(name)) for name in _STYLES if _differing(name))
    return f"{light}@media (prefers-color-scheme: dark){{{dark}}}"


def _differing(name: str) -> Style:
    light, dark = styled(name), styled(name, dark=True)
    return {key: value for key, value in dark.items() if light[key] != value}


def _rule(name: str, style: Style) -> str:
    return f".{name}{{{';'.join(f'{key}:{value}' for key, value in style.items())}}}"
