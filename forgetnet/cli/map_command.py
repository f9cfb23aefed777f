"""The command ``map``: a memory drawn by topics, and what a forget would take of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store, filter_of
from forgetnet.cli.session import opened
from forgetnet.cli.voice import Voice

__all__ = ["map_"]


Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="ID", help="What would go: this record; may be repeated."),
]
Whose = Annotated[
    str | None, typer.Option("--subject", metavar="NAME", help="What would go: all of this one's.")
]
Branch = Annotated[
    str | None, typer.Option("--topic", metavar="PATH", help="What would go: all under this topic.")
]
Matching = Annotated[
    str | None,
    typer.Option("--filter", metavar="JSON", help="What would go: all that match this filter."),
]
KeepMentions = Annotated[
    bool, typer.Option("--keep-mentions", help="As in forget, with --subject.")
]
TaxonomyFile = Annotated[
    Path | None,
    typer.Option(
        "--taxonomy",
        metavar="FILE",
        help="Topic paths, one a line, in the order in which they shall lie around.",
    ),
]
Coloured = Annotated[
    list[str] | None,
    typer.Option("--coloured", metavar="NAME", help="A subject to give a colour; may be repeated."),
]
After = Annotated[bool, typer.Option("--after", help="Draw what would be left beside it.")]
Texts = Annotated[bool, typer.Option("--texts", help="Put the texts of records into the page.")]
ShowIds = Annotated[bool, typer.Option("--show-ids", help="Put the ids of records into the page.")]


def map_(
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="To write: .html, .svg or .png.")
    ] = Path("map.html"),
    under: Annotated[
        str | None,
        typer.Option("--under", metavar="PATH", help="Only this topic, drawn in the middle."),
    ] = None,
    ids: Ids = None,
    subject: Whose = None,
    topic: Branch = None,
    where: Matching = None,
    keep_mentions: KeepMentions = False,
    after: After = False,
    taxonomy: TaxonomyFile = None,
    coloured: Coloured = None,
    texts: Texts = False,
    show_ids: ShowIds = False,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Draw the memory by topics, and what a forget would take of it.

    The page names topics and subjects; no receipt covers it. Texts and ids are in it only if asked
    for.
    """
    from forgetnet.atlas.picture import check_format

    check_format(out)
    filter = filter_of(where)
    paths = None if taxonomy is None else _lines(taxonomy)
    with opened(store, encoder, key, readonly=True) as memory:
        drawn = memory.map(
            under,
            ids=ids or None,
            subject=subject,
            filter=filter,
            topic=topic,
            mentions=not keep_mentions,
            after=after,
            taxonomy=paths,
            coloured=coloured or None,
            texts=texts,
            show_ids=show_ids,
        )
    drawn.save(out)
    chart = drawn.chart
    goes = None if chart.taken is None else len(chart.taken.ids)
    from forgetnet.cli.render import count_of

    said = f"Wrote {out}: {count_of(len(chart), 'record')}"
    said += "." if goes is None else f"; {count_of(goes, 'record')} would go."
    Voice(as_json=as_json).answer({"file": str(out), "records": len(chart), "would_go": goes}, said)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} is not UTF-8; give topic paths, one a line") from None
    return [line for line in text.replace("\r\n", "\n").split("\n") if line]
