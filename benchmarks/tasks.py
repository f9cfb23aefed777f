"""Public tasks for the benchmarks of experts: vectors, labels, and made-up people whose they are.

Reads the data sets from folders that are named on the command line; ships none of them.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import experts_tables
import numpy as np
import numpy.typing as npt
from timing import tell

from forgetnet.encode import TableEncoder, resolve_encoder

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes:
        name: of the data set and its split.
        train, test: (n, d) unit vectors.
        train_labels, test_labels: their labels.
        subjects: whose each training record is.
    """

    name: str
    train: Floats
    train_labels: tuple[str, ...]
    test: Floats
    test_labels: tuple[str, ...]
    subjects: tuple[str, ...]


def people(labels: Sequence[str], count: int, topics: dict[str, int], seed: int = 0) -> list[str]:
    """Make up whose records are: people of log-normal size, each with a taste for some topics.

    Args:
        labels: of the records.
        count: of people.
        topics: topic of each label; a person's mix of them is drawn from Dirichlet(0.3).
        seed: of the draw.
    """
    draw = np.random.default_rng(seed)
    kinds = np.array([topics[label] for label in labels])
    mixes = draw.dirichlet([0.3] * (max(topics.values()) + 1), count)
    sizes = draw.lognormal(0.0, 1.0, count)
    owner = np.empty(len(labels), np.int64)
    for topic in np.unique(kinds):
        where = np.flatnonzero(kinds == topic)
        weights = mixes[:, topic] * sizes
        owner[where] = draw.choice(count, len(where), p=weights / weights.sum())
    return [f"person {number}" for number in owner]


def _embedded(texts: Sequence[str], name: str, cache: Path | None) -> Floats:
    """Embed texts with MiniLM, or take the vectors from a file of an earlier run."""
    file = None if cache is None else cache / f"{name}.npy"
    if file is not None and file.exists():
        kept: Floats = np.load(file)
        if len(kept) == len(texts):
            return kept
    tell(f"embedding {len(texts):,} texts of {name}")
    vectors = resolve_encoder("minilm").encode(texts, progress=True)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
    return vectors


def clinc150(folder: Path, cache: Path | None) -> Task:
    """CLINC150 (Larson et al. 2019): 150 intents; its validation split is the test."""
    rows = {}
    for split in ("train", "val"):
        with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows[split] = [json.loads(line) for line in file]
    domains = sorted({row["domain"] for row in rows["train"]})
    topics = {row["intent"]: domains.index(row["domain"]) for row in rows["train"]}
    train, test = rows["train"], rows["val"]
    labels = [row["intent"] for row in train]
    return Task(
        "CLINC150",
        _embedded([row["text"] for row in train], "clinc150-train", cache),
        tuple(labels),
        _embedded([row["text"] for row in test], "clinc150-val", cache),
        tuple(row["intent"] for row in test),
        tuple(people(labels, 587, topics)),
    )


def banking77(folder: Path, cache: Path | None) -> Task:
    """Banking77 (Casanueva et al. 2020): 77 intents of one domain."""
    rows = {}
    for split in ("train", "test"):
        with gzip.open(folder / f"{split}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            rows[split] = list(csv.reader(file))[1:]
    labels = [label for _, label in rows["train"]]
    topics = {label: number % 10 for number, label in enumerate(sorted(set(labels)))}
    return Task(
        "Banking77",
        _embedded([text for text, _ in rows["train"]], "banking77-train", cache),
        tuple(labels),
        _embedded([text for text, _ in rows["test"]], "banking77-test", cache),
        tuple(label for _, label in rows["test"]),
        tuple(people(labels, 500, topics)),
    )


def digits() -> Task:
    """Digits of scikit-learn, scaled to unit vectors; a fixed fifth is the test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    vectors = found.data / np.linalg.norm(found.data, axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(len(vectors))
    test, train = order[:360], order[360:]
    labels = [str(found.target[i]) for i in train]
    return Task(
        "digits",
        vectors[train].astype(np.float32),
        tuple(labels),
        vectors[test].astype(np.float32),
        tuple(str(found.target[i]) for i in test),
        tuple(people(labels, 105, {str(n): n for n in range(10)})),
    )


def adult(folder: Path) -> Task:
    """UCI Adult (Becker and Kohavi 1996), as it was split, its rows encoded by constants."""
    split = experts_tables.adult(folder)
    encoder = TableEncoder(experts_tables.NUMERIC, experts_tables.OTHERS)
    (train, labels), (test, right) = split.train, split.test
    owners = np.random.default_rng(0).integers(0, len(labels) // 10, len(labels))
    return Task(
        "Adult",
        encoder.encode(list(encoder.to_texts(train))),
        tuple(labels.tolist()),
        encoder.encode(list(encoder.to_texts(test))),
        tuple(right.tolist()),
        tuple(f"person {number}" for number in owners),
    )


def tasks(data: Path, cache: Path | None) -> list[Task]:
    """Return the tasks whose data is there."""
    found = [digits()]
    if (data / "clinc150").is_dir():
        found.append(clinc150(data / "clinc150", cache))
    if (data / "banking77").is_dir():
        found.append(banking77(data / "banking77", cache))
    if (data / "adult").is_dir():
        found.append(adult(data / "adult"))
    return found
