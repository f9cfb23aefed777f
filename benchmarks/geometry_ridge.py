"""The ridge head on CLINC150: what adapting to labels buys, and what forgetting a domain leaves.

Learns 30 utterances of each intent; intents are found among utterances that were never seen, by
hyperbolic distance from where the public head puts the intent's name. Then one domain is forgotten,
and every bit must be that of a twin which never had it.
"""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from geometry_tasks import precision
from material import Floats
from wordnet import encoded, nouns

from forgetnet import Encoder
from forgetnet.exact import quantise
from forgetnet.experts.expert import View, make_view
from forgetnet.heads import PublicHead, RidgeHead, TangentMap, train_head
from forgetnet.heads.pairs import pair_distance

EACH, GONE = 30, "banking"
PRIORS = (0.1, 1.0, 10.0)
HEAD = [
    "head",
    "retained intents, MAP",
    "right",
    f"{GONE}, MAP",
    "right",
    "ms to forget one",
    "twin",
]


@dataclass(frozen=True)
class Requests:
    """Utterances with their intents and domains, as vectors."""

    vectors: Floats
    intents: list[str]
    domains: list[str]


def public(data: Path, encoder: Encoder, cache: Path | None) -> PublicHead:
    """Train the public head on WordNet."""
    hierarchy = nouns(data / "wordnet" / "oewn_nouns.jsonl.gz")
    told = encoded(encoder, [*hierarchy.names, *hierarchy.glosses], cache)
    vectors = told[: len(hierarchy)], told[len(hierarchy) :]
    return train_head(hierarchy, encoder, vectors=vectors)


def read(path: Path, encoder: Encoder, cache: Path | None, each: int | None) -> Requests:
    """Read so many utterances of each intent, the first ones."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    counts: dict[str, int] = {}
    kept = []
    for row in rows:
        counts[row["intent"]] = counts.get(row["intent"], 0) + 1
        if each is None or counts[row["intent"]] <= each:
            kept.append(row)
    vectors = encoded(encoder, [row["text"] for row in kept], cache)
    return Requests(vectors, [row["intent"] for row in kept], [row["domain"] for row in kept])


def view(requests: Requests, kept: npt.NDArray[np.bool_]) -> View:
    """Return some of the requests as records to learn."""
    places = np.flatnonzero(kept).tolist()
    return make_view(
        [f"u{place}" for place in places],
        quantise(requests.vectors[kept]),
        [requests.intents[place] for place in places],
        ["0" * 64] * len(places),
    )


def scores(
    map_: TangentMap, start: PublicHead, names: Floats, labels: list[str], asked: Requests
) -> list[str]:
    """Return MAP and share right of the retained intents, then of those that are to go."""
    aims = torch.from_numpy(start.tangents(names))
    return answers(
        pair_distance(aims, torch.from_numpy(map_.tangents(asked.vectors))), labels, asked
    )


def answers(away: torch.Tensor, labels: list[str], asked: Requests) -> list[str]:
    """Return the same of distances (labels, utterances)."""
    found = []
    best = np.array(labels)[away.argmin(dim=0).numpy()] == np.array(asked.intents)
    gone = np.array([domain == GONE for domain in asked.domains])
    going = {i for i, g in zip(asked.intents, gone, strict=True) if g}
    for side in (False, True):
        rows = [place for place, label in enumerate(labels) if (label in going) is side]
        right = np.array([[intent == labels[row] for intent in asked.intents] for row in rows])
        found += [precision(-away[rows], right), float(best[gone == side].mean())]
    return [f"{value:.3f}" for value in found]


def measured(data: Path, encoder: Encoder, cache: Path | None) -> tuple[list[list[str]], bool]:
    """Return the table's rows, and whether every bit was the twin's."""
    start = public(data, encoder, cache)
    known = read(data / "clinc150" / "train.jsonl.gz", encoder, cache, EACH)
    asked = read(data / "clinc150" / "val.jsonl.gz", encoder, cache, None)
    labels = sorted(set(known.intents))
    names = encoded(encoder, [label.replace("_", " ") for label in labels], cache)
    gone = np.array([domain == GONE for domain in known.domains])
    rows = [["public", *scores(start.map, start, names, labels, asked), "", ""]]
    middles = np.stack([known.vectors[np.array(known.intents) == one].sum(0) for one in labels])
    flat = middles / np.linalg.norm(middles, axis=1, keepdims=True) @ asked.vectors.T
    rows.append(
        ["no head: means of 384 numbers", *answers(torch.from_numpy(-flat), labels, asked), "", ""]
    )
    good = True
    for prior in PRIORS:
        ridge = RidgeHead(start, dict(zip(labels, names, strict=True)), prior)
        state = ridge.absorb(ridge.empty(), view(known, np.full(len(gone), True)))
        told = scores(ridge.prepare(state), start, names, labels, asked)
        rows.append([f"ridge, prior {prior:g}", *told, "", ""])
        one = view(known, np.arange(len(gone)) == gone.argmax())
        rest = gone & (np.arange(len(gone)) != gone.argmax())
        begun = time.process_time()
        state = ridge.expel(state, one)
        ridge.prepare(state)
        quick = 1e3 * (time.process_time() - begun)
        state = ridge.expel(state, view(known, rest))
        left, twin = ridge.prepare(state), ridge.absorb(ridge.empty(), view(known, ~gone))
        same = state.to_bytes() == twin.to_bytes() and left.digest() == ridge.prepare(twin).digest()
        good = good and same
        told = scores(left, start, names, labels, asked)
        equal = "equal bits" if same else "**differs**"
        rows.append([f"ridge, prior {prior:g}, {GONE} forgotten", *told, f"{quick:.0f}", equal])
    return rows, good
