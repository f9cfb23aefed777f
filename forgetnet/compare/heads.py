"""Settings of an embedding head: pairs of an input and its topic's vector, one topic to forget.

The head is trained by contrast with the other topics. Knows nothing of methods.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forgetnet.compare.chosen import chosen
from forgetnet.compare.settings import Material, Setting
from forgetnet.compare.tables import draw_table, load_digits
from forgetnet.encode import resolve_encoder
from forgetnet.errors import StoreCorrupt
from forgetnet.unlearn import ContrastiveTask, Recipe
from forgetnet.unlearn.contrastive import Geometry

__all__ = ["clinc150", "heads"]

_EMBEDDING, _TEMPERATURE = 16, 0.2
_PART = 1800
Source = Callable[[], tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]]


def _topics(count: int, width: int) -> Tensor:
    """Return a unit vector for each topic: constants, which nobody's data had a part in."""
    draw = torch.Generator().manual_seed(0)
    return nn.functional.normalize(torch.randn(count, width, generator=draw), dim=1)


def _draw(source: Source, bank: Tensor, seed: int) -> Material:
    found = draw_table(source, "class", 600, 60, seed)
    sides = {side: (inputs, bank[labels]) for side, (inputs, labels) in found.sides.items()}
    return Material(sides, found.records)


def _head(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, _EMBEDDING))


def _setting(name: str, about: str, source: Source, geometry: Geometry) -> Setting:
    inputs, _, count = source()
    width = inputs.shape[1]
    bank = _topics(count, width)
    if geometry == "lorentz":
        name, about = f"{name}-lorentz", f"{about} in hyperbolic space"
    return Setting(
        name=name,
        request="topic",
        about=f"{about}; to be forgotten: every record of one topic",
        task=ContrastiveTask(bank, geometry, _TEMPERATURE),
        build=functools.partial(_head, width),
        recipe=Recipe(lr=3e-3, epochs=40.0, batch_size=32),
        draw=functools.partial(_draw, source, bank),
        encoder=f"vectors:{width}",
        methods=chosen(name, "topic"),
    )


@functools.cache
def _unit_digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]:
    inputs, labels, count = load_digits()
    return inputs / np.linalg.norm(inputs, axis=1, keepdims=True), labels, count


def heads(geometry: Geometry = "euclidean") -> Setting:
    """Return the setting of digits as topics: each of ten is a topic with a vector of its own.

    Args:
        geometry: of the embeddings; ``lorentz`` makes the setting ``heads-lorentz``.

    Raises:
        Unsupported: scikit-learn isn't installed.
    """
    about = "600 digits as vectors, an embedding head for ten topics"
    return _setting("heads", about, _unit_digits, geometry)


@functools.cache
def _intents(folder: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]:
    path = folder / "train.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        domains = sorted({row["domain"] for row in rows})
        texts = [row["text"] for row in rows]
        labels = np.array([domains.index(row["domain"]) for row in rows], np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreCorrupt(f"{path} can't be read; name the folder of CLINC150") from error
    some = np.sort(np.random.default_rng(0).permutation(len(texts))[:_PART])
    vectors = resolve_encoder("minilm").encode([texts[place] for place in some])
    return vectors, labels[some], len(domains)


def clinc150(folder: str | Path, geometry: Geometry = "euclidean") -> Setting:
    """Return the setting of CLINC150 (Larson et al. 2019): requests of ten domains, by MiniLM.

    Args:
        folder: with ``train.jsonl.gz``.
        geometry: of the embeddings; ``lorentz`` makes the setting ``clinc150-lorentz``.

    Raises:
        StoreCorrupt: the folder doesn't hold it.
        Unsupported: the encoder isn't installed.
    """
    about = "600 requests of CLINC150 as MiniLM vectors, an embedding head for ten domains"
    return _setting("clinc150", about, functools.partial(_intents, Path(folder)), geometry)
