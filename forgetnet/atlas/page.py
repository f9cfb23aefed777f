"""A chart as one HTML page to move about in, which loads nothing and sends nothing.

Data go in as JSON that no name can break out of, and numbers of records in base64. A policy in the
page lets run the one script whose hash it names, and reach nothing. Knows nothing of memories.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.atlas.chart import Chart
from forgetnet.atlas.compose import BARS, NOTE, headline
from forgetnet.atlas.disk import Doubles
from forgetnet.atlas.ink import INK
from forgetnet.atlas.layout import REACH

__all__ = ["to_html"]

_SCRIPTS = ("disk.js", "draw.js", "page.js")
_MARK = "@@"


def to_html(chart: Chart, *, after: bool, store: str | None) -> str:
    """Return the page.

    Args:
        chart: what is drawn.
        after: whether to begin with what would be left beside it.
        store: folder that the command names; None to leave it out.
    """
    title, about = headline(chart, after=after)
    script = "\n".join(_read(name) for name in _SCRIPTS)
    parts = {
        "title": escape(title),
        "style": _colours() + _read("page.css"),
        "hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": _embedded(_plain(chart, title, about, after=after, store=store)),
        "script": script,
    }
    page = _read("page.html")
    # a part is put in once, so that nothing in one is taken for the mark of another
    pieces = page.split(_MARK)
    return "".join(parts.get(piece, piece) for piece in pieces)


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _colours() -> str:
    """Return the colours as CSS variables: light, dark if the reader likes that, or as chosen."""
    light, dark = ("".join(f"--{name}:{pair[i]};" for name, pair in INK.items()) for i in range(2))
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media(prefers-color-scheme:dark){{:root:not([data-theme=light])"
        f"{{color-scheme:dark;{dark}}}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def _embedded(value: Any) -> str:
    """Write JSON that can stand in a script element: no < or > or & is left in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _packed(numbers: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, kind).tobytes()).decode()


def _plain(
    chart: Chart, title: str, about: str, *, after: bool, store: str | None
) -> dict[str, Any]:
    layout, taken = chart.layout, chart.taken
    angles: Doubles = np.angle(layout.rim)
    return {
        "title": title,
        "about": about,
        "note": f"{NOTE} {BARS}",
        "after": after,
        "store": store,
        "reach": REACH,
        "focus": chart.focus,
        "topics": {
            "name": [path[-1] if path else "" for path in layout.paths],
            "parent": layout.parent.tolist(),
            "x": layout.place.real.tolist(),
            "y": layout.place.imag.tolist(),
            "rim": angles.ravel().tolist(),
            "own": chart.own.tolist(),
            "total": chart.total.tolist(),
        },
        "records": {
            "count": len(chart),
            "topic": _packed(chart.topic, "<u4"),
            "spot": _packed(chart.drawn, "<u2"),
            "colour": _packed(chart.colour, "u1"),
            "goes": _packed(chart.goes, "u1"),
            "texts": chart.texts,
            "ids": chart.ids,
        },
        "subjects": chart.subjects,
        "others": chart.others,
        "nobodys": chart.nobodys,
        "taken": None if taken is None else [taken.kind, taken.name, len(taken.ids), taken.held],
        "region": chart.region._asdict(),
    }
