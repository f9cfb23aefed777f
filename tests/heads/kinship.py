"""A made hierarchy whose vectors are made, too: small enough to train on in a test."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from forgetnet.encode import Floats, check_vectors
from forgetnet.heads import Hierarchy, PublicHead, train_head

WIDTH = 24
KINDS = {
    "animal": {"bird": ("crow", "swan", "owl", "wren"), "fish": ("carp", "eel", "pike", "tench")},
    "plant": {"tree": ("oak", "ash", "elm", "yew"), "herb": ("mint", "sage", "dill", "thyme")},
    "tool": {"blade": ("axe", "saw", "adze", "chisel"), "hammer": ("maul", "gavel", "sledge")},
}


class Words:
    """An encoder of words, each a vector of its own near those of what it stands under."""

    dim = WIDTH
    name = "words"
    digest = "words of the made hierarchy, version 1"

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Floats:
        """Return unit rows (n, 24): of a name alone, or of 'a NAME' as its gloss."""
        return check_vectors(np.stack([self._row(text) for text in texts]), WIDTH)

    def _row(self, text: str) -> Floats:
        name = text.removeprefix("a ")
        own = _noise(text) * 0.3 + _noise(name)
        above = _above().get(name, ())
        return np.asarray(own + sum((_noise(one) for one in above), np.zeros(WIDTH)), np.float32)


def _noise(text: str) -> np.ndarray:
    drawn = np.random.default_rng(list(text.encode()))
    return drawn.normal(size=WIDTH) / np.sqrt(WIDTH)


@functools.cache
def _above() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for kind, groups in KINDS.items():
        for group, leaves in groups.items():
            found[group] = (kind,)
            found |= dict.fromkeys(leaves, (group, kind))
    return found


@functools.cache
def made() -> Hierarchy:
    """Three kinds, two groups of each, and their members."""
    edges = [(child, above[0]) for child, above in _above().items()]
    names = {name: name for name in {*KINDS, *_above()}}
    return Hierarchy.of(names, edges, {name: f"a {name}" for name in names})


@functools.cache
def head(seed: int = 0) -> PublicHead:
    """A head that learnt it, in about a second."""
    return train_head(made(), Words(), dim=8, steps=150, seed=seed, progress=False)
