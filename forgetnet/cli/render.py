"""What answers look like in a terminal: plans, receipts, hits, figures.

Readable in 80 columns and without colour. Makes tables of values and knows no memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from forgetnet.cli.voice import brief, visible

if TYPE_CHECKING:
    from forgetnet.forget.plan import Plan
    from forgetnet.forget.surfaces import Surface
    from forgetnet.record import Hit, Record, Stats

__all__ = ["count_of", "grid", "hits_of", "plan_of", "record_of", "size_of", "stats_of", "surfaces"]

_TEXT = 240
_MEANING = {
    "direct": "asked for",
    "mentions": "of others, mentioning the subject",
    "derived": "derived from these",
    "not_found": "asked for, and not stored",
}


def count_of(number: int, thing: str) -> str:
    """Write a number and its thing, in the plural where there are several."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size_of(number: float) -> str:
    """Write a number of bytes."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def grid(rows: Mapping[str, str], indent: int = 0) -> Table:
    """Lay out names and values in two columns."""
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(" " * indent + name), Text(visible(value)))
    return table


def hits_of(hits: Sequence[Hit]) -> RenderableType:
    """Show the hits of a search: distance or score, whose, what, and the id."""
    if not hits:
        return Text("Nothing found.")
    blocks: list[RenderableType] = []
    for place, hit in enumerate(hits, 1):
        head = Text(f"{place:>2}  {_worth(hit)}  ", style="dim")
        head.append(visible(hit.subject or "-"), style="bold not dim")
        tail = "  ".join(part for part in (hit.topic, hit.id) if part)
        head.append(f"  {brief(tail, 120)}")
        blocks.append(head)
        blocks.append(Padding(Text(brief(hit.text, _TEXT)), (0, 0, 0, 4), expand=False))
    return Group(*blocks)


def _worth(hit: Hit) -> str:
    """Write what a hit was ranked by."""
    return f"{hit.distance:.4f}" if hit.score is None else f"{hit.score:.4g}"


def record_of(record: Record) -> tuple[Table, str, str]:
    """Show one record in full: its fields, a gap, its text."""
    rows = {
        "id": record.id,
        "subject": record.subject,
        "topic": record.topic,
        "mentions": ", ".join(record.mentions),
        "derived from": ", ".join(record.derived_from),
        "metadata": json.dumps(dict(record.metadata), ensure_ascii=False) * bool(record.metadata),
        "created": record.created_at and record.created_at.isoformat(),
        "expires": record.expires_at and record.expires_at.isoformat(),
    }
    text = "(a vector only)" if record.text is None else visible(record.text)
    return grid({name: value for name, value in rows.items() if value}), "", text


def plan_of(plan: Plan) -> RenderableType:
    """Show what a forget would take, why, and what it costs."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for reason, number in plan.counts.items():
        if number or reason == "direct":
            table.add_row(f"{number:,}", _MEANING[reason])
    if plan.mentions_kept:
        table.add_row(f"{plan.mentions_kept:,}", "of others, mentioning the subject: kept, as told")
    work = "; ".join(
        f"{step.component}: {step.action}"
        + (f" ({count_of(step.files, 'file')}, {size_of(step.bytes)})" if step.files else "")
        + (f", {step.share:.1%} of a full training" if step.share else "")
        + (f", {step.guarantee} only" if step.guarantee != "exact" else "")
        for step in plan.steps
        if step.records
    )
    total = len(plan.ids)
    lines: list[RenderableType] = [Text(f"Would forget {count_of(total, 'record')}:"), table]
    if work:
        lines.append(Text(work, style="dim"))
    if plan.near:
        said = f"{count_of(len(plan.near), 'record')} nearly the same as one of these would stay: "
        shown = ", ".join(visible(i) for i in plan.near[:5])
        lines.append(Text(said + shown + (", ..." if len(plan.near) > 5 else "")))
    if plan.held:
        said = f"{count_of(len(plan.held), 'record')} would stay, not searched any more, under "
        lines.append(Text(f"{said}{', '.join(plan.holds)}, and go when that is lifted"))
    if not total:
        held = "Nothing would be forgotten now; what matches is under a hold:"
        lines[0] = Text(held if plan.held else "Nothing matches; nothing would be forgotten.")
    return Group(*lines)


def surfaces(found: Sequence[Surface]) -> RenderableType:
    """Show where was looked, how, and what was found."""
    parts: list[RenderableType] = []
    for surface in found:
        parts.append(
            Text.assemble(
                (surface.name, "bold"),
                f": {surface.status.value}, held {count_of(surface.count, 'record')}",
            )
        )
        table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        table.add_column(style="dim", no_wrap=True)
        for check in surface.verification:
            control = f"control {check.control_found}/{check.control_expected}"
            table.add_row(
                f"  {check.check}",
                count_of(check.hits, "hit"),
                control if check.control_expected else "",
            )
        parts.append(table)
        if surface.detail:
            parts.append(Text(f"  {surface.detail}", style="dim"))
    return Group(*parts)


def stats_of(stats: Stats) -> Table:
    """Show the figures of a memory."""
    told: dict[str, Any] = {
        "records": f"{stats.records:,}",
        "subjects": f"{stats.subjects:,}",
        "topics": f"{stats.topics:,}",
        "expired": f"{stats.expired:,}",
        "on disk": f"{size_of(stats.bytes)} in {count_of(stats.files, 'file')}",
        "receipts": f"{stats.receipts:,}",
        "encoder": f"{stats.encoder}, {stats.dim} dimensions",
    }
    return grid(told)
