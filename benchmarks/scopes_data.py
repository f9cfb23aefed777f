"""What scopes are measured on: texts with topics, and their vectors, from folders that are named.

Reads CLINC150 as train.jsonl.gz and val.jsonl.gz (text, intent, domain), and Banking77 as
train.csv.gz and test.csv.gz (text, category); ships none of them.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from timing import tell

from forgetnet import Encoder
from forgetnet.meaning.concept import plain_name

Floats = npt.NDArray[np.float32]
SETS = ("clinc150", "banking77")


@dataclass(frozen=True)
class Data:
    """One set.

    Attributes:
        train, test: topic paths of the records that exemplars are drawn from, and of the others.
        vectors: (n, d) of each part.
    """

    train: list[str]
    test: list[str]
    vectors: dict[str, Floats] = field(repr=False)


class Vectors:
    """Embeds texts once: what was embedded is kept in a file, if one is named."""

    def __init__(self, encoder: Encoder, cache: Path | None) -> None:
        self._encoder = encoder
        self._cache = cache
        self._kept: dict[str, Floats] = {}
        self._single: dict[str, Floats] = {}
        if cache is not None and cache.exists():
            with np.load(cache) as file:
                self._kept = {name: file[name] for name in file.files}

    def of(self, texts: Sequence[str]) -> Floats:
        """Return (n, d) vectors of many texts."""
        told = json.dumps([self._encoder.digest, list(texts)])
        name = hashlib.sha256(told.encode()).hexdigest()
        if name not in self._kept:
            tell(f"embedding {len(texts):,} texts")
            self._kept[name] = self._encoder.encode(texts, progress=True)
            if self._cache is not None:
                np.savez(self._cache, **self._kept)
        return self._kept[name]

    def __call__(self, names: Sequence[str]) -> Floats:
        """Return (n, d) vectors of a few names, each embedded once."""
        if new := [name for name in dict.fromkeys(names) if name not in self._single]:
            self._single |= dict(zip(sorted(new), self.of(sorted(new)), strict=True))
        return np.stack([self._single[name] for name in names])


def read(name: str, folder: Path, vectors: Vectors) -> Data:
    """Read a set and embed its texts."""
    parts = {
        "clinc150": {"train": "train.jsonl.gz", "test": "val.jsonl.gz"},
        "banking77": {"train": "train.csv.gz", "test": "test.csv.gz"},
    }[name]
    found = {part: _rows(folder / file) for part, file in parts.items()}
    topics = {part: [topic for _, topic in rows] for part, rows in found.items()}
    embedded = {part: vectors.of([text for text, _ in rows]) for part, rows in found.items()}
    paths = {path for topic in topics["train"] for path in (topic, topic.partition("/")[0])}
    vectors(sorted({plain_name(path) for path in paths}))
    return Data(topics["train"], topics["test"], embedded)


def _rows(path: Path) -> list[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        if path.name.endswith(".jsonl.gz"):
            told = map(json.loads, file)
            return [(row["text"], f"{row['domain']}/{row['intent']}") for row in told]
        return [(text, label) for text, label in list(csv.reader(file))[1:]]
