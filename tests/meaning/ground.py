"""Made-up records around a few directions, some of them with a topic."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from forgetnet import Memory, Record

DIM = 16
TOPICS = ("health/allergies", "health/sport", "work/acme", "work/taxes", "travel")
NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = bytes(range(32))
_CENTRES = np.random.default_rng(7).normal(size=(len(TOPICS), DIM))


def draw(topic: str, n: int, seed: int) -> np.ndarray:
    """Unit vectors around the direction of a topic."""
    rng = np.random.default_rng([seed, TOPICS.index(topic)])
    centre = _CENTRES[TOPICS.index(topic)]
    rows = centre + 0.35 * np.linalg.norm(centre) / 2 * rng.normal(size=(n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def records(labelled: int = 20, free: int = 12, seed: int = 0) -> list[Record]:
    """Records of every topic: some that say so, and some that don't."""
    made = []
    for topic in TOPICS:
        rows = draw(topic, labelled + free, seed)
        name = topic.rpartition("/")[2]
        for i, row in enumerate(rows):
            told = topic if i < labelled else None
            made.append(
                Record(f"private {name} {i}", f"{name}-{i}", topic=told, vector=row, created_at=NOW)
            )
    return made


def filled(path: str | Path = "memory://", **how: Any) -> Memory:
    """A memory of such records."""
    memory = opened(path)
    memory.add(records(**how))
    return memory


def opened(path: str | Path = "memory://", **options: Any) -> Memory:
    settings: dict[str, Any] = {"key": KEY, "clock": lambda: NOW, **options}
    return Memory.open(path, encoder=f"vectors:{DIM}", **settings)


def query(topic: str = "health/allergies", seed: int = 99) -> np.ndarray:
    return draw(topic, 1, seed)[0]
