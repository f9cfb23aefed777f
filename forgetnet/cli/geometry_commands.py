"""Commands of geometry: train a head on a public hierarchy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from forgetnet.cli.options import AsJson, EncoderName
from forgetnet.cli.voice import Voice

__all__ = ["train_head"]

_EVERYDAY = "everyday"

_SOURCE = typer.Argument(
    metavar="PATH",
    help="A public taxonomy: a file of edges, nested JSON or YAML; or everyday, which ships.",
)
_OUT = typer.Option("--out", metavar="DIR", help="Folder to write the head into.")
_WORDNET = typer.Option("--wordnet", help="PATH holds the nouns of WordNet.")
_DIM = typer.Option("--dim", metavar="N", min=1, help="Numbers that the head makes of a vector.")
_STEPS = typer.Option("--steps", metavar="N", min=1, help="Steps of training.")
_SEED = typer.Option("--seed", metavar="N", min=0, help="The same one makes the same head.")


def train_head(
    source: Annotated[str, _SOURCE],
    *,
    out: Annotated[Path, _OUT],
    wordnet: Annotated[bool, _WORDNET] = False,
    encoder: EncoderName = None,
    dim: Annotated[int, _DIM] = 32,
    steps: Annotated[int, _STEPS] = 1_500,
    seed: Annotated[int, _SEED] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a head on a public taxonomy, and pin it.

    It learns from the taxonomy's names and glosses alone, never from a memory, so nothing in it
    ever needs to be forgotten. Under a minute for 17,000 concepts, most of it to encode them. Keep
    the pin that is shown: it says which weights, of which data, encoder, settings and seed.
    """
    from forgetnet.encode import resolve_encoder
    from forgetnet.heads import train_head as train
    from forgetnet.taxonomy import Taxonomy

    voice = Voice(as_json=as_json)
    began = time.perf_counter()
    if source == _EVERYDAY and not wordnet:
        taxonomy = Taxonomy.everyday()
    else:
        taxonomy = Taxonomy.wordnet(source) if wordnet else Taxonomy.load(source)
    head = train(
        taxonomy, resolve_encoder(encoder), dim=dim, steps=steps, seed=seed, progress=not as_json
    )
    pin = head.save(out)
    seconds = time.perf_counter() - began
    said = (
        f"A head of {dim} numbers from {len(taxonomy):,} concepts lies in {out} ({seconds:.1f} s)."
    )
    facts = {"pin": pin, "pins": head.pins._asdict(), "concepts": len(taxonomy), "out": str(out)}
    voice.answer({**facts, "seconds": round(seconds, 3)}, said, f"Pin: {pin}")
