"""The command ``scope``: what is about something, shown with what it probably misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgetnet.cli.forget_commands import can_write, forgetful
from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store
from forgetnet.cli.session import plain_plan
from forgetnet.cli.voice import Voice, brief, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from forgetnet.meaning import Scope
    from forgetnet.record import Record

__all__ = ["scope"]

_BAR = 40
_TEXT = 60


Topics = Annotated[
    list[str] | None,
    typer.Option(
        "--topic", metavar="PATH", help="A topic that is meant; may be repeated; else found."
    ),
]
Like = Annotated[
    list[str] | None,
    typer.Option("--like", metavar="ID", help="A record that is meant; may be repeated."),
]
Unlike = Annotated[
    list[str] | None,
    typer.Option("--unlike", metavar="ID", help="A record that isn't; may be repeated."),
]
Add = Annotated[
    list[str] | None,
    typer.Option("--add", metavar="ID", help="Put this record in, whatever its margin."),
]
Drop = Annotated[
    list[str] | None, typer.Option("--drop", metavar="ID", help="Leave this record out.")
]


def scope(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="What it is about, in your own words.")
    ],
    *,
    recall: Annotated[
        float, typer.Option("--recall", metavar="SHARE", help="Share of what is meant to take in.")
    ] = 0.95,
    topics: Topics = None,
    like: Like = None,
    unlike: Unlike = None,
    add: Add = None,
    drop: Drop = None,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=1, help="How many records to show.")
    ] = 12,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Show ids and margins, and no texts.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write it to this file, for forget --scope; no text is in it.",
            callback=can_write,
        ),
    ] = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Propose what to forget by meaning; nothing is forgotten.

    Shows how many records it would take, the records around the threshold with their texts, which
    share is probably missed, and what it would cost. Write it to a file and forget that file.
    """
    voice = Voice(as_json=as_json)
    with forgetful(store, encoder, key, readonly=True) as memory:
        proposed = memory.scope(
            query, recall=recall, topics=topics or None, like=like, unlike=unlike
        )
        proposed = proposed.drop(drop or []).add(add or [])
        shown = proposed.samples(samples)
        plan = proposed.plan() if len(proposed) else None
        if out is not None:
            proposed.save(out)
    from forgetnet.cli.render import plan_of

    facts = {
        "scope": _plain(proposed, shown, texts=not no_text),
        "plan": None if plan is None else plain_plan(plan),
        "file": None if out is None else str(out),
    }
    voice.answer(
        facts,
        *_shown(proposed, shown, texts=not no_text),
        "",
        "Nothing is in it." if plan is None else plan_of(plan),
    )
    if out is not None and not as_json:
        voice.note(f"Written to {out}. Forget it with: forgetnet forget --scope {out}")


def _plain(scope: Scope, samples: Sequence[Record], *, texts: bool) -> dict[str, Any]:
    """Return a scope as JSON, samples included."""
    inside, margins = frozenset(scope.ids), scope.margins
    return {
        "count": len(scope),
        "looked_at": scope.looked_at,
        "recall": scope.recall,
        "method": scope.method,
        "threshold": scope.threshold if math.isfinite(scope.threshold) else None,
        "miss": None if scope.miss is None else asdict(scope.miss),
        "topics": list(scope.topics),
        "ids": list(scope.ids),
        "near": list(scope.near),
        "restricted": scope.restricted,
        "expired": scope.expired,
        "everything": scope.is_everything,
        "histogram": [list(each) for each in scope.histogram],
        "samples": [
            {"id": record.id, "margin": margins[record.id], "inside": record.id in inside}
            | ({"text": record.text} if texts else {})
            for record in samples
        ],
        "digest": scope.digest,
    }


def _shown(scope: Scope, samples: Sequence[Record], *, texts: bool) -> list[RenderableType]:
    """Show a scope: what it says of itself, the records around its threshold, the margins."""
    from rich.table import Table
    from rich.text import Text

    lines: list[RenderableType] = [Text(f"{scope.summary}.")]
    if scope.topics:
        lines.append(Text(f"Taken to mean: {visible(', '.join(scope.topics))}"))
    if scope.restricted or scope.expired:
        left = f"{scope.restricted} restricted and {scope.expired} expired records"
        lines.append(Text(f"Not looked at: {left}"))
    if scope.is_everything:
        lines.append(Text("This is everything that can be found here."))
    if scope.near:
        told = f"{len(scope.near)} outside of it say nearly the same as one inside: "
        more = ", ..." if len(scope.near) > 5 else ""
        lines.append(Text(told + ", ".join(map(visible, scope.near[:5])) + more))
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column()
    inside, margins = frozenset(scope.ids), scope.margins
    for record in samples:
        told = brief(record.text, _TEXT) if texts else ""
        state = "in" if record.id in inside else "out"
        row = (f"{margins[record.id]:.4f}", state, visible(record.id), told)
        table.add_row(*map(Text, row))
    return [*lines, "", Text(f"Around the threshold of {scope.threshold:.4f}:"), table, "",
            Text("Margins of all that was looked at:"), _bars(scope)]  # fmt: skip


def _bars(scope: Scope) -> RenderableType:
    """Draw the histogram of the margins, a line for each bin, the largest margins first."""
    from rich.text import Text

    most = max((count for _, count in scope.histogram), default=0) or 1
    rows = []
    for low, count in reversed(scope.histogram):
        bar = "#" * (math.ceil(count / most * _BAR))
        mark = "" if low >= scope.threshold else " ."
        rows.append(f"{low:8.3f}  {bar:<{_BAR}} {count:,}{mark}")
    return Text("\n".join(rows))
