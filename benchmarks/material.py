"""Made-up material of the benchmarks: records with clustered unit vectors, and queries.

Everything follows from a seed. Knows nothing of stores.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from forgetnet import Record

Floats = npt.NDArray[np.float32]

DIM = 384
PER_SUBJECT = 50
_PER_CLUSTER = 100
_SPREAD = 0.7
_SYLLABLES = (
    "ba",
    "ke",
    "li",
    "mo",
    "nu",
    "ra",
    "se",
    "ti",
    "vo",
    "zu",
    "cha",
    "dre",
    "fli",
    "gan",
)
_START = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Material:
    """n records in the order of their arrival, as columns: vectors are (n, 384) unit rows."""

    ids: list[str]
    texts: list[str]
    subjects: list[str]
    topics: list[str]
    vectors: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> Material:
        """Return the records from ``start`` up to ``stop``."""
        cut = slice(start, stop)
        return Material(
            self.ids[cut], self.texts[cut], self.subjects[cut], self.topics[cut], self.vectors[cut]
        )

    def records(self) -> list[Record]:
        """Return the records as ForgetNet takes them, each with its vector."""
        columns = zip(self.ids, self.texts, self.subjects, self.topics, self.vectors, strict=True)
        return [
            Record(text=text, id=i, subject=subject, topic=topic, vector=vector,
                   created_at=_START + timedelta(seconds=n))
            for n, (i, text, subject, topic, vector) in enumerate(columns)
        ]  # fmt: skip


def unit(rows: Floats) -> Floats:
    """Scale rows to length 1."""
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def _centres(n: int, rng: np.random.Generator) -> Floats:
    return unit(rng.standard_normal((max(8, n // _PER_CLUSTER), DIM), np.float32))


def _around(centres: Floats, n: int, rng: np.random.Generator) -> Floats:
    noise = unit(rng.standard_normal((n, DIM), np.float32))
    return unit(centres[rng.integers(len(centres), size=n)] + _SPREAD * noise)


def _words(rng: np.random.Generator, count: int) -> list[str]:
    return ["".join(rng.choice(_SYLLABLES, rng.integers(2, 5))) for _ in range(count)]


def material(n: int, seed: int = 7) -> Material:
    """Make n records of n / 50 subjects, shuffled; texts of about 70 characters, no two alike."""
    rng = np.random.default_rng(seed)
    words = np.array(_words(rng, 2000))
    drawn = rng.integers(len(words), size=(n, 9))
    owners = rng.permutation(np.arange(n) // PER_SUBJECT)
    return Material(
        [f"record-{i:07d}-{n}" for i in range(n)],
        [f"{' '.join(row)} number {i}" for i, row in enumerate(words[drawn])],
        [f"person-{i:05d}-{n}" for i in owners],
        [f"field-{i % 8}/part-{i % 40}" for i in rng.integers(40, size=n)],
        _around(_centres(n, rng), n, rng),
    )


def queries(n: int, count: int, seed: int = 7) -> Floats:
    """Make unit queries from the clusters of :func:`material` that are none of its records."""
    rng = np.random.default_rng(seed)
    _words(rng, 2000)
    rng.integers(2000, size=(n, 9))
    rng.permutation(np.arange(n) // PER_SUBJECT)
    rng.integers(40, size=n)
    centres = _centres(n, rng)
    return _around(centres, count, np.random.default_rng(seed + 1))
