"""The map as an object: shown in a notebook, or saved as a picture or a page.

Knows nothing of memories: it is a copy of what it was made from, and stays when that is forgotten.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from forgetnet.atlas.chart import Chart
from forgetnet.atlas.compose import compose, headline
from forgetnet.atlas.svg import to_svg
from forgetnet.errors import InvalidScope, StoreError
from forgetnet.files import write_durable
from forgetnet.given import path_of

__all__ = ["FORMATS", "Map", "check_format"]

FORMATS = (".html", ".svg", ".png")


def check_format(path: Path) -> None:
    """Refuse a file that no map can be written to.

    Raises:
        InvalidScope: its ending says another format.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidScope(f"a map is saved as {', '.join(FORMATS)}, not {path.suffix[:20]!r}")


class Map:
    """A drawn memory; :meth:`forgetnet.Memory.map` makes it.

    It holds names of topics and subjects, and texts or ids where they were asked for. No receipt
    covers it: what is forgotten later stays on it, and in files and notebooks made of it.
    """

    def __init__(self, chart: Chart, *, after: bool = False, store: str | None = None) -> None:
        self.chart = chart
        self._after = after
        self._store = store

    def __repr__(self) -> str:
        return f"<Map of {len(self.chart):,} records>"

    def svg(self) -> str:
        """Return it as SVG: light or dark as the reader likes it, with nothing to load."""
        return to_svg(compose(self.chart, after=self._after))

    def png(self) -> bytes:
        """Return it as PNG, on light paper, at two pixels a pixel.

        Raises:
            Unsupported: matplotlib isn't installed.
        """
        from forgetnet.atlas.png import to_png

        return to_png(compose(self.chart, after=self._after))

    def html(self) -> str:
        """Return it as a page of its own, to move about in; it loads nothing from anywhere."""
        from forgetnet.atlas.page import to_html

        return to_html(self.chart, after=self._after, store=self._store)

    def save(self, path: str | Path) -> Path:
        """Write it to a file whose ending says the format: .html, .svg or .png.

        The file is replaced in one step; only its owner may read it.

        Raises:
            InvalidScope: the ending is another.
            StoreError: the file can't be written; an older one stays as it was.
            Unsupported: a .png needs matplotlib, which isn't installed.
        """
        path = path_of(path, "path", StoreError)
        check_format(path)
        ending = path.suffix.lower()
        if ending == ".png":
            data = self.png()
        else:
            data = (self.svg() if ending == ".svg" else self.html()).encode("utf-8")
        try:
            write_durable(path, data)
        except OSError as error:
            raise StoreError(
                f"can't write the map: {error.strerror}; name a folder that is there and writable"
            ) from error
        return path

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        """Show the page in a frame, so that it and the notebook leave one another alone."""
        title = escape(headline(self.chart, after=self._after)[0])
        return (
            f'<iframe title="{title}" sandbox="allow-scripts" srcdoc="{escape(self.html())}" '
            'style="width:100%;height:640px;border:0"></iframe>'
        )
