"""What the demo looks like in a terminal of 80 columns: short, and the same without colour.

Makes text of what was seen and looks at nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from forgetnet.cli.render import count_of, size_of
from forgetnet.cli.voice import brief

if TYPE_CHECKING:
    from forgetnet.cli.demo_play import Sight
    from forgetnet.forget.plan import Plan
    from forgetnet.forget.receipt import Receipt
    from forgetnet.record import Hit

__all__ = [
    "asked",
    "compared",
    "control",
    "ending",
    "forgotten",
    "opening",
    "planned",
    "remembered",
    "sight",
    "twin",
    "verified",
]

_WHOM = "bold red"
_NAME = 20
_QUOTE = 72


def _mark(held: bool) -> Text:
    return Text("✓", style="green") if held else Text("✗", style="bold red")


def _columns(*styles: str) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for style in styles:
        table.add_column(style=style, no_wrap=True, overflow="ellipsis")
    return table


def opening(people: int, whom: str) -> RenderableType:
    """Say what will be shown."""
    return Group(
        Text("A memory that can forget, and show it", style="bold"),
        Text(f"Three months of chat of {people} invented people. One of them, {whom}, asks to be"),
        Text("forgotten. What is left? And does anybody else notice?"),
    )


def remembered(count: int, people: int, encoder: str, seconds: float) -> Text:
    """Say what went into the memory."""
    return Text(
        f"{count} messages of {people} people, embedded with {encoder} and stored on disk: "
        f"{seconds:.1f} s."
    )


def asked(questions: Sequence[str], answers: Sequence[Sequence[Hit]], whom: str) -> RenderableType:
    """Show questions and who answers them, the person in question marked."""
    width = max((len(hit.subject or "-") for hits in answers for hit in hits), default=1)
    parts: list[RenderableType] = []
    for question, hits in zip(questions, answers, strict=True):
        parts.append(Text(question, style="italic"))
        table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=1)
        table.add_column(width=min(width, _NAME))
        table.add_column()
        for hit in hits:
            theirs = hit.subject == whom
            table.add_row(
                Text("●" if theirs else " ", style=_WHOM, no_wrap=True),
                Text(brief(hit.subject or "-", _NAME), _WHOM if theirs else "", no_wrap=True),
                Text(brief(hit.text, _QUOTE), "" if theirs else "dim", no_wrap=True),
            )
        parts.append(table)
    return Group(*parts)


def planned(plan: Plan, whom: str) -> RenderableType:
    """Show what would go, why, and what that costs; nothing has been changed."""
    table = _columns("", "")
    for number, meaning in (
        (len(plan.direct), f"of {whom}, with the summaries made of them"),
        (len(plan.mentions), f"of others who mention {whom}"),
        (len(plan.derived), "of others, derived from these"),
    ):
        if number:
            table.add_row(Text(f"{number:>3}"), meaning)
    files = max(step.files for step in plan.steps)
    size = max(step.bytes for step in plan.steps)
    total = Text.assemble(
        (f"{count_of(len(plan.ids), 'record')}", "bold"),
        f" would go; {count_of(files, 'file')} ({size_of(size)}) would be written anew.",
    )
    return Group(table, total)


def sight(seen: Sight) -> RenderableType:
    """Show what a look at the files found."""
    found = ", ".join(f"{kind}s {number}/{seen.records}" for kind, number in seen.found.items())
    style = _WHOM if seen.hits else "bold green"
    line = Text.assemble(
        ("FOUND  " if seen.hits else "GONE   ", style),
        (found, "bold"),
        f"  in {count_of(seen.hits, 'place')}",
    )
    read = f"{count_of(seen.files, 'file')}, {size_of(seen.bytes)} read; "
    opaque = f"{count_of(seen.opaque, 'file')} could not be decoded"
    return Group(line, Text(read + ("all decoded" if not seen.opaque else opaque), style="dim"))


def control(seen: Sight, neighbour: str) -> Text:
    """Show that the same look still finds what should be there."""
    found = min(seen.found.values())
    return Text(
        f"control: the same look still finds {found}/{seen.records} records of {neighbour}",
        style="dim",
    )


def forgotten(receipt: Receipt, seconds: float) -> RenderableType:
    """Show what the forget did, as its receipt says."""
    table = _columns("", "bold", "")
    for surface in receipt.surfaces:
        hits = sum(check.hits for check in surface.verification)
        looks = count_of(len(surface.verification), "look")
        table.add_row(
            surface.name, surface.status.value, f"{looks} afterwards: {count_of(hits, 'hit')}"
        )
    return Group(
        Text(f"Deleted, files written anew, looked for again, signed: {seconds:.2f} s."), table
    )


def verified(receipt: Receipt, problems: Sequence[str], covered: int) -> RenderableType:
    """Show what checking the receipt came to."""
    if problems:
        return Text.assemble(_mark(False), f" not genuine: {'; '.join(problems)}")
    return Group(
        Text.assemble(_mark(True), " signature and place in the ledger are genuine"),
        Text.assemble(
            _mark(receipt.status.value == "erased"),
            f" status: {receipt.status.value}; it covers {count_of(covered, 'record')}, and names "
            "nobody",
        ),
    )


def compared(
    questions: Sequence[str],
    answers: Sequence[Sequence[Hit]],
    as_before: Sequence[bool],
    as_twin: Sequence[bool],
) -> Table:
    """Show everyone else's answers, and whether they are the same, distance by distance."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("question", overflow="fold")
    table.add_column("first answer", no_wrap=True)
    table.add_column("= before", justify="center", no_wrap=True)
    table.add_column("= twin", justify="center", no_wrap=True)
    for question, hits, before, other in zip(questions, answers, as_before, as_twin, strict=True):
        first = hits[0].subject if hits else None
        table.add_row(
            Text(question, style="italic"), Text(first or "-"), _mark(before), _mark(other)
        )
    return table


def twin(same: bool, count: int, whom: str) -> Text:
    """Say how the memory compares, as a whole, with one that never knew the person."""
    equal = "equals" if same else "does not equal"
    told = f" the memory ({count_of(count, 'record')}) {equal} its twin, built without {whom}"
    return Text.assemble(_mark(same), told)


def ending(checks: Mapping[str, bool], seconds: float, kept: Path | None) -> RenderableType:
    """List the checks, and say whether all of them held."""
    table = _columns("", "")
    for check, held in checks.items():
        table.add_row(_mark(held), check)
    failed = sum(not held for held in checks.values())
    said = (
        Text(f"{count_of(failed, 'check')} failed", style="bold red")
        if failed
        else Text(f"All {len(checks)} checks passed", style="bold green")
    )
    parts: list[RenderableType] = [Text(), Rule(style="dim"), table]
    parts.append(said.append(f" in {seconds:.0f} s.", style="none"))
    if kept is not None:
        parts.append(Text(f"The memory is in {kept}; try: forgetnet stats --store {kept}"))
    return Group(*parts)
