"""Commands that only read: search, get, stats, export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from forgetnet.cli.frame import REFUSED
from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store, filter_of
from forgetnet.cli.session import opened, plain_hit, plain_record
from forgetnet.cli.voice import Voice

__all__ = ["export", "get", "search", "stats"]


def search(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="What to look for, in your own words.")
    ],
    *,
    k: Annotated[
        int, typer.Option("-k", "--k", metavar="N", min=1, help="How many hits at most.")
    ] = 10,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="NAME", help="Only this one's records.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help="Only records that match this filter."),
    ] = None,
    under: Annotated[
        str | None, typer.Option("--under", metavar="PATH", help="Only records of this topic.")
    ] = None,
    near: Annotated[
        str | None, typer.Option("--near", metavar="PATH", help="Pull towards this topic.")
    ] = None,
    weight: Annotated[
        float, typer.Option("--weight", metavar="W", help="How strongly --near pulls.")
    ] = 1.0,
    mode: Annotated[
        Literal["vector", "text", "hybrid"],
        typer.Option("--mode", help="Find by meaning, by words (BM25), or by both."),
    ] = "vector",
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Find the records nearest in meaning, nearest first; or those that say the words best."""
    filter = filter_of(where)
    with opened(store, encoder, key, readonly=True) as memory:
        hits = memory.search(
            query,
            k=k,
            subject=subject,
            filter=filter,
            under=under,
            near=near,
            weight=weight,
            mode=mode,
        )
    from forgetnet.cli.render import hits_of

    Voice(as_json=as_json).answer({"hits": [plain_hit(hit) for hit in hits]}, hits_of(hits))


def get(
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of a record.")],
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one record in full; exit code 1 if it isn't stored."""
    with opened(store, encoder, key, readonly=True) as memory:
        record = memory.get(id)
    voice = Voice(as_json=as_json)
    if record is None:
        voice.answer({"record": None}, "No such record.")
        raise typer.Exit(REFUSED)
    from forgetnet.cli.render import record_of

    voice.answer({"record": plain_record(record)}, *record_of(record))


def stats(
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the figures of a memory."""
    with opened(store, encoder, key, readonly=True) as memory:
        figures = memory.stats()
    from forgetnet.cli.render import stats_of

    Voice(as_json=as_json).answer(asdict(figures), stats_of(figures))


def export(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSONL to write; gzipped if it ends in .gz.")
    ],
    *,
    embeddings: Annotated[
        bool, typer.Option("--embeddings/--no-embeddings", help="Keep the vectors.")
    ] = True,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Write every record to a file that import takes back without loss.

    What is forgotten later stays in that file: no receipt covers it.
    """
    with opened(store, encoder, key, readonly=True) as memory:
        count = memory.export(path, embeddings=embeddings)
    from forgetnet.cli.render import count_of

    Voice(as_json=as_json).answer(
        {"records": count, "file": str(path)}, f"Wrote {count_of(count, 'record')} to {path}."
    )
