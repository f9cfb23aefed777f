"""Training of the public head: from a public hierarchy, by a seed, to pinned weights.

The same hierarchy, encoder, settings and seed give the same bytes on machines of one class (the
pins name it). No record of a user ever comes here: what learns from those is entangled
(``forgetnet.unlearn``) or a sum (``forgetnet.heads.ridge``).
"""

from __future__ import annotations

import numpy as np
import torch

from forgetnet.declared import check_kind
from forgetnet.encode import Encoder, Floats
from forgetnet.encode.contract import progress_bar
from forgetnet.errors import InvalidRecord
from forgetnet.experts.pinned import environment, mix, pinned
from forgetnet.given import check_switches, number_of, whole_of
from forgetnet.heads.fit import LorentzMap, fit
from forgetnet.heads.hierarchy import Hierarchy
from forgetnet.heads.public import Pins, PublicHead
from forgetnet.heads.tangents import TangentMap
from forgetnet.taxonomy import Taxonomy

__all__ = ["train_head"]

DIM, STEPS, RATE = 32, 1_500, 1e-2
_MOST = 1_024


def train_head(
    source: Hierarchy | Taxonomy,
    encoder: Encoder,
    *,
    dim: int = DIM,
    steps: int = STEPS,
    rate: float = RATE,
    seed: int = 0,
    vectors: tuple[Floats, Floats] | None = None,
    progress: bool = True,
) -> PublicHead:
    """Train a head on a public hierarchy; with 17,000 concepts about 10 s, encoding apart.

    Args:
        source: a public hierarchy or taxonomy, for what it says can't be forgotten.
        encoder: whose vectors the head will take.
        dim: numbers of a tangent.
        steps: of training, each on 64 groups of up to 4 siblings.
        rate: learning rate at the start; it falls as a cosine.
        seed: of the start and of the batches.
        vectors: (n, m) of the names and of the glosses, if they are there already.
        progress: show bars on long work, when the output is a terminal.

    Raises:
        InvalidRecord: the hierarchy has nothing to learn from, or a setting makes no sense.
    """
    check_switches(InvalidRecord, progress=progress)
    dim = whole_of(dim, "dim", InvalidRecord)
    steps = whole_of(steps, "steps", InvalidRecord)
    seed = whole_of(seed, "seed", InvalidRecord, least=0)
    if dim > _MOST or not 0.0 < number_of(rate, "rate=", InvalidRecord) < 1.0:
        raise InvalidRecord(f"dim= is at most {_MOST}, and rate= lies between 0 and 1")
    check_kind("source", source, Hierarchy | Taxonomy, "Taxonomy.everyday()")
    check_kind("encoder", encoder, Encoder, "HashEncoder(64)")
    hierarchy = Hierarchy.from_taxonomy(source) if isinstance(source, Taxonomy) else source
    if vectors is None:
        texts = [*hierarchy.names, *hierarchy.glosses]
        told = encoder.encode(texts, progress=progress)
        vectors = told[: len(hierarchy)], told[len(hierarchy) :]
    names, glosses = _two(vectors, (len(hierarchy), encoder.dim))
    start = torch.Generator().manual_seed(mix(seed, "start"))
    made = LorentzMap(encoder.dim, dim, start)
    with progress_bar(steps, shown=progress, told="Training") as done:
        fit(
            made,
            list(made.parameters()),
            hierarchy,
            names,
            glosses,
            taught=np.array([i for i, above in enumerate(hierarchy.parents) if above], np.int64),
            steps=steps,
            lr=rate,
            seed=seed,
            turns=True,
            done=done,
        )
    weight, bias = (p.detach().numpy().copy() for p in (made.weight, made.bias))
    with pinned():
        machine = environment()
    found = TangentMap(weight, bias, encoder.digest)
    data = hierarchy.digest()
    pins = Pins(data, encoder.digest, seed, steps, rate, machine, found.digest())
    return PublicHead(found, pins)


def _two(vectors: object, wanted: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return the vectors of the names and of the glosses, as our own.

    Raises:
        InvalidRecord: they aren't two arrays of a shape.
    """
    both = vectors if isinstance(vectors, tuple | list) and len(vectors) == 2 else ((), ())
    try:
        names, glosses = (np.array(each, np.float32) for each in both)
    except (TypeError, ValueError, OverflowError):
        names = glosses = np.zeros(0, np.float32)
    if names.shape != wanted or glosses.shape != wanted:
        raise InvalidRecord(f"vectors= are two arrays {wanted}, of the names and of the glosses")
    return names, glosses
