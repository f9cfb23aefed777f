"""Commands of topics: list them, move one with all below it, and link records that have none."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forgetnet.cli.forget_commands import forgetful
from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store
from forgetnet.cli.session import opened
from forgetnet.cli.voice import Voice, visible

__all__ = ["link_topics", "list_topics", "move_topic"]

_EVERYDAY = "everyday"

_TAXONOMY = typer.Option(
    "--taxonomy",
    metavar="FILE",
    help="Learn from its concepts: a file of edges, nested JSON or YAML; or everyday, which ships.",
)
_UNDER = typer.Option("--under", metavar="PATH", help="Only what is linked to this topic.")
_K = typer.Option("-k", "--k", metavar="N", min=1, help="How many exemplars vote.")
_MARGIN = typer.Option("--min-margin", metavar="M", help="A link needs a larger margin; 0 to 1.")
_METHOD = typer.Option("--method", metavar="NAME", help="knn, or centroid: a vote for each topic.")


def list_topics(
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List the topics that have records, and how many each has."""
    with opened(store, encoder, key, readonly=True) as memory:
        topics = memory.topics()
    shown = [f"{count:>8,}  {visible(topic)}" for topic, count in topics.items()]
    Voice(as_json=as_json).answer({"topics": topics}, *(shown or ["No record has a topic."]))


def move_topic(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The topic, as health/allergies.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Where it is to be.")],
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Rename a topic, move it with all below it, or merge it into one that is there.

    All in one step: a crash leaves everything where it was, or where it is to be. The old path is
    then in no file any more. What is under a legal hold isn't moved, and neither is the rest.
    """
    with forgetful(store, encoder, key) as memory:
        moved = memory.move_topic(old, new)
    from forgetnet.cli.render import count_of

    said = f"Moved {count_of(moved.records, 'record')} of {count_of(len(moved.topics), 'topic')}."
    Voice(as_json=as_json).answer({"records": moved.records, "topics": dict(moved.topics)}, said)


def link_topics(
    *,
    taxonomy: Annotated[str | None, _TAXONOMY] = None,
    under: Annotated[str | None, _UNDER] = None,
    k: Annotated[int | None, _K] = None,
    min_margin: Annotated[float, _MARGIN] = 0.0,
    method: Annotated[str, _METHOD] = "knn",
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Link records without a topic to topics, by what is nearest in meaning; change nothing.

    By default the records that have a topic are learnt from. The margin is the votes for a topic
    less those against it, as a share of all.
    """
    from forgetnet.taxonomy import Taxonomy

    settings: dict[str, Any] = {"k": k, "min_margin": min_margin, "method": method}
    if taxonomy is not None:
        public = taxonomy == _EVERYDAY
        settings["taxonomy"] = Taxonomy.everyday() if public else Taxonomy.load(taxonomy)
    with opened(store, encoder, key, readonly=True) as memory:
        links = memory.link(**settings, progress=not as_json)
        links = links if under is None else memory.links(under=under)
    plain = [link._asdict() for link in links]
    shown = [f"{link.margin:5.2f}  {visible(link.id)}  {visible(link.topic)}" for link in links]
    Voice(as_json=as_json).answer(
        {"links": plain, "records": len(links.ids), "linked": len(links.linked)},
        *(shown or ["No record is linked."]),
    )
