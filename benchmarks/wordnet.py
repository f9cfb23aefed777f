"""WordNet's nouns as a hierarchy, and what an encoder makes of them, kept in a file.

Reads Open English WordNet as JSON lines: id, words, hyper, inst, def. Knows no head.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from material import Floats
from safetensors.numpy import load_file, save_file
from timing import tell

from forgetnet import Encoder
from forgetnet.heads.hierarchy import Hierarchy

LEAVES = 9_000


def nouns(path: Path, leaves: int = LEAVES) -> Hierarchy:
    """Read so many leaves, drawn once, and all that stands above them."""
    rows, above = _read(path)
    inner = {parent for parents in above.values() for parent in parents}
    ends = sorted(i for i in rows if i not in inner and above[i])
    drawn = np.random.default_rng(0).permutation(len(ends))[:leaves]
    kept = _closed((ends[place] for place in drawn), above)
    names = {i: ", ".join(rows[i]["words"]) for i in kept}
    edges = [(i, parent) for i in kept for parent in above[i]]
    return Hierarchy.of(names, edges, {i: rows[i]["def"] for i in kept})


def branch(path: Path, root: str) -> Hierarchy:
    """Read one concept, by its id, and all that stands under it."""
    rows, above = _read(path)
    below: dict[str, list[str]] = {}
    for i, parents in above.items():
        for parent in parents:
            below.setdefault(parent, []).append(i)
    kept = _closed([root], {i: below.get(i, []) for i in rows})
    edges = [(i, parent) for i in kept for parent in above[i] if parent in kept]
    return Hierarchy.of({i: rows[i]["words"][0] for i in kept}, edges, {})


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = {row["id"]: row for row in map(json.loads, file)}
    above = {i: [p for p in (*row["hyper"], *row["inst"]) if p in rows] for i, row in rows.items()}
    return rows, above


def _closed(ids: Iterable[str], above: dict[str, list[str]]) -> set[str]:
    left, kept = list(ids), set[str]()
    while left:
        each = left.pop()
        if each not in kept:
            kept.add(each)
            left += above[each]
    return kept


def encoded(encoder: Encoder, texts: Sequence[str], path: Path | None) -> Floats:
    """Encode distinct texts once: an earlier run's vectors are read if the encoder is the same."""
    known: dict[str, int] = {}
    vectors = np.zeros((0, encoder.dim), np.float32)
    if path is not None and path.with_suffix(".json").exists():
        kept = json.loads(path.with_suffix(".json").read_text())
        if kept["encoder"] == encoder.digest:
            known = {text: place for place, text in enumerate(kept["texts"])}
            vectors = load_file(path)["vectors"]
    fresh = [text for text in dict.fromkeys(texts) if text not in known]
    if fresh:
        tell(f"encoding {len(fresh):,} texts")
        vectors = np.concatenate([vectors, encoder.encode(fresh, progress=True)])
        known |= {text: len(known) + place for place, text in enumerate(fresh)}
        if path is not None:
            save_file({"vectors": vectors}, path)
            told = {"encoder": encoder.digest, "texts": list(known)}
            path.with_suffix(".json").write_text(json.dumps(told))
    return vectors[[known[text] for text in texts]]
