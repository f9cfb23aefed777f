"""Markdown tables, and putting them into a page between marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TITLE = "# Benchmarks\n\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def put(path: Path, name: str, text: str) -> None:
    """Put a text between the marks of that name in a page, or at the page's end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = path.read_text(encoding="utf-8") if path.exists() else TITLE
    before, found, rest = page.partition(begin)
    after = rest.partition(end)[2] if found else "\n"
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
