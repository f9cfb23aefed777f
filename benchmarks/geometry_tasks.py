"""What a space is asked in the ablation, and how well it answers. Knows no space."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from material import Floats
from torch import Tensor

from forgetnet.heads.fit import Space
from forgetnet.heads.hierarchy import Hierarchy

Ints = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]
TASKS = {
    "ancestors": "a gloss never seen finds the concepts above it, MAP",
    "scope": "a concept finds the glosses under it among those never seen, MAP",
    "branches": "the same in branches of which nothing was seen, MAP",
    "leaves": "a name never seen finds its own gloss among all leaves, recall at 10",
    "CLINC150": "the name of an intent finds its utterances, MAP; trained on WordNet all the same",
}
UNSEEN, BRANCHES, LEAST, ASKED, FEW = 0.3, 10, 5, 400, 1_000


@dataclass(frozen=True)
class Split:
    """What of a hierarchy is taught, and what is asked about.

    Attributes:
        taught: concepts that may be learnt from as records.
        unseen: leaves that were not, outside of the held branches.
        held: leaves of the held branches.
        concepts: concepts asked for, with enough unseen leaves.
        branches: concepts in held branches, with enough leaves.
    """

    taught: Ints
    unseen: Ints
    held: Ints
    concepts: Ints
    branches: Ints


def split(hierarchy: Hierarchy, seed: int) -> Split:
    """Draw the split of a seed."""
    rng = np.random.default_rng([seed, 1])
    under = below(hierarchy)
    sizes = under[:, hierarchy.leaves].sum(axis=1)
    fit = [c for c in hierarchy.inner if 30 <= sizes[c] <= 150]
    roots = rng.permutation(fit)[:BRANCHES]
    hidden = under[roots].any(axis=0)
    hidden[roots] = True
    free = hierarchy.leaves[~hidden[hierarchy.leaves]]
    unseen = np.sort(rng.permutation(free)[: int(UNSEEN * len(free))])
    held = hierarchy.leaves[hidden[hierarchy.leaves]]
    seen = ~hidden
    seen[unseen] = False
    has_parent = np.array([len(above) > 0 for above in hierarchy.parents])
    counts, inside = under[:, unseen].sum(axis=1), under[:, held].sum(axis=1)
    usual = [c for c in hierarchy.inner if LEAST <= counts[c] <= len(unseen) // 5 and not hidden[c]]
    return Split(
        np.flatnonzero(seen & has_parent),
        unseen,
        held,
        np.sort(rng.permutation(usual)[:ASKED]),
        np.array([c for c in hierarchy.inner if hidden[c] and inside[c] >= LEAST]),
    )


def below(hierarchy: Hierarchy) -> Masks:
    """Return (n, n), whether the second stands under the first."""
    found = np.zeros((len(hierarchy), len(hierarchy)), np.bool_)
    for place, above in enumerate(hierarchy.ancestors):
        found[above, place] = True
    return found


@dataclass(frozen=True)
class Intents:
    """CLINC150's utterances and the names of their intents, as vectors."""

    names: Floats
    texts: Floats
    right: Masks


def intents(folder: Path) -> tuple[list[str], list[str], Masks]:
    """Read names, utterances, and which (name, utterance) belong together."""
    with gzip.open(folder / "val.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    names = sorted({row["intent"] for row in rows})
    right = np.array([[row["intent"] == name for row in rows] for name in names])
    return [name.replace("_", " ") for name in names], [row["text"] for row in rows], right


def precision(scores: Tensor, right: Masks) -> float:
    """Return the mean over rows of the average precision of a ranking by falling score."""
    order = torch.argsort(scores, dim=1, descending=True, stable=True)
    hits = torch.gather(torch.from_numpy(right), 1, order).double()
    ranks = torch.arange(1, hits.shape[1] + 1, dtype=torch.float64)
    each = (hits * hits.cumsum(dim=1) / ranks).sum(dim=1) / hits.sum(dim=1)
    return float(each.mean())


@dataclass(frozen=True)
class Vectors:
    """A hierarchy's names and glosses as vectors, and another data set's."""

    hierarchy: Hierarchy
    names: Floats
    glosses: Floats
    off: Intents


@dataclass(frozen=True)
class Mapped:
    """A hierarchy in a space."""

    space: Space
    hierarchy: Hierarchy
    upper: Tensor
    lower: Tensor

    def ancestors(self, leaves: Ints) -> float:
        """Rank all inner concepts for each leaf's gloss."""
        right = np.zeros((len(leaves), len(self.hierarchy)), np.bool_)
        for row, leaf in enumerate(leaves):
            right[row, self.hierarchy.ancestors[leaf]] = True
        inner = self.hierarchy.inner
        scores = self.space.under(self.upper[inner], self.lower[leaves])
        return precision(scores.T, right[:, inner])

    def scope(self, concepts: Ints, leaves: Ints) -> float:
        """Rank some leaves' glosses for each concept."""
        above = [set(self.hierarchy.ancestors[leaf].tolist()) for leaf in leaves]
        right = np.array([[int(concept) in each for each in above] for concept in concepts])
        return precision(self.space.under(self.upper[concepts], self.lower[leaves]), right)

    def recall(self, leaves: Ints, k: int = 10) -> float:
        """Find each leaf's own gloss among those of all leaves."""
        scores = self.space.near(self.upper[leaves], self.lower[self.hierarchy.leaves])
        own = torch.from_numpy(np.searchsorted(self.hierarchy.leaves, leaves))
        best = scores.topk(k, dim=1).indices
        return float((best == own[:, None]).any(dim=1).double().mean())


def asked(space: Space, on: Vectors, parts: Split) -> dict[str, float]:
    """Return how well a space answers, by :data:`TASKS`."""
    with torch.no_grad():
        upper = space.upper(torch.from_numpy(on.names))
        lower = space.lower(torch.from_numpy(on.glosses))
        whole = Mapped(space, on.hierarchy, upper, lower)
        asking = space.upper(torch.from_numpy(on.off.names))
        answers = space.lower(torch.from_numpy(on.off.texts))
        return {
            "ancestors": whole.ancestors(parts.unseen[:FEW]),
            "scope": whole.scope(parts.concepts, parts.unseen),
            "branches": whole.scope(parts.branches, np.union1d(parts.held, parts.unseen)),
            "leaves": whole.recall(parts.unseen),
            "CLINC150": precision(space.under(asking, answers), on.off.right),
        }
